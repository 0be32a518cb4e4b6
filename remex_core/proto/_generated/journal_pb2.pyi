from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Group(_message.Message):
    __slots__ = ("version", "instance_name", "digest_function", "action_hash", "action_size_bytes", "action", "command", "priority", "merges", "caches", "timeout_seconds", "queued_at", "traceparent", "request_metadata")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FUNCTION_FIELD_NUMBER: _ClassVar[int]
    ACTION_HASH_FIELD_NUMBER: _ClassVar[int]
    ACTION_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MERGES_FIELD_NUMBER: _ClassVar[int]
    CACHES_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_AT_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_METADATA_FIELD_NUMBER: _ClassVar[int]
    version: int
    instance_name: str
    digest_function: str
    action_hash: str
    action_size_bytes: int
    action: bytes
    command: bytes
    priority: int
    merges: bool
    caches: bool
    timeout_seconds: float
    queued_at: float
    traceparent: str
    request_metadata: bytes
    def __init__(self, version: _Optional[int] = ..., instance_name: _Optional[str] = ..., digest_function: _Optional[str] = ..., action_hash: _Optional[str] = ..., action_size_bytes: _Optional[int] = ..., action: _Optional[bytes] = ..., command: _Optional[bytes] = ..., priority: _Optional[int] = ..., merges: _Optional[bool] = ..., caches: _Optional[bool] = ..., timeout_seconds: _Optional[float] = ..., queued_at: _Optional[float] = ..., traceparent: _Optional[str] = ..., request_metadata: _Optional[bytes] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("version", "number", "failures", "worker", "incarnation", "epoch")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    version: int
    number: int
    failures: int
    worker: str
    incarnation: str
    epoch: int
    def __init__(self, version: _Optional[int] = ..., number: _Optional[int] = ..., failures: _Optional[int] = ..., worker: _Optional[str] = ..., incarnation: _Optional[str] = ..., epoch: _Optional[int] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("version", "group", "created_at", "response")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    version: int
    group: str
    created_at: float
    response: bytes
    def __init__(self, version: _Optional[int] = ..., group: _Optional[str] = ..., created_at: _Optional[float] = ..., response: _Optional[bytes] = ...) -> None: ...
