"""Server reflection: which services there are and their descriptors, for grpcurl and its like.

Answers from the descriptors of the methods that are served (GEN-16). The two versions of the
protocol have the same fields, so one handler answers both.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf import descriptor_pool

from remex_core.errors import Code
from remex_core.proto import reflection, reflection_v1alpha
from remex_core.wire import methods

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
    from types import ModuleType

    from google.protobuf.descriptor import FileDescriptor

    from remex_core.wire.call import Call, Handler
    from remex_core.wire.methods import Method

    Request: TypeAlias = (
        reflection.ServerReflectionRequest | reflection_v1alpha.ServerReflectionRequest
    )
    Response: TypeAlias = (
        reflection.ServerReflectionResponse | reflection_v1alpha.ServerReflectionResponse
    )

_POOL = descriptor_pool.Default()


class ReflectionService:
    """Both versions of server reflection.

    Args:
        served: the methods that the server offers, beside reflection itself.
    """

    def __init__(self, served: Iterable[Method[Any, Any]]) -> None:
        all_served = (*served, methods.REFLECTION, methods.REFLECTION_V1ALPHA)
        self._services = sorted({method.service for method in all_served})
        self._files: dict[str, FileDescriptor] = {}
        for service in self._services:
            self._add(_POOL.FindServiceByName(service).file)

    def handlers(self) -> Mapping[Method[Any, Any], Handler]:
        """The handlers by method."""
        return {
            methods.REFLECTION: partial(self._info, reflection),
            methods.REFLECTION_V1ALPHA: partial(self._info, reflection_v1alpha),
        }

    def _add(self, file: FileDescriptor) -> None:
        if file.name not in self._files:
            self._files[file.name] = file
            for dependency in file.dependencies:
                self._add(dependency)

    async def _info(
        self, version: ModuleType, _call: Call, requests: AsyncIterator[Request]
    ) -> AsyncGenerator[Response]:
        """One answer to each question; a file is sent once on a stream, before what needs it."""
        sent: set[str] = set()
        async for request in requests:
            response = version.ServerReflectionResponse(
                valid_host=request.host, original_request=request
            )
            try:
                self._answer(request, response, sent)
            except KeyError:
                response.error_response.error_code = Code.NOT_FOUND
                response.error_response.error_message = (
                    f"Nothing that this server offers answers {_question(request)}."
                )
            yield response

    def _answer(self, request: Request, response: Response, sent: set[str]) -> None:
        """Fills the response; raises KeyError where there is no answer."""
        asked = request.WhichOneof("message_request")
        if asked == "list_services":
            for name in self._services:
                response.list_services_response.service.add(name=name)
        elif asked == "all_extension_numbers_of_type":
            extended = _POOL.FindMessageTypeByName(request.all_extension_numbers_of_type)
            self._known(extended.file)
            numbers = response.all_extension_numbers_response
            numbers.base_type_name = extended.full_name
            numbers.extension_number.extend(
                extension.number for extension in _POOL.FindAllExtensions(extended)
            )
        else:
            self._send(self._file(request, asked), response, sent)

    def _file(self, request: Request, asked: str | None) -> FileDescriptor:
        if asked == "file_by_filename":
            return self._files[request.file_by_filename]
        if asked == "file_containing_symbol":
            return self._known(_file_of(request.file_containing_symbol))
        if asked == "file_containing_extension":
            wanted = request.file_containing_extension
            message = _POOL.FindMessageTypeByName(wanted.containing_type)
            extension = _POOL.FindExtensionByNumber(message, wanted.extension_number)
            return self._known(extension.file)  # type: ignore[attr-defined] # the stubs lack it
        raise KeyError(asked)

    def _known(self, file: FileDescriptor) -> FileDescriptor:
        return self._files[file.name]

    def _send(self, file: FileDescriptor, response: Response, sent: set[str]) -> None:
        """Adds the file, and first those it needs that the stream has not carried yet."""
        pending = [file]
        found: dict[str, FileDescriptor] = {}
        while pending:
            one = pending.pop()
            if one.name not in found and (one is file or one.name not in sent):
                found[one.name] = one
                pending.extend(one.dependencies)
        sent.update(found)
        response.file_descriptor_response.file_descriptor_proto.extend(
            one.serialized_pb for one in found.values()
        )


def _file_of(symbol: str) -> FileDescriptor:
    """The file that defines a symbol; raises KeyError if none does."""
    try:
        return _POOL.FindFileContainingSymbol(symbol)
    except KeyError:
        # The pool does not look for methods.
        service, _, method = symbol.rpartition(".")
        return _POOL.FindServiceByName(service).methods_by_name[method].containing_service.file


def _question(request: Request) -> str:
    asked = request.WhichOneof("message_request")
    return f"{asked} {getattr(request, asked)!r}" if asked else "an empty question"
