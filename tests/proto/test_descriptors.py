"""Names, numbers and shapes that clients depend on."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool

from remex_core import proto

POOL = descriptor_pool.Default()

SERVICES = {
    "build.bazel.remote.execution.v2.Execution": {
        "Execute": "ExecuteRequest -> stream google.longrunning.Operation",
        "WaitExecution": "WaitExecutionRequest -> stream google.longrunning.Operation",
    },
    "build.bazel.remote.execution.v2.ActionCache": {
        "GetActionResult": "GetActionResultRequest -> ActionResult",
        "UpdateActionResult": "UpdateActionResultRequest -> ActionResult",
    },
    "build.bazel.remote.execution.v2.ContentAddressableStorage": {
        "FindMissingBlobs": "FindMissingBlobsRequest -> FindMissingBlobsResponse",
        "BatchUpdateBlobs": "BatchUpdateBlobsRequest -> BatchUpdateBlobsResponse",
        "BatchReadBlobs": "BatchReadBlobsRequest -> BatchReadBlobsResponse",
        "GetTree": "GetTreeRequest -> stream GetTreeResponse",
        "SplitBlob": "SplitBlobRequest -> SplitBlobResponse",
        "SpliceBlob": "SpliceBlobRequest -> SpliceBlobResponse",
    },
    "build.bazel.remote.execution.v2.Capabilities": {
        "GetCapabilities": "GetCapabilitiesRequest -> ServerCapabilities",
    },
    "google.bytestream.ByteStream": {
        "Read": "ReadRequest -> stream ReadResponse",
        "Write": "stream WriteRequest -> WriteResponse",
        "QueryWriteStatus": "QueryWriteStatusRequest -> QueryWriteStatusResponse",
    },
    "google.longrunning.Operations": {
        "ListOperations": "ListOperationsRequest -> ListOperationsResponse",
        "GetOperation": "GetOperationRequest -> Operation",
        "DeleteOperation": "DeleteOperationRequest -> google.protobuf.Empty",
        "CancelOperation": "CancelOperationRequest -> google.protobuf.Empty",
        "WaitOperation": "WaitOperationRequest -> Operation",
    },
    "grpc.health.v1.Health": {
        "Check": "HealthCheckRequest -> HealthCheckResponse",
        "Watch": "HealthCheckRequest -> stream HealthCheckResponse",
    },
    "grpc.reflection.v1.ServerReflection": {
        "ServerReflectionInfo": "stream ServerReflectionRequest -> stream ServerReflectionResponse",
    },
    "grpc.reflection.v1alpha.ServerReflection": {
        "ServerReflectionInfo": "stream ServerReflectionRequest -> stream ServerReflectionResponse",
    },
    "remex.worker.v1.WorkerApi": {
        "Session": "stream FromWorker -> stream FromScheduler",
    },
    "remex.admin.v1.Admin": {
        "GetStatus": "GetStatusRequest -> Status",
        "ListWorkers": "ListWorkersRequest -> ListWorkersResponse",
        "ListQueue": "ListQueueRequest -> ListQueueResponse",
        "ExplainOperation": "ExplainOperationRequest -> ExplainOperationResponse",
        "DrainWorker": "DrainWorkerRequest -> DrainWorkerResponse",
    },
}

REAPI = "build.bazel.remote.execution.v2"

# The messages whose numbers have gaps or an order that nobody would guess.
FIELDS = {
    "google.bytestream.ReadResponse": "data=10",
    "google.bytestream.WriteRequest": "resource_name=1 write_offset=2 finish_write=3 data=10",
    "google.longrunning.ListOperationsRequest": (
        "filter=1 page_size=2 page_token=3 name=4 return_partial_success=5"
    ),
    f"{REAPI}.Action": (
        "command_digest=1 input_root_digest=2 timeout=6 do_not_cache=7 salt=9 platform=10"
    ),
    f"{REAPI}.Directory": "files=1 directories=2 symlinks=3 node_properties=5",
    f"{REAPI}.FileNode": "name=1 digest=2 is_executable=4 node_properties=6",
    f"{REAPI}.SymlinkNode": "name=1 target=2 node_properties=4",
    f"{REAPI}.OutputFile": "path=1 digest=2 is_executable=4 contents=5 node_properties=7",
    f"{REAPI}.OutputDirectory": (
        "path=1 tree_digest=3 is_topologically_sorted=4 root_directory_digest=5"
    ),
    f"{REAPI}.OutputSymlink": "path=1 target=2 node_properties=4",
    f"{REAPI}.ActionResult": (
        "output_files=2 output_directories=3 exit_code=4 stdout_raw=5 stdout_digest=6 "
        "stderr_raw=7 stderr_digest=8 execution_metadata=9 output_file_symlinks=10 "
        "output_directory_symlinks=11 output_symlinks=12"
    ),
    f"{REAPI}.ExecuteRequest": (
        "instance_name=1 skip_cache_lookup=3 action_digest=6 execution_policy=7 "
        "results_cache_policy=8 digest_function=9 inline_stdout=10 inline_stderr=11 "
        "inline_output_files=12"
    ),
    f"{REAPI}.FindMissingBlobsResponse": "missing_blob_digests=2",
    f"{REAPI}.BatchUpdateBlobsRequest": "instance_name=1 requests=2 digest_function=5",
    f"{REAPI}.BatchReadBlobsRequest": (
        "instance_name=1 digests=2 acceptable_compressors=3 digest_function=4"
    ),
    f"{REAPI}.BatchReadBlobsResponse.Response": "digest=1 data=2 status=3 compressor=4",
    f"{REAPI}.SplitBlobRequest": (
        "instance_name=1 blob_digest=2 digest_function=3 chunking_function=4"
    ),
    f"{REAPI}.SpliceBlobRequest": (
        "instance_name=1 blob_digest=2 chunk_digests=3 digest_function=4 chunking_function=5"
    ),
    "grpc.reflection.v1.ServerReflectionResponse": (
        "valid_host=1 original_request=2 file_descriptor_response=4 "
        "all_extension_numbers_response=5 list_services_response=6 error_response=7"
    ),
}

ENUMS = {
    f"{REAPI}.DigestFunction.Value": (
        "UNKNOWN=0 SHA256=1 SHA1=2 MD5=3 VSO=4 SHA384=5 SHA512=6 MURMUR3=7 SHA256TREE=8 "
        "BLAKE3=9 GITSHA1=10"
    ),
    f"{REAPI}.Compressor.Value": "IDENTITY=0 ZSTD=1 DEFLATE=2 BROTLI=3",
    f"{REAPI}.ExecutionStage.Value": "UNKNOWN=0 CACHE_CHECK=1 QUEUED=2 EXECUTING=3 COMPLETED=4",
    f"{REAPI}.Command.OutputDirectoryFormat": "TREE_ONLY=0 DIRECTORY_ONLY=1 TREE_AND_DIRECTORY=2",
    "grpc.health.v1.HealthCheckResponse.ServingStatus": (
        "UNKNOWN=0 SERVING=1 NOT_SERVING=2 SERVICE_UNKNOWN=3"
    ),
}


@pytest.mark.parametrize("service", SERVICES)
def test_service_has_exactly_the_methods_that_clients_call(service: str) -> None:
    """Paths, message types and streaming kinds are those that clients call."""
    descriptor = POOL.FindServiceByName(service)
    package = descriptor.file.package + "."

    def side(streams: bool, full_name: str) -> str:
        return "stream " * streams + full_name.removeprefix(package)

    assert SERVICES[service] == {
        method.name: side(method.client_streaming, method.input_type.full_name)
        + " -> "
        + side(method.server_streaming, method.output_type.full_name)
        for method in descriptor.methods
    }


@pytest.mark.parametrize("message", FIELDS)
def test_message_has_the_field_numbers_of_the_wire(message: str) -> None:
    """Field numbers, gaps included, are those that clients send and read."""
    fields = POOL.FindMessageTypeByName(message).fields
    by_number = sorted(fields, key=lambda field: field.number)
    assert FIELDS[message] == " ".join(f"{field.name}={field.number}" for field in by_number)


@pytest.mark.parametrize("enum", ENUMS)
def test_enum_has_the_numbers_of_the_wire(enum: str) -> None:
    """Enum numbers are those that clients send and read."""
    values = POOL.FindEnumTypeByName(enum).values
    assert ENUMS[enum] == " ".join(f"{value.name}={value.number}" for value in values)


def test_every_short_name_is_a_module_of_messages() -> None:
    """The short names give the generated modules and nothing more."""
    packages = {
        "admin": "remex.admin.v1",
        "bytestream": "google.bytestream",
        "error_details": "google.rpc",
        "health": "grpc.health.v1",
        "journal": "remex.journal.v1",
        "operations": "google.longrunning",
        "reapi": REAPI,
        "reflection": "grpc.reflection.v1",
        "reflection_v1alpha": "grpc.reflection.v1alpha",
        "rpc_code": "google.rpc",
        "rpc_status": "google.rpc",
        "semver": "build.bazel.semver",
        "worker": "remex.worker.v1",
    }
    assert packages == {name: getattr(proto, name).DESCRIPTOR.package for name in proto.__all__}
