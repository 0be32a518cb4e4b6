"""Reading input trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.digest import KeyMaker
from remex_core.errors import InvalidArgument, MissingBlobs
from remex_core.proto import reapi
from remex_core.store.contract import LinkFile
from remex_core.worker.directories import DirectoryMemo
from remex_core.worker.inputs import InputReader, InputTree
from worker_support.blobs import Blobs, Executable, Tree

if TYPE_CHECKING:
    from remex_core.digest import Key


@pytest.fixture
def blobs() -> Blobs:
    """An empty CAS."""
    return Blobs()


async def read(blobs: Blobs, root: reapi.Digest, max_entries: int = 1_000_000) -> InputTree:
    """The tree below a root."""
    reader = InputReader(blobs.store, max_entries=max_entries)
    return await reader.tree(blobs.key(root), KeyMaker(blobs.function))


async def refusal(blobs: Blobs, directory: reapi.Directory, max_entries: int = 1_000_000) -> str:
    """Why a tree with this root is refused."""
    with pytest.raises(InvalidArgument) as raised:
        await read(blobs, await blobs.put_message(directory), max_entries)
    return raised.value.message


def file(name: str) -> reapi.FileNode:
    """A file of the empty blob."""
    return reapi.FileNode(name=name, digest=reapi.Digest(hash=Blobs().function.empty_hash))


async def test_whole_tree(blobs: Blobs) -> None:
    """DIR-05, DIR-06, DIR-07: files, empty files, empty directories and symlinks are all there."""
    tree: Tree = {
        "file": b"content",
        "empty": b"",
        "link": "dir/tool",
        "dir": {"tool": Executable(b"tool"), "hollow": {}},
    }
    found = await read(blobs, await blobs.put_tree(tree))
    key = blobs.function.key_of
    assert found.directories == ["dir", "dir/hollow"]
    assert set(found.files) == {
        LinkFile(key(b"content"), "file", executable=False),
        LinkFile(key(b"tool"), "dir/tool", executable=True),
    }
    assert found.empty_files == [("empty", False)]
    assert found.symlinks == [("link", "dir/tool")]


async def test_empty_root_needs_no_upload(blobs: Blobs) -> None:
    """ACT-01: the empty input root is the empty blob, which nobody has to store."""
    assert InputTree() == await read(blobs, await blobs.put_tree({}))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\0b"])
@pytest.mark.parametrize("kind", ["files", "directories", "symlinks"])
async def test_names_are_one_segment(blobs: Blobs, name: str, kind: str) -> None:
    """DIR-01: a name that is not one path segment is refused."""
    directory = reapi.Directory()
    entry = getattr(directory, kind).add(name=name)
    if kind == "symlinks":
        entry.target = "x"
    else:
        entry.digest.hash = blobs.function.empty_hash
    assert "path segment" in await refusal(blobs, directory)


async def test_names_are_unique(blobs: Blobs) -> None:
    """DIR-02: one name for two entries is refused, of whatever kinds they are."""
    twice = reapi.Directory(files=[file("a"), file("a")])
    assert "two entries" in await refusal(blobs, twice)
    across = reapi.Directory(files=[file("a")], symlinks=[{"name": "a", "target": "b"}])
    assert "two entries" in await refusal(blobs, across)


async def test_case_matters(blobs: Blobs) -> None:
    """DIR-03: names that differ in case only are two names."""
    found = await read(blobs, await blobs.put_tree({"Foo": b"1", "foo": b"2"}))
    assert {entry.path for entry in found.files} == {"Foo", "foo"}


async def test_order_does_not_matter(blobs: Blobs) -> None:
    """DIR-04: entries that are not sorted are accepted."""
    root = await blobs.put_message(reapi.Directory(files=[file("b"), file("a")]))
    assert (await read(blobs, root)).empty_files == [("b", False), ("a", False)]


@pytest.mark.parametrize("target", ["../../x", "/etc/passwd", "dangling", "a//b/"])
async def test_symlink_targets_are_kept(blobs: Blobs, target: str) -> None:
    """DIR-07, DIR-09: a target may be absolute, dangle or lead out of the root; it is verbatim."""
    found = await read(blobs, await blobs.put_tree({"link": target}))
    assert found.symlinks == [("link", target)]


@pytest.mark.parametrize("target", ["", "a\0b", "x" * 5000])
async def test_impossible_symlink_targets(blobs: Blobs, target: str) -> None:
    """DIR-08, DIR-11: a target that no system can hold is refused."""
    directory = reapi.Directory(symlinks=[{"name": "link", "target": target}])
    assert "impossible target" in await refusal(blobs, directory)


async def test_node_properties_are_ignored(blobs: Blobs) -> None:
    """DIR-10: properties of nodes, none of which is announced, change nothing."""
    node = file("a")
    node.node_properties.unix_mode.value = 0o4777
    node.node_properties.properties.add(name="colour", value="red")
    root = await blobs.put_message(reapi.Directory(files=[node]))
    assert (await read(blobs, root)).empty_files == [("a", False)]


async def test_long_names(blobs: Blobs) -> None:
    """DIR-11: a name of 255 bytes is the longest; longer ones are refused, counted in bytes."""
    longest = reapi.Directory(files=[file("x" * 255)])
    assert len((await read(blobs, await blobs.put_message(longest))).empty_files) == 1
    assert "255" in await refusal(blobs, reapi.Directory(files=[file("x" * 256)]))
    assert "255" in await refusal(blobs, reapi.Directory(files=[file("é" * 128)]))


async def test_deep_trees(blobs: Blobs) -> None:
    """DIR-11: a tree deeper than a path can name is refused."""
    directory = reapi.Directory()
    for _ in range(20):
        digest = await blobs.put_message(directory)
        directory = reapi.Directory(directories=[{"name": "d" * 250, "digest": digest}])
    assert "longer than" in await refusal(blobs, directory)


async def test_bombs(blobs: Blobs) -> None:
    """DIR-11: a small graph that expands to very many paths is refused by what it expands to."""
    directory = reapi.Directory(files=[file("leaf")])
    for _ in range(40):
        digest = await blobs.put_message(directory)
        directory = reapi.Directory(
            directories=[{"name": name, "digest": digest} for name in ("a", "b")]
        )
    assert "1000 entries" in await refusal(blobs, directory, max_entries=1000)


async def test_garbage_for_a_directory(blobs: Blobs) -> None:
    """EXE-17: a blob that is no Directory is refused, and named."""
    digest = await blobs.put(b"\xff\xff\xff")
    assert digest.hash in await refusal(
        blobs, reapi.Directory(directories=[{"name": "d", "digest": digest}])
    )


async def test_malformed_digest_in_a_tree(blobs: Blobs) -> None:
    """DIG-01: a digest in a Directory is checked as any other."""
    directory = reapi.Directory(files=[{"name": "a", "digest": {"hash": "xyz"}}])
    assert "xyz" in await refusal(blobs, directory)


async def missing(blobs: Blobs, root: reapi.Digest) -> set[Key]:
    """What is reported as missing below a root."""
    with pytest.raises(MissingBlobs) as raised:
        await read(blobs, root)
    return set(raised.value.keys)


async def test_missing_root(blobs: Blobs) -> None:
    """EXE-13: a root that is not in the CAS is missing."""
    key = blobs.function.key_of(b"not stored")
    root = reapi.Digest(hash=key.hash, size_bytes=key.size)
    assert {key} == await missing(blobs, root)


async def test_everything_missing_at_once(blobs: Blobs) -> None:
    """EXE-16: missing directories and missing files elsewhere are reported together."""
    hidden = {"unknowable": b"below a missing directory"}
    root = await blobs.put_tree({"a": hidden, "b": {"file": b"gone", "kept": b"kept"}})
    directory = blobs.function.key_of((await blobs.directory(hidden)).SerializeToString())
    file_key = blobs.function.key_of(b"gone")
    await blobs.store.discard([directory, file_key])
    assert {directory, file_key} == await missing(blobs, root)


async def test_wrong_size_is_missing(blobs: Blobs) -> None:
    """EXE-13, DIG-04: a directory by another size, even zero, is missing and not empty."""
    tree = await blobs.put_tree({"a": b"x"})
    lying = reapi.Digest(hash=tree.hash, size_bytes=0)
    root = await blobs.put_message(reapi.Directory(directories=[{"name": "d", "digest": lying}]))
    assert {blobs.key(lying)} == await missing(blobs, root)


async def test_known_directories_are_not_read_again(blobs: Blobs) -> None:
    """A directory that was parsed lately is taken from memory."""
    memo = DirectoryMemo()
    reader = InputReader(blobs.store, memo=memo)
    root = blobs.key(await blobs.put_tree({"d": {"f": b"x"}}))
    first = await reader.tree(root, KeyMaker(blobs.function))
    await blobs.store.discard([root])
    assert first == await reader.tree(root, KeyMaker(blobs.function))


async def test_the_memo_is_bounded(blobs: Blobs) -> None:
    """DIR-11: what is remembered of trees stays within its capacity."""
    memo = DirectoryMemo(capacity=10)
    reader = InputReader(blobs.store, memo=memo)
    roots = [blobs.key(await blobs.put_tree({f"{n}": b"x", "b": b"y"})) for n in range(8)]
    for root in roots:
        await reader.tree(root, KeyMaker(blobs.function))
    assert 0 < sum(memo.get(root) is not None for root in roots) <= 3


class TestAddDirectories:
    """Directories that outputs need."""

    def tree(self) -> InputTree:
        """A tree with a directory, a file in it and a symlink."""
        key = Blobs().function.key_of(b"x")
        return InputTree(["d"], [LinkFile(key, "d/file", executable=False)], [], [("link", "d")])

    def test_with_their_parents(self) -> None:
        """OUT-01: what is not there yet is added, parents first, and once."""
        tree = self.tree()
        tree.add_directories(["d/a/b", "d/a", "new"])
        assert tree.directories == ["d", "d/a", "d/a/b", "new"]

    @pytest.mark.parametrize("path", ["d/file/below", "link/below"])
    def test_below_something_else(self, path: str) -> None:
        """OUT-01: a directory that would lie below a file or a symlink cannot be made."""
        with pytest.raises(InvalidArgument, match="something else than a directory"):
            self.tree().add_directories([path])

    def test_where_a_file_is(self) -> None:
        """A file at the very place of an output directory is left for the command to replace."""
        tree = self.tree()
        tree.add_directories(["d/file"])
        assert tree.directories == ["d"]
