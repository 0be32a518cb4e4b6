"""Server reflection in both versions, over a real listener."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from google.protobuf import descriptor_pb2

from remex_core.errors import Code
from remex_core.proto import reflection, reflection_v1alpha
from remex_core.services.reflection import ReflectionService
from remex_core.testing.server import serve_handlers
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

SERVED = (methods.EXECUTE, methods.READ, methods.WRITE, methods.GET_OPERATION)
EXECUTION = methods.EXECUTE.service


class Version(NamedTuple):
    method: Any
    module: ModuleType

    async def ask(self, *questions: dict[str, Any]) -> list[Any]:
        """The answers to questions that are asked on one stream."""

        async def requests() -> AsyncIterator[Any]:
            for question in questions:
                yield self.module.ServerReflectionRequest(host="h", **question)

        async with serve_handlers(ReflectionService(SERVED).handlers()) as served:
            return [answer async for answer in served.stub.stream(self.method, requests())]


@pytest.fixture(
    params=[
        Version(methods.REFLECTION, reflection),
        Version(methods.REFLECTION_V1ALPHA, reflection_v1alpha),
    ],
    ids=["v1", "v1alpha"],
)
def version(request: pytest.FixtureRequest) -> Version:
    chosen: Version = request.param
    return chosen


def files(answer: Any) -> list[descriptor_pb2.FileDescriptorProto]:
    return [
        descriptor_pb2.FileDescriptorProto.FromString(file)
        for file in answer.file_descriptor_response.file_descriptor_proto
    ]


async def test_services_are_listed(version: Version) -> None:
    """GEN-16: exactly the services that are served, reflection among them, by full name."""
    (answer,) = await version.ask({"list_services": "*"})
    assert [
        "build.bazel.remote.execution.v2.Execution",
        "google.bytestream.ByteStream",
        "google.longrunning.Operations",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ] == [service.name for service in answer.list_services_response.service]
    assert "h" == answer.valid_host
    assert "*" == answer.original_request.list_services


@pytest.mark.parametrize(
    "symbol",
    [
        EXECUTION,
        f"{EXECUTION}.Execute",
        "build.bazel.remote.execution.v2.Digest",
        "build.bazel.remote.execution.v2.DigestFunction.Value",
    ],
)
async def test_a_symbol_leads_to_its_file_and_all_that_it_needs(
    version: Version, symbol: str
) -> None:
    """GEN-16: services, methods, messages and enums lead to a closed set of files."""
    (answer,) = await version.ask({"file_containing_symbol": symbol})
    found = files(answer)
    assert "build.bazel.remote.execution.v2" == found[0].package
    names = {file.name for file in found}
    assert len(names) == len(found)
    assert names >= {needed for file in found for needed in file.dependency}


async def test_a_file_is_found_by_its_name(version: Version) -> None:
    """GEN-16: the names that other answers mention can be asked for."""
    (by_symbol,) = await version.ask({"file_containing_symbol": methods.READ.service})
    name = files(by_symbol)[0].name
    (by_name,) = await version.ask({"file_by_filename": name})
    assert files(by_symbol) == files(by_name)


async def test_a_file_goes_once_over_a_stream(version: Version) -> None:
    """GEN-16: a later answer repeats what was asked for and no dependency."""
    first, second = await version.ask(
        {"file_containing_symbol": EXECUTION}, {"file_containing_symbol": EXECUTION}
    )
    assert files(first)[0] == files(second)[0]
    assert 1 == len(files(second))


async def test_extensions(version: Version) -> None:
    """GEN-16: an extension leads to its file; messages without any have no numbers."""
    numbers, file = await version.ask(
        {"all_extension_numbers_of_type": "build.bazel.remote.execution.v2.Digest"},
        {
            "file_containing_extension": {
                "containing_type": "google.protobuf.MethodOptions",
                "extension_number": 72295728,
            }
        },
    )
    told = numbers.all_extension_numbers_response
    assert "build.bazel.remote.execution.v2.Digest" == told.base_type_name
    assert [] == list(told.extension_number)
    assert "google/api/annotations.proto" == files(file)[0].name


@pytest.mark.parametrize(
    "question",
    [
        {"file_by_filename": "nope.proto"},
        {"file_containing_symbol": "no.Such"},
        {"file_containing_symbol": f"{EXECUTION}.Nope"},
        {"file_containing_symbol": "remex.admin.v1.Admin"},
        {"all_extension_numbers_of_type": "no.Such"},
        {"file_containing_extension": {"containing_type": "no.Such", "extension_number": 1}},
        {},
    ],
    ids=str,
)
async def test_what_is_not_served_is_an_error_on_the_stream(
    version: Version, question: dict[str, Any]
) -> None:
    """GEN-16: a question without an answer is NOT_FOUND and does not end the stream."""
    error, services = await version.ask(question, {"list_services": ""})
    assert Code.NOT_FOUND == error.error_response.error_code
    assert error.error_response.error_message
    assert services.list_services_response.service
