"""Input roots from plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.client.trees import File, Link, build, hash_file
from remex_core.digest import BLAKE3, SHA256
from remex_core.errors import InvalidArgument
from remex_core.proto import reapi

if TYPE_CHECKING:
    from pathlib import Path

HELLO = SHA256.key_of(b"hello\n")


def test_a_tree_has_the_digests_of_its_canonical_messages() -> None:
    """DIG-16: the same tree has the digests that the protocol's golden vectors name."""
    built = build({"sub": {"a.txt": File(b"hello\n", executable=True)}})
    assert "dbe91606412943f646209e92f771a733bb2fb822aeb5065fb2b1f33057bc0d3c" == built.root.hash
    assert 77 == built.root.size
    inner = "8a60c2cacf71bf7bad47c57526c2e6074da2da3e1e895210a006f3eb03f75814"
    assert {built.root.hash, inner, HELLO.hash} == {key.hash for key in built.blobs}


def test_the_empty_tree_is_the_empty_blob() -> None:
    """DIR-01: a root without nodes is the empty message."""
    assert SHA256.empty_key == build({}).root


def test_order_and_spelling_of_paths_do_not_matter() -> None:
    """A path of several segments means the same as nested mappings, in any order."""
    nested = build({"b": {"x": b"1", "a": {"y": b"2"}}, "a": b"3"})
    flat = build({"a": b"3", "b/a/y": b"2", "b/x": b"1"})
    assert nested.root == flat.root
    root = reapi.Directory.FromString(flat.blobs[flat.root])  # type: ignore[arg-type]
    assert ["a"] == [file.name for file in root.files]
    assert ["b"] == [directory.name for directory in root.directories]


def test_nodes_of_every_kind(tmp_path: Path) -> None:
    """Files on disk keep their executable bit, stored blobs need no content, links are kept."""
    script = tmp_path / "run.sh"
    script.write_bytes(b"#!/bin/sh\n")
    script.chmod(0o755)
    built = build({"run.sh": script, "stored": HELLO, "link": Link("stored"), "empty": {}})
    root = reapi.Directory.FromString(built.blobs[built.root])  # type: ignore[arg-type]
    assert [("run.sh", True), ("stored", False)] == [
        (file.name, file.is_executable) for file in root.files
    ]
    assert [("link", "stored")] == [(link.name, link.target) for link in root.symlinks]
    assert ["empty"] == [directory.name for directory in root.directories]
    assert HELLO not in built.blobs
    assert script == built.blobs[hash_file(script)]


def test_a_tree_is_hashed_with_the_function_that_is_asked_for() -> None:
    """Keys of directories and files carry the digest function."""
    built = build({"a": b"1"}, BLAKE3)
    assert {"blake3"} == {key.function for key in built.blobs}


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a//b", "a/./b", "", "a/", "a\0b"])
def test_paths_outside_of_the_root_are_refused(path: str) -> None:
    """DIR-05: a path is relative, without empty or dotted segments and without NUL."""
    with pytest.raises(InvalidArgument, match="not a path inside"):
        build({path: b""})


def test_a_name_is_a_file_or_a_directory() -> None:
    """One name cannot be both, nor stand for two files."""
    with pytest.raises(InvalidArgument, match="is a file in the tree"):
        build({"a": b"", "a/b": b""})
    with pytest.raises(InvalidArgument, match="twice"):
        build({"a/b": b"", "a": {"b": b""}})


def test_a_large_file_is_hashed_in_pieces(tmp_path: Path) -> None:
    """The key of a file is that of its bytes, however many pieces they are read in."""
    data = bytes(range(256)) * 12_345
    (tmp_path / "large").write_bytes(data)
    assert SHA256.key_of(data) == hash_file(tmp_path / "large")
