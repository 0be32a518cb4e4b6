"""Reading Actions and Commands."""

from __future__ import annotations

from typing import Any

import pytest

from remex_core.errors import InvalidArgument
from remex_core.proto import reapi
from remex_core.worker.command import (
    Command,
    Output,
    OutputKind,
    parse_action,
    parse_command,
)

DIGEST = reapi.Digest(hash="a" * 64, size_bytes=1)


def command(**fields: Any) -> Command:
    """A parsed Command with these fields, and something to run."""
    message = reapi.Command(**({"arguments": ["tool"]} | fields))
    return parse_command(message.SerializeToString())


def refusal(**fields: Any) -> str:
    """Why a Command with these fields is refused."""
    with pytest.raises(InvalidArgument) as raised:
        command(**fields)
    return raised.value.message


def variable(name: str, value: str = "") -> reapi.Command.EnvironmentVariable:
    """An environment variable."""
    return reapi.Command.EnvironmentVariable(name=name, value=value)


def test_action_needs_both_digests() -> None:
    """ACT-01: an Action without a command or an input root is refused by name."""
    whole = reapi.Action(command_digest=DIGEST, input_root_digest=DIGEST)
    assert whole == parse_action(whole.SerializeToString())
    for missing in ("command_digest", "input_root_digest"):
        part = reapi.Action(command_digest=DIGEST, input_root_digest=DIGEST)
        part.ClearField(missing)
        with pytest.raises(InvalidArgument, match=missing):
            parse_action(part.SerializeToString())


def test_unparsable_messages() -> None:
    """ACT-02, ACT-17, EXE-17: bytes that are no message, or not UTF-8, are refused."""
    with pytest.raises(InvalidArgument, match="not an Action"):
        parse_action(b"\xff\xff")
    with pytest.raises(InvalidArgument, match="not a Command"):
        parse_command(b"\xff\xff")
    not_utf8 = b"\x0a\x02\xff\xfe"
    with pytest.raises(InvalidArgument, match="not a Command"):
        parse_command(not_utf8)


@pytest.mark.parametrize("arguments", [[], [""], ["", "x"]])
def test_something_to_run(arguments: list[str]) -> None:
    """ACT-03: a command without a program is refused."""
    assert "nothing to run" in refusal(arguments=arguments)


def test_environment() -> None:
    """ACT-06: variables come in any order, and keep what they hold."""
    found = command(environment_variables=[variable("B", "2=3"), variable("A", "")])
    assert found.environment == {"A": "", "B": "2=3"}


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ([variable("A", "1"), variable("A", "2")], "given twice"),
        ([variable("", "1")], "empty"),
        ([variable("A=B", "1")], "'='"),
        ([variable("A\0", "1")], "NUL"),
        ([variable("A", "1\0")], "NUL"),
    ],
)
def test_bad_environment(variables: list[reapi.Command.EnvironmentVariable], why: str) -> None:
    """ACT-06, ACT-17: duplicate, empty and impossible variables are refused."""
    assert why in refusal(environment_variables=variables)


@pytest.mark.parametrize(
    "fields",
    [
        {"arguments": ["tool", "a\0b"]},
        {"output_paths": ["a\0b"]},
        {"output_files": ["a\0b"]},
        {"output_directories": ["a\0b"]},
        {"working_directory": "a\0b"},
    ],
)
def test_nul_bytes(fields: dict[str, Any]) -> None:
    """ACT-17: no argument and no path has a NUL byte."""
    assert "NUL" in refusal(**fields)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", ""), ("a/b", "a/b"), ("a/./b", "a/b"), ("a/../b", "b"), (".", "")],
)
def test_working_directory(given: str, expected: str) -> None:
    """ACT-08: a working directory is relative to the input root, which is also the default."""
    assert expected == command(working_directory=given).working_directory


@pytest.mark.parametrize("given", ["/a", "..", "a/../..", "../a"])
def test_working_directory_outside(given: str) -> None:
    """ACT-08: a working directory outside of the input root is refused."""
    assert "working directory" in refusal(working_directory=given)


def test_output_paths_come_first() -> None:
    """ACT-09: where there are output paths, the older lists do not count."""
    found = command(output_paths=["a"], output_files=["b"], output_directories=["c"])
    assert found.outputs == (Output("a", "a", OutputKind.ANY),)
    assert found.by_output_paths


def test_older_lists() -> None:
    """ACT-09: without output paths, files and directories are declared by their kind."""
    found = command(output_files=["b"], output_directories=["c"])
    assert set(found.outputs) == {
        Output("b", "b", OutputKind.FILE),
        Output("c", "c", OutputKind.DIRECTORY),
    }
    assert not found.by_output_paths


def test_unsorted_and_repeated_outputs() -> None:
    """ACT-10: the order of outputs does not matter, and a repeated one counts once."""
    found = command(output_paths=["b", "a", "b"])
    assert [output.declared for output in found.outputs] == ["b", "a"]


def test_outputs_are_relative_to_the_working_directory() -> None:
    """OUT-04, OUT-05: `..` is legal inside the input root, and the string is kept as it is."""
    found = command(working_directory="work/dir", output_paths=["../x", "./y", "z/../w", ""])
    assert found.outputs == (
        Output("../x", "work/x", OutputKind.ANY),
        Output("./y", "work/dir/y", OutputKind.ANY),
        Output("z/../w", "work/dir/w", OutputKind.ANY),
        Output("", "work/dir", OutputKind.ANY),
    )


@pytest.mark.parametrize("field", ["output_paths", "output_files", "output_directories"])
@pytest.mark.parametrize("path", ["/abs", "..", "../x", "a/../../x"])
def test_outputs_outside(field: str, path: str) -> None:
    """OUT-05: an output that is absolute or leaves the input root is refused before the run."""
    assert path in refusal(**{field: [path]})


@pytest.mark.parametrize(
    "path", ["x" * 256, "é" * 128, "a/" + "x" * 300 + "/b", "ab/" * 2000 + "x"]
)
def test_paths_that_no_file_system_takes(path: str) -> None:
    """OUT-05, ACT-08: too long a path is the request's fault, which no other worker could undo."""
    assert "bytes" in refusal(output_paths=[path])
    assert "bytes" in refusal(working_directory=path)
    assert 500 > len(refusal(output_paths=[path]))


def test_paths_that_are_only_just_possible() -> None:
    """OUT-05: names of 255 bytes and paths of some thousand are taken."""
    for path in ("x" * 255, "é" * 127, "ab/" * 1000 + "x"):
        assert path == command(output_paths=[path]).outputs[0].path


@pytest.mark.parametrize("field", ["output_paths", "output_files", "output_directories"])
def test_trailing_slash(field: str) -> None:
    """ACT-10: an output path does not end with a slash."""
    assert "slash" in refusal(**{field: ["a/"]})


def test_empty_output_directory() -> None:
    """ACT-10, OUT-17: an empty path is a directory, the working one, but no file."""
    assert command(output_directories=[""]).outputs[0].path == ""
    assert "empty" in refusal(output_files=[""])


@pytest.mark.parametrize(
    "fields",
    [
        {"output_files": ["a", "a/b"]},
        {"output_files": ["a"], "output_directories": ["a/b"]},
    ],
)
def test_file_above_an_output(fields: dict[str, Any]) -> None:
    """ACT-11: an output file is not the parent of another output."""
    assert "below it" in refusal(**fields)


def test_directories_may_be_nested() -> None:
    """ACT-11: an output directory may have other outputs in it."""
    found = command(output_files=["d/f"], output_directories=["d", "d/e"])
    assert [output.declared for output in found.outputs] == ["d/f", "d", "d/e"]


def test_path_in_both_lists() -> None:
    """ACT-11: a path in both lists, as Buck2 declares one of unknown kind, may be either."""
    found = command(output_files=["x"], output_directories=["x"])
    assert found.outputs == (Output("x", "x", OutputKind.ANY),)


def test_platform() -> None:
    """ACT-12: the action's platform counts, and the command's where the action has none."""
    of_command = reapi.Platform(properties=[{"name": "os", "value": "a"}])
    message = reapi.Command(arguments=["x"], platform=of_command).SerializeToString()
    assert parse_command(message).properties == {"os": ["a"]}
    of_action = reapi.Platform(
        properties=[{"name": "os", "value": "b"}, {"name": "os", "value": "c"}]
    )
    assert parse_command(message, of_action).properties == {"os": ["b", "c"]}
    assert parse_command(message, reapi.Platform()).properties == {}


def test_output_node_properties() -> None:
    """ACT-14, OUT-27: asking for a node property is refused, since none is supported."""
    assert "mtime" in refusal(output_node_properties=["mtime"])


@pytest.mark.parametrize(
    ("wanted", "stored"),
    [
        (reapi.Command.TREE_ONLY, False),
        (reapi.Command.DIRECTORY_ONLY, True),
        (reapi.Command.TREE_AND_DIRECTORY, True),
        (99, False),
    ],
)
def test_directory_format(wanted: int, stored: bool) -> None:
    """ACT-15: an unknown format counts as TREE_ONLY."""
    assert stored == command(output_directory_format=wanted).store_directories


def test_directories_before_the_run() -> None:
    """OUT-01: the parents of outputs; of declared directories also those themselves."""
    found = command(
        working_directory="w", output_files=["a/b/f", "../c/g"], output_directories=["d/e"]
    )
    assert set(found.directories_before_run()) == {"w/a/b", "c", "w/d/e"}
    paths = command(output_paths=["a/b/f", "top"])
    assert paths.directories_before_run() == ["a/b"]
