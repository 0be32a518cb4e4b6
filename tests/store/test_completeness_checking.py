"""The kind `completeness_checking`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from remex_core.digest import BLAKE3, SHA256, DigestFunction, Key, KeyMaker
from remex_core.errors import BlobNotFound, DataLoss, StoreUnavailable
from remex_core.proto import reapi
from remex_core.store import completeness_checking, ops
from remex_core.store.completeness_checking import CompletenessCheckingStore
from remex_core.store.contract import Content, Store
from remex_core.store.memory import MemoryStore, Protect
from remex_core.store.references import MalformedMessageError, of_tree
from remex_core.testing.store_faults import FlakyStore
from remex_core.testing.stores import StoreContract, read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection

    from google.protobuf.message import Message

MIB = 1024 * 1024
ACTION = Key("ac:main", "sha256", "a" * 64, 140)


class Recording(FlakyStore):
    """Notes what was asked for."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(64 * MIB, Protect(hard=0, soft=0)))
        self.asked: list[set[Key]] = []
        self.read_keys: list[Key] = []

    async def find_missing(self, keys: Collection[Key]) -> frozenset[Key]:
        self.asked.append(set(keys))
        return await super().find_missing(keys)

    def read(self, key: Key, *, offset: int = 0, limit: int | None = None) -> AsyncGenerator[bytes]:
        self.read_keys.append(key)
        return super().read(key, offset=offset, limit=limit)


class TestContract(StoreContract):
    content = Content.AC

    @pytest.fixture
    def store(self) -> Store:
        return CompletenessCheckingStore(MemoryStore(64 * MIB), MemoryStore(MIB))


class Site:
    """An action cache with completeness checking, and the CAS beside it."""

    def __init__(self, function: DigestFunction = SHA256) -> None:
        self.function = function
        self.action = ACTION._replace(function=function.name)
        self.cas = Recording()
        self.backend = MemoryStore(64 * MIB)
        self.store = CompletenessCheckingStore(self.backend, self.cas)

    async def put(self, content: bytes | Message) -> reapi.Digest:
        """Stores a blob and answers its digest."""
        data = content if isinstance(content, bytes) else content.SerializeToString()
        key = self.function.key_of(data)
        await ops.write_bytes(self.cas.inner, key, data)
        return digest(key)

    async def cache(self, **fields: object) -> bytes:
        """Caches a result with these fields for the action."""
        value = reapi.ActionResult(**fields).SerializeToString()  # type: ignore[arg-type]
        await ops.write_bytes(self.store, self.action, value)
        return value

    async def get(self) -> bytes | None:
        return await ops.read_or_none(self.store, self.action, max_bytes=MIB)

    async def drop(self, gone: reapi.Digest) -> None:
        await self.cas.inner.discard([self.key(gone)])

    def digest_of(self, message: Message) -> reapi.Digest:
        return digest(self.function.key_of(message.SerializeToString()))

    def key(self, of: reapi.Digest) -> Key:
        return Key("", self.function.name, of.hash, of.size_bytes)


def digest(key: Key) -> reapi.Digest:
    return reapi.Digest(hash=key.hash, size_bytes=key.size)


def absent_digest(name: bytes) -> reapi.Digest:
    return digest(SHA256.key_of(name))


@pytest.fixture
def site() -> Site:
    return Site()


async def nested_tree(site: Site) -> tuple[reapi.OutputDirectory, dict[str, reapi.Digest]]:
    """An output directory of three levels in the form of a Tree, and the digests of its files."""
    files = {name: await site.put(name.encode()) for name in ("top", "middle", "deep")}
    deep = reapi.Directory(files=[reapi.FileNode(name="deep", digest=files["deep"])])
    middle = reapi.Directory(
        files=[reapi.FileNode(name="middle", digest=files["middle"])],
        directories=[
            reapi.DirectoryNode(
                name="d", digest=digest(site.function.key_of(deep.SerializeToString()))
            )
        ],
    )
    root = reapi.Directory(
        files=[reapi.FileNode(name="top", digest=files["top"])],
        directories=[
            reapi.DirectoryNode(
                name="m", digest=digest(site.function.key_of(middle.SerializeToString()))
            )
        ],
    )
    tree = await site.put(reapi.Tree(root=root, children=[middle, deep]))
    return reapi.OutputDirectory(path="out", tree_digest=tree), files | {"tree": tree}


async def nested_directories(
    site: Site,
) -> tuple[reapi.OutputDirectory, dict[str, reapi.Digest]]:
    """An output directory of two levels, directory by directory, and every digest of it."""
    file, deep_file = await site.put(b"file"), await site.put(b"deep file")
    deep = await site.put(reapi.Directory(files=[reapi.FileNode(name="f", digest=deep_file)]))
    root = await site.put(
        reapi.Directory(
            files=[reapi.FileNode(name="f", digest=file)],
            directories=[
                reapi.DirectoryNode(name="d", digest=deep),
                reapi.DirectoryNode(name="same", digest=deep),
                reapi.DirectoryNode(name="empty", digest=digest(SHA256.empty_key)),
            ],
        )
    )
    directory = reapi.OutputDirectory(path="out", root_directory_digest=root)
    return directory, {"file": file, "deep file": deep_file, "deep": deep, "root": root}


class TestCompleteness:
    @pytest.mark.parametrize("function", [SHA256, BLAKE3], ids=["sha256", "blake3"])
    async def test_complete_result_is_answered(self, function: DigestFunction) -> None:
        """AC-02: with every blob in place, the result comes as it was stored."""
        site = Site(function)
        directory, _ = await nested_tree(site)
        value = await site.cache(
            output_files=[reapi.OutputFile(path="f", digest=await site.put(b"f"))],
            stdout_digest=await site.put(b"out"),
            stderr_digest=await site.put(b"err"),
            output_directories=[directory],
        )
        assert value == await site.get()
        assert frozenset() == await site.store.find_missing([site.action])

    @pytest.mark.parametrize("gone", ["file", "stdout", "stderr"])
    async def test_result_without_one_of_its_blobs_is_missing(self, site: Site, gone: str) -> None:
        """AC-02: each output file, stdout and stderr counts; when it is back, so is the result."""
        digests = {name: await site.put(name.encode()) for name in ("file", "stdout", "stderr")}
        value = await site.cache(
            output_files=[reapi.OutputFile(path="f", digest=digests["file"])],
            stdout_digest=digests["stdout"],
            stderr_digest=digests["stderr"],
        )
        await site.drop(digests[gone])
        assert await site.get() is None
        assert frozenset({site.action}) == await site.store.find_missing([site.action])
        await site.put(gone.encode())
        assert value == await site.get()

    @pytest.mark.parametrize("gone", ["top", "middle", "deep", "tree"])
    async def test_tree_without_one_of_its_files_is_incomplete(self, site: Site, gone: str) -> None:
        """AC-02: a file deep inside an output directory counts, before and after it is known."""
        directory, digests = await nested_tree(site)
        await site.cache(output_directories=[directory])
        assert await site.get() is not None
        await site.drop(digests[gone])
        assert await site.get() is None
        fresh = CompletenessCheckingStore(site.backend, site.cas)
        assert await ops.read_or_none(fresh, site.action, max_bytes=MIB) is None

    @pytest.mark.parametrize("gone", ["file", "deep file", "deep", "root"])
    async def test_directories_without_a_part_are_incomplete(self, site: Site, gone: str) -> None:
        """AC-02: below a root directory, each directory and each file counts."""
        directory, digests = await nested_directories(site)
        value = await site.cache(output_directories=[directory])
        assert value == await site.get()
        await site.drop(digests[gone])
        assert await site.get() is None
        fresh = CompletenessCheckingStore(site.backend, site.cas)
        assert await ops.read_or_none(fresh, site.action, max_bytes=MIB) is None

    async def test_both_forms_of_a_directory_count(self, site: Site) -> None:
        """AC-14: a directory that is given as a Tree and as a root needs both."""
        tree, _ = await nested_tree(site)
        root, digests = await nested_directories(site)
        both = reapi.OutputDirectory(
            path="out",
            tree_digest=tree.tree_digest,
            root_directory_digest=root.root_directory_digest,
        )
        await site.cache(output_directories=[both])
        assert await site.get() is not None
        await site.drop(digests["deep"])
        assert await site.get() is None

    async def test_empty_blobs_need_not_be_stored(self, site: Site) -> None:
        """DIG-10: the empty file, the empty Tree and the empty directory are always there."""
        empty = digest(SHA256.empty_key)
        value = await site.cache(
            output_files=[reapi.OutputFile(path="f", digest=empty)],
            output_directories=[
                reapi.OutputDirectory(path="t", tree_digest=empty),
                reapi.OutputDirectory(path="r", root_directory_digest=empty),
            ],
        )
        assert value == await site.get()
        assert [] == site.cas.asked

    @pytest.mark.parametrize(
        "result",
        [
            reapi.ActionResult(output_files=[reapi.OutputFile(path="f")]),
            reapi.ActionResult(output_directories=[reapi.OutputDirectory(path="d")]),
            reapi.ActionResult(stdout_digest=reapi.Digest(hash="A" * 64, size_bytes=1)),
        ],
    )
    async def test_result_with_impossible_digests_is_missing(
        self, site: Site, result: reapi.ActionResult
    ) -> None:
        """AC-18: what refers to nothing that can exist is incomplete."""
        await ops.write_bytes(site.store, site.action, result.SerializeToString())
        assert await site.get() is None

    async def test_value_that_is_no_result_is_missing(self, site: Site) -> None:
        """AC-18: bytes that are no ActionResult are not answered."""
        await ops.write_bytes(site.store, site.action, b"\xff\xff\xff")
        assert await site.get() is None

    async def test_unreachable_cas_is_an_error(self, site: Site) -> None:
        """GEN-14: when nobody can tell, the result is neither answered nor called missing."""
        await site.cache(stdout_digest=await site.put(b"out"))
        site.cas.fail_everything()
        with pytest.raises(StoreUnavailable):
            await site.get()


class TestMalformedTrees:
    async def test_child_outside_the_tree(self, site: Site) -> None:
        """AC-18: a Tree that refers to a Directory which is not in it is incomplete."""
        child = reapi.DirectoryNode(name="d", digest=await site.put(reapi.Directory()))
        other = reapi.DirectoryNode(name="d", digest=absent_digest(b"elsewhere"))
        for node, complete in ((child, False), (other, False)):
            tree = await site.put(reapi.Tree(root=reapi.Directory(directories=[node])))
            await site.cache(output_directories=[reapi.OutputDirectory(path="o", tree_digest=tree)])
            assert complete == (await site.get() is not None)

    @pytest.mark.parametrize(
        "value",
        [
            b"\x0a",
            b"\x0a\x05abc",
            b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
            b"\x0a\x00\x0a\x00",
            b"\x0b",
            b"\x1d\x00",
            b"\x09\x00\x00",
            b"\x0a\x02\x0a\x05",
        ],
        ids=["cut", "short", "endless", "two roots", "group", "cut32", "cut64", "bad root"],
    )
    async def test_bytes_that_are_no_tree(self, site: Site, value: bytes) -> None:
        """AC-18: a Tree that cannot be parsed makes the result incomplete, again and again."""
        tree = await site.put(value)
        await site.cache(output_directories=[reapi.OutputDirectory(path="o", tree_digest=tree)])
        assert await site.get() is None
        assert await site.get() is None
        assert [site.key(tree)] == site.cas.read_keys

    def test_unknown_fields_do_not_matter(self) -> None:
        """GEN-11: fields that a newer client added to a Tree are passed over."""
        root = reapi.Directory(files=[reapi.FileNode(name="f", digest=absent_digest(b"f"))])
        tree = reapi.Tree(root=root).SerializeToString()
        extra = b"\x18\x96\x01" + b"\x21" + bytes(8) + b"\x2d" + bytes(4) + b"\x32\x01x"
        assert (SHA256.key_of(b"f"),) == of_tree(KeyMaker(SHA256), tree + extra)

    def test_directories_are_hashed_as_they_stand(self) -> None:
        """DIG-16: a child is known by its bytes in the Tree, canonical or not."""
        child = reapi.Directory().SerializeToString() + b"\x18\x01"  # an unknown field
        node = reapi.DirectoryNode(name="d", digest=digest(SHA256.key_of(child)))
        root = reapi.Directory(directories=[node]).SerializeToString()
        tree = b"\x0a" + bytes([len(root)]) + root + b"\x12" + bytes([len(child)]) + child
        assert () == of_tree(KeyMaker(SHA256), tree)

    def test_directory_with_impossible_digests(self) -> None:
        """AC-18: a file without a digest makes its Tree malformed."""
        tree = reapi.Tree(root=reapi.Directory(files=[reapi.FileNode(name="f")]))
        with pytest.raises(MalformedMessageError):
            of_tree(KeyMaker(SHA256), tree.SerializeToString())


class TestCost:
    async def test_everything_is_touched_in_one_call(self, site: Site) -> None:
        """AC-03: a look-up extends the lifetime of all that it refers to, at one call's cost."""
        directory, digests = await nested_tree(site)
        file = await site.put(b"file")
        await site.cache(
            output_files=[reapi.OutputFile(path="f", digest=file)], output_directories=[directory]
        )
        await site.get()
        expected = {site.key(each) for each in (file, *digests.values())}
        assert [expected] == site.cas.asked

    async def test_trees_are_read_once(self, site: Site) -> None:
        """What a Tree or a Directory refers to never changes, so it is read once."""
        tree, digests = await nested_tree(site)
        root, more = await nested_directories(site)
        await site.cache(output_directories=[tree, root])
        for _ in range(3):
            await site.get()
        expected = {digests["tree"].hash, more["root"].hash, more["deep"].hash}
        assert sorted(expected) == sorted(key.hash for key in site.cas.read_keys)

    async def test_tree_and_directory_are_not_mistaken(self, site: Site) -> None:
        """The same bytes can be read as a Tree and as a Directory, and mean different things."""
        blob = await site.put(reapi.Tree(root=reapi.Directory()))
        tree = reapi.OutputDirectory(path="o", tree_digest=blob)
        await site.cache(output_directories=[tree])
        assert await site.get() is not None
        root = reapi.OutputDirectory(path="o", root_directory_digest=blob)
        await site.cache(output_directories=[root])
        assert await site.get() is None

    async def test_memory_is_bounded(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """No more keys are remembered than allowed, and forgetting costs only another read."""
        monkeypatch.setattr(completeness_checking, "REMEMBERED_KEYS", 4)
        for number in range(5):
            file = await site.put(b"%d" % number)
            root = reapi.Directory(files=[reapi.FileNode(name="f", digest=file)] * (number + 1))
            tree = await site.put(reapi.Tree(root=root))
            output = reapi.OutputDirectory(path="o", tree_digest=tree)
            await site.cache(output_directories=[output])
            assert await site.get() is not None
            assert site.store._trees._known_keys <= 4

    async def test_tree_that_is_too_large_is_not_read(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A Tree beyond all reason makes its result incomplete and is left where it is."""
        monkeypatch.setattr(completeness_checking, "MAX_TREE_BYTES", 4_000_001)
        tree = await site.put(bytes(4_000_002))
        await site.cache(output_directories=[reapi.OutputDirectory(path="o", tree_digest=tree)])
        assert await site.get() is None
        assert [] == site.cas.read_keys

    async def test_large_tree_is_read_whole(self, site: Site) -> None:
        """A Tree that fits into no batch is read by itself."""
        file = await site.put(b"f")
        files = [reapi.FileNode(name=f"{n:05}" + "x" * 900, digest=file) for n in range(4500)]
        tree = await site.put(reapi.Tree(root=reapi.Directory(files=files)))
        assert tree.size_bytes > 4_000_000
        value = await site.cache(
            output_directories=[reapi.OutputDirectory(path="o", tree_digest=tree)]
        )
        assert value == await site.get()


class Damaged(Recording):
    """Finds its blobs wrong when they are read."""

    async def read(
        self, key: Key, *, offset: int = 0, limit: int | None = None
    ) -> AsyncGenerator[bytes]:
        if not await ops.is_present(self.inner, key):
            raise BlobNotFound(key)
        yield b"?"
        raise DataLoss("These are other bytes.")


@pytest.mark.parametrize("padding", [0, 4_500_000], ids=["small", "large"])
async def test_damaged_tree_is_dropped(padding: int) -> None:
    """GEN-14: a Tree that turns out to be wrong counts as missing, and can be uploaded anew."""
    site = Site()
    site.cas = Damaged()
    site.store = CompletenessCheckingStore(site.backend, site.cas)
    root = reapi.Directory(symlinks=[reapi.SymlinkNode(name="l", target="x" * padding)])
    tree = await site.put(reapi.Tree(root=root))
    await site.cache(output_directories=[reapi.OutputDirectory(path="o", tree_digest=tree)])
    assert await site.get() is None
    assert not await ops.is_present(site.cas.inner, site.key(tree))


async def test_range_of_a_result() -> None:
    """BSR-05: a part of a result is a part of its bytes."""
    site = Site()
    value = await site.cache(stdout_raw=b"0123456789")
    assert value[3:7] == await read(site.store, site.action, offset=3, limit=4)
