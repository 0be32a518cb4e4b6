"""Reads Bazel's log of its remote calls: what a real client was answered, in the server's words.

The file is a sequence of length-prefixed `LogEntry` messages of Bazel's own schema. Only three of
its fields lead to the answers of Execute, so they are followed by number, not compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from remex_core.proto import operations, reapi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DETAILS = 4  # LogEntry
_CALLS = (7, 9)  # RpcCallDetails: execute, wait_execution
_RESPONSES = 2  # ExecuteDetails, WaitExecutionDetails


def read_executions(path: Path) -> list[reapi.ExecuteResponse]:
    """Return the response of every call that waited for an action and got one.

    The log is a `--experimental_remote_grpc_log`; there are none if Bazel wrote no such file.
    """
    if not path.exists():
        return []
    responses: list[reapi.ExecuteResponse] = []
    for entry in _delimited(path.read_bytes()):
        for details in _bytes_fields(entry, _DETAILS):
            for call in _bytes_fields(details, *_CALLS):
                for message in _bytes_fields(call, _RESPONSES):
                    operation = operations.Operation.FromString(message)
                    if operation.HasField("response"):
                        responses.append(reapi.ExecuteResponse.FromString(operation.response.value))
    return responses


def _delimited(data: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(data):
        length, position = _varint(data, position)
        yield data[position : position + length]
        position += length


def _bytes_fields(message: bytes, *numbers: int) -> Iterator[bytes]:
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        match tag & 7:
            case 0:
                _, position = _varint(message, position)
            case 1:
                position += 8
            case 2:
                length, position = _varint(message, position)
                if tag >> 3 in numbers:
                    yield message[position : position + length]
                position += length
            case 5:
                position += 4
            case wire_type:
                raise ValueError(f"not a protobuf message: wire type {wire_type} at {position}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
