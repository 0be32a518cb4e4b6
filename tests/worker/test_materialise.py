"""Making input trees on disk, by links and by copies, and taking outputs over."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from remex_core.digest import SHA256, KeyMaker
from remex_core.errors import MissingBlobs, StoreFull
from remex_core.store import ops
from remex_core.store.memory import MemoryStore
from remex_core.testing.directory_store import DirectoryStore
from remex_core.worker.inputs import InputReader
from remex_core.worker.materialise import materialise
from remex_core.worker.output_content import SourceFile
from remex_core.worker.upload import upload
from worker_support.blobs import Blobs, Executable, Tree

if TYPE_CHECKING:
    from pathlib import Path

    from remex_core.digest import Key
    from remex_core.store.contract import LinkPlan

BIG = bytes(range(256)) * 20_000
"""Larger than one batched read."""

TREE: Tree = {
    "file": b"content",
    "same": b"content",
    "tool": Executable(b"content"),
    "empty": b"",
    "empty-tool": Executable(b""),
    "big": BIG,
    "dir": {"big-too": Executable(BIG), "link": "../file", "hollow": {}, "gone": "/no/where"},
}


@pytest.fixture(params=["links", "copies"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    """A CAS that has local files, and one that has none."""
    if request.param == "links":
        return Blobs(DirectoryStore(tmp_path / "store"))
    return Blobs(MemoryStore(64 * 1024 * 1024))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty input root."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


async def make(blobs: Blobs, root: Path, tree: Tree) -> LinkPlan | None:
    """Makes a tree that is in the CAS."""
    digest = await blobs.put_tree(tree)
    found = await InputReader(blobs.store).tree(blobs.key(digest), KeyMaker(SHA256))
    return await materialise(blobs.store, root, found)


def snapshot(directory: Path) -> Tree:
    """What is in a directory; whoever made it left no other modes than those of inputs."""
    tree: dict[str, bytes | str | Tree | Executable] = {}
    for path in directory.iterdir():
        if path.is_symlink():
            tree[path.name] = str(path.readlink())
        elif path.is_dir():
            tree[path.name] = snapshot(path)
        else:
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode in {0o444, 0o555}
            content = path.read_bytes()
            tree[path.name] = Executable(content) if mode == 0o555 else content
    return tree


async def test_whole_tree(blobs: Blobs, root: Path) -> None:
    """DIR-05, DIR-06, DIR-07: all content, modes, links and empty directories are there."""
    await make(blobs, root, TREE)
    assert TREE == snapshot(root)


async def test_everything_missing_at_once(blobs: Blobs, root: Path) -> None:
    """EXE-16: all files that are not in the CAS are named, small and large ones."""
    digest = await blobs.put_tree({**TREE, "more": b"more"})
    found = await InputReader(blobs.store).tree(blobs.key(digest), KeyMaker(SHA256))
    gone = {SHA256.key_of(BIG), SHA256.key_of(b"more")}
    await blobs.store.discard(gone)
    with pytest.raises(MissingBlobs) as raised:
        await materialise(blobs.store, root, found)
    assert gone == set(raised.value.keys)


async def test_links_are_links(tmp_path: Path, root: Path) -> None:
    """DIR-05: with local files nothing is copied, and a change through a link is noticed."""
    store = DirectoryStore(tmp_path / "store")
    plan = await make(Blobs(store), root, {"a": b"content", "b": b"content"})
    assert (root / "a").stat().st_ino == (root / "b").stat().st_ino
    assert plan is not None
    assert store.verify_links(plan) == frozenset()
    (root / "a").chmod(0o644)
    (root / "a").write_bytes(b"tampered with")
    assert store.verify_links(plan) == {SHA256.key_of(b"content")}


async def test_copies_are_nobody_elses(root: Path) -> None:
    """DIR-05: without local files every file is its own, and there is no plan to verify."""
    assert await make(Blobs(), root, {"a": b"content", "b": b"content"}) is None
    assert (root / "a").stat().st_ino != (root / "b").stat().st_ino


class HalfLocal(DirectoryStore):
    """A local store that finds one value too late to link it."""

    def __init__(self, directory: Path, late: bytes) -> None:
        super().__init__(directory)
        self._late = SHA256.key_of(late)

    async def link_into(self, plan: LinkPlan) -> frozenset[Key]:
        files = [file for file in plan.files if file.key != self._late]
        return await super().link_into(replace(plan, files=files)) | {self._late}


async def test_what_cannot_be_linked_is_read(tmp_path: Path, root: Path) -> None:
    """A value that the local files lack but the store can read is copied, and not verified."""
    blobs = Blobs(HalfLocal(tmp_path / "store", b"late"))
    plan = await make(blobs, root, {"a": b"content", "b": b"late"})
    assert snapshot(root) == {"a": b"content", "b": b"late"}
    assert plan is not None
    assert [file.path for file in plan.files] == ["a"]


class TestUpload:
    """Bringing outputs into the store."""

    async def test_adopts_what_is_its_own(self, tmp_path: Path) -> None:
        """A store with local files takes a large file over, and copies what it may not take."""
        store = DirectoryStore(tmp_path / "store")
        contents = {"own": b"own" * 100_000, "linked": b"linked" * 100_000}
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        os.link(tmp_path / "linked", tmp_path / "again")
        inode = (tmp_path / "own").stat().st_ino
        files = {
            SHA256.key_of(content): SourceFile(str(tmp_path / name), own=name == "own")
            for name, content in contents.items()
        }
        await upload(store, files, {})
        assert await store.find_missing(files) == frozenset()
        assert not (tmp_path / "own").exists()
        assert inode in {path.stat().st_ino for path in (tmp_path / "store" / "blobs").iterdir()}
        assert (tmp_path / "linked").stat().st_nlink == 2

    @pytest.mark.parametrize("size", [10, 300_000])
    async def test_first_error(self, tmp_path: Path, size: int) -> None:
        """A store that takes nothing is heard with its own error, for small and large files."""
        files = {}
        for number in range(9):
            path = tmp_path / str(number)
            path.write_bytes(bytes([number]) * size)
            files[SHA256.key_of(path.read_bytes())] = SourceFile(str(path), own=True)
        with pytest.raises(StoreFull):
            await upload(MemoryStore(1), files, {})

    async def test_small_and_large(self, blobs: Blobs, tmp_path: Path) -> None:
        """OUT-07: files of every size and made-up blobs are there afterwards."""
        contents = {name: os.urandom(size) for name, size in (("s", 10), ("m", 300_000))}
        contents["l"] = BIG
        files = {}
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
            files[SHA256.key_of(content)] = SourceFile(str(tmp_path / name), own=True)
        made = {SHA256.key_of(b"made"): b"made"}
        await upload(blobs.store, files, made)
        for content in (*contents.values(), b"made"):
            key = SHA256.key_of(content)
            assert content == await ops.read_all(blobs.store, key, max_bytes=2**30)

    async def test_only_what_is_missing(self, tmp_path: Path) -> None:
        """What the store has already is neither read nor sent."""
        blobs = Blobs()
        await blobs.put(b"present")
        files = {SHA256.key_of(b"present"): SourceFile(str(tmp_path / "unread"), own=True)}
        await upload(blobs.store, files, {})
