import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LeaseState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEASE_STATE_UNSPECIFIED: _ClassVar[LeaseState]
    ASSIGNED: _ClassVar[LeaseState]
    FETCHING: _ClassVar[LeaseState]
    READY: _ClassVar[LeaseState]
    RUNNING: _ClassVar[LeaseState]
    UPLOADING: _ClassVar[LeaseState]
    DONE: _ClassVar[LeaseState]

class Culprit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CULPRIT_UNSPECIFIED: _ClassVar[Culprit]
    ACTION: _ClassVar[Culprit]
    WORKER: _ClassVar[Culprit]
    CAS: _ClassVar[Culprit]
LEASE_STATE_UNSPECIFIED: LeaseState
ASSIGNED: LeaseState
FETCHING: LeaseState
READY: LeaseState
RUNNING: LeaseState
UPLOADING: LeaseState
DONE: LeaseState
CULPRIT_UNSPECIFIED: Culprit
ACTION: Culprit
WORKER: Culprit
CAS: Culprit

class FromWorker(_message.Message):
    __slots__ = ("hello", "statement", "result")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    statement: Statement
    result: Result
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., statement: _Optional[_Union[Statement, _Mapping]] = ..., result: _Optional[_Union[Result, _Mapping]] = ...) -> None: ...

class FromScheduler(_message.Message):
    __slots__ = ("welcome", "refused", "belief", "lease", "revoke", "acknowledge")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    BELIEF_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    REVOKE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    refused: Refused
    belief: Belief
    lease: Lease
    revoke: Revoke
    acknowledge: Acknowledge
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., refused: _Optional[_Union[Refused, _Mapping]] = ..., belief: _Optional[_Union[Belief, _Mapping]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ..., revoke: _Optional[_Union[Revoke, _Mapping]] = ..., acknowledge: _Optional[_Union[Acknowledge, _Mapping]] = ...) -> None: ...

class Property(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol_version", "name", "incarnation", "software_version", "join_token", "properties", "slots", "prefetch", "instances", "sent_at")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_VERSION_FIELD_NUMBER: _ClassVar[int]
    JOIN_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    PREFETCH_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    name: str
    incarnation: str
    software_version: str
    join_token: str
    properties: _containers.RepeatedCompositeFieldContainer[Property]
    slots: int
    prefetch: int
    instances: _containers.RepeatedScalarFieldContainer[str]
    sent_at: _timestamp_pb2.Timestamp
    def __init__(self, protocol_version: _Optional[int] = ..., name: _Optional[str] = ..., incarnation: _Optional[str] = ..., software_version: _Optional[str] = ..., join_token: _Optional[str] = ..., properties: _Optional[_Iterable[_Union[Property, _Mapping]]] = ..., slots: _Optional[int] = ..., prefetch: _Optional[int] = ..., instances: _Optional[_Iterable[str]] = ..., sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol_version", "epoch", "lease_timeout", "statement_interval", "max_inline_result_bytes", "sent_at", "echoed_at", "scheduler_version")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    LEASE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MAX_INLINE_RESULT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    ECHOED_AT_FIELD_NUMBER: _ClassVar[int]
    SCHEDULER_VERSION_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    epoch: int
    lease_timeout: _duration_pb2.Duration
    statement_interval: _duration_pb2.Duration
    max_inline_result_bytes: int
    sent_at: _timestamp_pb2.Timestamp
    echoed_at: _timestamp_pb2.Timestamp
    scheduler_version: str
    def __init__(self, protocol_version: _Optional[int] = ..., epoch: _Optional[int] = ..., lease_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., statement_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_inline_result_bytes: _Optional[int] = ..., sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., echoed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., scheduler_version: _Optional[str] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("reason", "message", "leader", "retry_after")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Refused.Reason]
        NAME_TAKEN: _ClassVar[Refused.Reason]
        VERSION: _ClassVar[Refused.Reason]
        NOT_ADMITTED: _ClassVar[Refused.Reason]
        NOT_LEADER: _ClassVar[Refused.Reason]
        MALFORMED: _ClassVar[Refused.Reason]
    REASON_UNSPECIFIED: Refused.Reason
    NAME_TAKEN: Refused.Reason
    VERSION: Refused.Reason
    NOT_ADMITTED: Refused.Reason
    NOT_LEADER: Refused.Reason
    MALFORMED: Refused.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    reason: Refused.Reason
    message: str
    leader: str
    retry_after: _duration_pb2.Duration
    def __init__(self, reason: _Optional[_Union[Refused.Reason, str]] = ..., message: _Optional[str] = ..., leader: _Optional[str] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("group", "number", "epoch")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    group: str
    number: int
    epoch: int
    def __init__(self, group: _Optional[str] = ..., number: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class LeaseStatement(_message.Message):
    __slots__ = ("lease_id", "attempt", "state")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    attempt: Attempt
    state: LeaseState
    def __init__(self, lease_id: _Optional[str] = ..., attempt: _Optional[_Union[Attempt, _Mapping]] = ..., state: _Optional[_Union[LeaseState, str]] = ...) -> None: ...

class Statement(_message.Message):
    __slots__ = ("sequence", "leases", "draining", "unhealthy", "slots", "sent_at")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    UNHEALTHY_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    leases: _containers.RepeatedCompositeFieldContainer[LeaseStatement]
    draining: bool
    unhealthy: str
    slots: int
    sent_at: _timestamp_pb2.Timestamp
    def __init__(self, sequence: _Optional[int] = ..., leases: _Optional[_Iterable[_Union[LeaseStatement, _Mapping]]] = ..., draining: _Optional[bool] = ..., unhealthy: _Optional[str] = ..., slots: _Optional[int] = ..., sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Belief(_message.Message):
    __slots__ = ("sequence", "lease_ids", "drain", "statement_sequence", "sent_at", "echoed_at")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LEASE_IDS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    ECHOED_AT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    lease_ids: _containers.RepeatedScalarFieldContainer[str]
    drain: bool
    statement_sequence: int
    sent_at: _timestamp_pb2.Timestamp
    echoed_at: _timestamp_pb2.Timestamp
    def __init__(self, sequence: _Optional[int] = ..., lease_ids: _Optional[_Iterable[str]] = ..., drain: _Optional[bool] = ..., statement_sequence: _Optional[int] = ..., sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., echoed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("lease_id", "attempt", "instance_name", "digest_function", "action_hash", "action_size_bytes", "timeout", "queued_at", "priority", "traceparent", "request_metadata", "action", "command")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ACTION_HASH_FIELD_NUMBER: _ClassVar[int]
    ACTION_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_AT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_METADATA_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    attempt: Attempt
    instance_name: str
    digest_function: str
    action_hash: str
    action_size_bytes: int
    timeout: _duration_pb2.Duration
    queued_at: _timestamp_pb2.Timestamp
    priority: int
    traceparent: str
    request_metadata: bytes
    action: bytes
    command: bytes
    def __init__(self, lease_id: _Optional[str] = ..., attempt: _Optional[_Union[Attempt, _Mapping]] = ..., instance_name: _Optional[str] = ..., digest_function: _Optional[str] = ..., action_hash: _Optional[str] = ..., action_size_bytes: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., queued_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., priority: _Optional[int] = ..., traceparent: _Optional[str] = ..., request_metadata: _Optional[bytes] = ..., action: _Optional[bytes] = ..., command: _Optional[bytes] = ...) -> None: ...

class Revoke(_message.Message):
    __slots__ = ("lease_id", "reason", "kill")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    KILL_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    reason: str
    kill: bool
    def __init__(self, lease_id: _Optional[str] = ..., reason: _Optional[str] = ..., kill: _Optional[bool] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("lease_id", "attempt", "action_result", "action_result_hash", "action_result_size_bytes", "status", "culprit", "message", "cacheable", "revoked")
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ACTION_RESULT_FIELD_NUMBER: _ClassVar[int]
    ACTION_RESULT_HASH_FIELD_NUMBER: _ClassVar[int]
    ACTION_RESULT_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CULPRIT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CACHEABLE_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    attempt: Attempt
    action_result: bytes
    action_result_hash: str
    action_result_size_bytes: int
    status: _status_pb2.Status
    culprit: Culprit
    message: str
    cacheable: bool
    revoked: bool
    def __init__(self, lease_id: _Optional[str] = ..., attempt: _Optional[_Union[Attempt, _Mapping]] = ..., action_result: _Optional[bytes] = ..., action_result_hash: _Optional[str] = ..., action_result_size_bytes: _Optional[int] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., culprit: _Optional[_Union[Culprit, str]] = ..., message: _Optional[str] = ..., cacheable: _Optional[bool] = ..., revoked: _Optional[bool] = ...) -> None: ...

class Acknowledge(_message.Message):
    __slots__ = ("lease_id",)
    LEASE_ID_FIELD_NUMBER: _ClassVar[int]
    lease_id: str
    def __init__(self, lease_id: _Optional[str] = ...) -> None: ...
