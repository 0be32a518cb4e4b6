"""Reading an Action and its Command: what to run, where, and which outputs to collect.

Pure: messages in, checked values out. What breaks a rule raises InvalidArgument and names it.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from remex_core.errors import InvalidArgument
from remex_core.proto import reapi

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SHOWN: Final = 200
_MAX_NAME_BYTES: Final = 255
_MAX_PATH_BYTES: Final = 3840
"""What Linux takes, less some room for the directory that the action runs in."""


class OutputKind(Enum):
    """What an output may be, by the list that declares it."""

    ANY = "output path"
    FILE = "output file"
    DIRECTORY = "output directory"


@dataclass(frozen=True, slots=True)
class Output:
    """One declared output.

    `declared` is the client's string, byte for byte (OUT-04); `path` is the same place relative
    to the input root, without `.` and `..`, "" for the root itself.
    """

    declared: str
    path: str
    kind: OutputKind


@dataclass(frozen=True, slots=True)
class Command:
    """A checked Command.

    `working_directory` is relative to the input root, "" for the root. `by_output_paths` tells
    that the outputs come from `output_paths` and not from the two older lists (ACT-09).
    `store_directories` asks for each Directory of an output tree as a blob of its own (OUT-16).
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    working_directory: str
    outputs: tuple[Output, ...]
    by_output_paths: bool
    store_directories: bool
    properties: Mapping[str, Sequence[str]]

    def directories_before_run(self) -> list[str]:
        """The directories that outputs need to exist before the command runs (OUT-01).

        The parents of every output. Of `output_directories` the directories themselves too,
        which Bazel counts on although the protocol does not promise it.
        """
        wanted = dict.fromkeys(
            output.path if output.kind is OutputKind.DIRECTORY else posixpath.dirname(output.path)
            for output in self.outputs
        )
        wanted.pop("", None)
        return list(wanted)


def parse_action(data: bytes) -> reapi.Action:
    """The Action in `data`.

    Raises:
        InvalidArgument: if it is none, or lacks a digest (ACT-01, EXE-17).
    """
    try:
        action = reapi.Action.FromString(data)
    except DecodeError as error:
        raise InvalidArgument("The blob of the action's digest is not an Action.") from error
    for field in ("command_digest", "input_root_digest"):
        if not action.HasField(field):
            raise InvalidArgument(f"The Action has no {field}.")
    return action


def parse_command(data: bytes, platform: reapi.Platform | None = None) -> Command:
    """The Command in `data`, with the properties of `platform` where the action has one (ACT-12).

    Raises:
        InvalidArgument: if it breaks a rule (ACT-03, ACT-06, ACT-10, ACT-11, ACT-14, ACT-17,
            OUT-05).
    """
    try:
        message = reapi.Command.FromString(data)
    except DecodeError as error:
        raise InvalidArgument("The blob of the command's digest is not a Command.") from error
    argv = tuple(message.arguments)
    if not argv or not argv[0]:
        raise InvalidArgument("The Command has no arguments, so there is nothing to run.")
    _refuse_nul("an argument", argv)
    if message.output_node_properties:
        raise InvalidArgument(
            f"The Command asks for the node properties "
            f"{', '.join(message.output_node_properties)}; this server supports none.",
            hint="Ask only for what supported_node_properties of the capabilities lists.",
        )
    working_directory = _inside(message.working_directory, "", "working directory")
    return Command(
        argv=argv,
        environment=_environment(message),
        working_directory=working_directory,
        outputs=_outputs(message, working_directory),
        by_output_paths=bool(message.output_paths),
        store_directories=message.output_directory_format
        in {reapi.Command.DIRECTORY_ONLY, reapi.Command.TREE_AND_DIRECTORY},
        properties=_properties(message.platform if platform is None else platform),
    )


def _environment(message: reapi.Command) -> dict[str, str]:
    environment: dict[str, str] = {}
    for variable in message.environment_variables:
        if not variable.name or "=" in variable.name:
            raise InvalidArgument(
                f"The environment variable name {variable.name[:_SHOWN]!r} is empty or has a '='."
            )
        if variable.name in environment:
            raise InvalidArgument(
                f"The environment variable {variable.name[:_SHOWN]!r} is given twice."
            )
        environment[variable.name] = variable.value
    _refuse_nul("an environment variable", [*environment, *environment.values()])
    return environment


def _properties(platform: reapi.Platform) -> dict[str, list[str]]:
    properties: dict[str, list[str]] = {}
    for item in platform.properties:
        properties.setdefault(item.name, []).append(item.value)
    return properties


def _outputs(message: reapi.Command, working_directory: str) -> tuple[Output, ...]:
    if message.output_paths:
        kinds = dict.fromkeys(message.output_paths, OutputKind.ANY)
    else:
        kinds = dict.fromkeys(message.output_files, OutputKind.FILE)
        for declared in message.output_directories:
            # Buck2 lists a path of unknown type in both (ACT-11).
            both = declared in kinds
            kinds[declared] = OutputKind.ANY if both else OutputKind.DIRECTORY
    outputs = tuple(
        Output(declared, _output_path(declared, working_directory, kind), kind)
        for declared, kind in kinds.items()
    )
    _refuse_file_as_parent(outputs)
    return outputs


def _output_path(declared: str, working_directory: str, kind: OutputKind) -> str:
    if declared.endswith("/"):
        raise InvalidArgument(f"The {kind.value} {declared[:_SHOWN]!r} ends with a slash.")
    if not declared and kind is OutputKind.FILE:
        raise InvalidArgument("An output file has an empty path.")
    return _inside(declared, working_directory, kind.value)


def _refuse_file_as_parent(outputs: Sequence[Output]) -> None:
    """An output file cannot have another output below it (ACT-11)."""
    files = {output.path for output in outputs if output.kind is OutputKind.FILE}
    for output in outputs if files else ():
        parent = posixpath.dirname(output.path)
        while parent:
            if parent in files:
                raise InvalidArgument(
                    f"{parent[:_SHOWN]!r} is declared as an output file, but the output "
                    f"{output.declared[:_SHOWN]!r} lies below it."
                )
            parent = posixpath.dirname(parent)


def _inside(path: str, base: str, what: str) -> str:
    """`path` relative to the input root, "" for the root itself (OUT-05, ACT-08)."""
    _refuse_nul(f"the {what}", (path,))
    if path.startswith("/"):
        raise InvalidArgument(f"The {what} {path[:_SHOWN]!r} is absolute; it must be relative.")
    normal = posixpath.normpath(posixpath.join(base, path))
    if normal == ".." or normal.startswith("../"):
        raise InvalidArgument(f"The {what} {path[:_SHOWN]!r} leads out of the input root.")
    if len(normal) * 4 > _MAX_NAME_BYTES:  # At most 4 bytes a character: mostly that suffices.
        _refuse_long(normal, what)
    return "" if normal == "." else normal


def _refuse_long(path: str, what: str) -> None:
    """No file system takes such a path, so that no other worker could do better (OUT-05)."""
    encoded = path.encode()
    if len(encoded) > _MAX_PATH_BYTES:
        raise InvalidArgument(
            f"The {what} {path[:_SHOWN]!r} has {len(encoded)} bytes; "
            f"at most {_MAX_PATH_BYTES} are possible."
        )
    if max(map(len, encoded.split(b"/"))) > _MAX_NAME_BYTES:
        raise InvalidArgument(
            f"The {what} {path[:_SHOWN]!r} has a name of more than {_MAX_NAME_BYTES} bytes."
        )


def _refuse_nul(what: str, texts: Iterable[str]) -> None:
    for text in texts:
        if "\0" in text:
            raise InvalidArgument(f"There is a NUL byte in {what}: {text[:_SHOWN]!r}.")
