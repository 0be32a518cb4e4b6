"""The table of every RPC that remex serves or calls.

A transport needs nothing but this table to serve: the full path, whether each side streams, and
the two message types. Names are `SERVICE_METHOD` as the field spells them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from google.longrunning import operations_pb2
from google.protobuf import empty_pb2
from google.protobuf.message import Message

from remex_core.proto import (
    admin,
    bytestream,
    health,
    reapi,
    reflection,
    reflection_v1alpha,
    worker,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, A]):
    """One RPC: its path and shape, and the types of what goes in and comes out."""

    path: str
    request: type[Q]
    response: type[A]
    client_streams: bool = False
    server_streams: bool = False

    @property
    def service(self) -> str:
        """The full service name, such as `google.bytestream.ByteStream`."""
        return self.path.split("/")[1]

    @property
    def name(self) -> str:
        """The bare method name, such as `Read`."""
        return self.path.split("/")[2]


_REAPI = "/build.bazel.remote.execution.v2"

GET_CAPABILITIES: Final = Method(
    f"{_REAPI}.Capabilities/GetCapabilities",
    reapi.GetCapabilitiesRequest,
    reapi.ServerCapabilities,
)

FIND_MISSING_BLOBS: Final = Method(
    f"{_REAPI}.ContentAddressableStorage/FindMissingBlobs",
    reapi.FindMissingBlobsRequest,
    reapi.FindMissingBlobsResponse,
)
BATCH_UPDATE_BLOBS: Final = Method(
    f"{_REAPI}.ContentAddressableStorage/BatchUpdateBlobs",
    reapi.BatchUpdateBlobsRequest,
    reapi.BatchUpdateBlobsResponse,
)
BATCH_READ_BLOBS: Final = Method(
    f"{_REAPI}.ContentAddressableStorage/BatchReadBlobs",
    reapi.BatchReadBlobsRequest,
    reapi.BatchReadBlobsResponse,
)
GET_TREE: Final = Method(
    f"{_REAPI}.ContentAddressableStorage/GetTree",
    reapi.GetTreeRequest,
    reapi.GetTreeResponse,
    server_streams=True,
)

READ: Final = Method(
    "/google.bytestream.ByteStream/Read",
    bytestream.ReadRequest,
    bytestream.ReadResponse,
    server_streams=True,
)
WRITE: Final = Method(
    "/google.bytestream.ByteStream/Write",
    bytestream.WriteRequest,
    bytestream.WriteResponse,
    client_streams=True,
)
QUERY_WRITE_STATUS: Final = Method(
    "/google.bytestream.ByteStream/QueryWriteStatus",
    bytestream.QueryWriteStatusRequest,
    bytestream.QueryWriteStatusResponse,
)

GET_ACTION_RESULT: Final = Method(
    f"{_REAPI}.ActionCache/GetActionResult",
    reapi.GetActionResultRequest,
    reapi.ActionResult,
)
UPDATE_ACTION_RESULT: Final = Method(
    f"{_REAPI}.ActionCache/UpdateActionResult",
    reapi.UpdateActionResultRequest,
    reapi.ActionResult,
)

EXECUTE: Final = Method(
    f"{_REAPI}.Execution/Execute",
    reapi.ExecuteRequest,
    operations_pb2.Operation,
    server_streams=True,
)
WAIT_EXECUTION: Final = Method(
    f"{_REAPI}.Execution/WaitExecution",
    reapi.WaitExecutionRequest,
    operations_pb2.Operation,
    server_streams=True,
)

_OPERATIONS = "/google.longrunning.Operations"
LIST_OPERATIONS: Final = Method(
    f"{_OPERATIONS}/ListOperations",
    operations_pb2.ListOperationsRequest,
    operations_pb2.ListOperationsResponse,
)
GET_OPERATION: Final = Method(
    f"{_OPERATIONS}/GetOperation", operations_pb2.GetOperationRequest, operations_pb2.Operation
)
DELETE_OPERATION: Final = Method(
    f"{_OPERATIONS}/DeleteOperation", operations_pb2.DeleteOperationRequest, empty_pb2.Empty
)
CANCEL_OPERATION: Final = Method(
    f"{_OPERATIONS}/CancelOperation", operations_pb2.CancelOperationRequest, empty_pb2.Empty
)
WAIT_OPERATION: Final = Method(
    f"{_OPERATIONS}/WaitOperation", operations_pb2.WaitOperationRequest, operations_pb2.Operation
)

WORKER_SESSION: Final = Method(
    "/remex.worker.v1.WorkerApi/Session",
    worker.FromWorker,
    worker.FromScheduler,
    client_streams=True,
    server_streams=True,
)

_ADMIN = "/remex.admin.v1.Admin"
GET_STATUS: Final = Method(f"{_ADMIN}/GetStatus", admin.GetStatusRequest, admin.Status)
LIST_WORKERS: Final = Method(
    f"{_ADMIN}/ListWorkers", admin.ListWorkersRequest, admin.ListWorkersResponse
)
LIST_QUEUE: Final = Method(f"{_ADMIN}/ListQueue", admin.ListQueueRequest, admin.ListQueueResponse)
EXPLAIN_OPERATION: Final = Method(
    f"{_ADMIN}/ExplainOperation", admin.ExplainOperationRequest, admin.ExplainOperationResponse
)
DRAIN_WORKER: Final = Method(
    f"{_ADMIN}/DrainWorker", admin.DrainWorkerRequest, admin.DrainWorkerResponse
)

HEALTH_CHECK: Final = Method(
    "/grpc.health.v1.Health/Check", health.HealthCheckRequest, health.HealthCheckResponse
)
HEALTH_WATCH: Final = Method(
    "/grpc.health.v1.Health/Watch",
    health.HealthCheckRequest,
    health.HealthCheckResponse,
    server_streams=True,
)
REFLECTION: Final = Method(
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    reflection.ServerReflectionRequest,
    reflection.ServerReflectionResponse,
    client_streams=True,
    server_streams=True,
)
REFLECTION_V1ALPHA: Final = Method(
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    reflection_v1alpha.ServerReflectionRequest,
    reflection_v1alpha.ServerReflectionResponse,
    client_streams=True,
    server_streams=True,
)

METHODS: Final[Mapping[str, Method[Message, Message]]] = {
    value.path: value for value in list(globals().values()) if isinstance(value, Method)
}
"""Every method by its path."""
