"""Names in the directory, and what cannot be opened."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from remex_core.plugin import ConfigError, Key
from remex_fs.layout import LAYOUT_LINE, Layout, encoded, open_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from remex_fs.store import FilesystemStore

HASH = "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7"


def test_value_lies_where_its_key_says(root: Path) -> None:
    """A CAS value's path follows from function, hash and size."""
    layout = Layout(root)
    key = Key("", "sha256", HASH, 5)
    assert f"{root}/cas/sha256/3a/{HASH}-5" == layout.blob(key)
    assert f"{root}/cas/sha256/3a/{HASH}-5.x" == layout.executable(key)


def test_spaces_lie_apart(root: Path) -> None:
    """INS-07: values of other key spaces lie below the encoded name of theirs."""
    key = Key("ac:main", "blake3", HASH, 142)
    assert f"{root}/spaces/ac%3amain/blake3/3a/{HASH}-142" == Layout(root).blob(key)


@pytest.mark.parametrize(
    ("space", "name"),
    [
        ("ac:", "ac%3a"),
        ("ac:Main", "ac%3a%4dain"),
        ("ac:a/b", "ac%3aa%2fb"),
        ("ac:..", "ac%3a.."),
        ("..", "%2e."),
        (".", "%2e"),
        ("http:\N{SNOWMAN}", "http%3a%e2%98%83"),
        ("ac:x%3a", "ac%3ax%253a"),
    ],
)
def test_spaces_are_plain_names(space: str, name: str) -> None:
    """Whatever an instance is called, its space is one file name that says nothing else."""
    assert name == encoded(space)


def test_long_spaces_have_short_names() -> None:
    """A name that no filesystem would take is replaced by its hash, and stays distinct."""
    names = {encoded("ac:" + "x" * length) for length in (300, 301)}
    assert 2 == len(names)
    assert {8 + 64} == {len(name) for name in names}


def test_many_spaces_are_forgotten_not_confused(root: Path) -> None:
    """Instance names without end need no memory without end."""
    layout = Layout(root)
    paths = {layout.blob(Key(f"ac:{n}", "sha256", HASH, 1)) for n in range(10_000)}
    assert 10_000 == len(paths)
    assert layout.blob(Key("ac:0", "sha256", HASH, 1)) in paths


def test_new_directory_gets_a_version(root: Path) -> None:
    """The first to open a directory says how it is laid out."""
    open_layout(root, "stores.cas")
    assert LAYOUT_LINE == (root / "LAYOUT").read_text()


def test_directory_opens_again(root: Path) -> None:
    """What was opened once can be opened again, beside stray files."""
    open_layout(root, "stores.cas")
    (root / "stray").write_text("stray")
    open_layout(root, "stores.cas")


def test_unknown_layout_is_refused(root: Path) -> None:
    """A directory of another layout is left alone, with a message that names it."""
    root.mkdir()
    (root / "LAYOUT").write_text("remex filesystem store, layout 2\n")
    with pytest.raises(ConfigError, match=r"stores\.cas: .*layout 2.*reads only.*layout 1") as told:
        open_layout(root, "stores.cas")
    assert "remex-fs" in told.value.hint
    assert ["LAYOUT"] == os.listdir(root)


def test_absent_parent_is_refused(
    tmp_path: Path, open_store: Callable[[Path], FilesystemStore]
) -> None:
    """A volume that is not mounted is not replaced by a directory on another disk."""
    with pytest.raises(ConfigError, match="does not exist") as told:
        open_store(tmp_path / "volume" / "store")
    assert "mkdir -p" in told.value.hint
    assert not (tmp_path / "volume").exists()


def test_file_in_the_way_is_refused(
    root: Path, open_store: Callable[[Path], FilesystemStore]
) -> None:
    """A path that is a file is a configuration error."""
    root.write_text("file")
    with pytest.raises(ConfigError, match="cannot use"):
        open_store(root)


def test_directory_of_another_user_is_refused(
    root: Path, open_store: Callable[[Path], FilesystemStore]
) -> None:
    """A directory that this user cannot write to is told at start, not at the first write."""
    open_layout(root, "stores.cas")
    (root / "tmp").chmod(0o555)
    with as_nobody(), pytest.raises(ConfigError, match="Permission denied") as told:
        open_store(root)
    assert "own the directory" in told.value.hint


@contextmanager
def as_nobody() -> Iterator[None]:
    """Runs the block without the rights of root, should the tests have them."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
