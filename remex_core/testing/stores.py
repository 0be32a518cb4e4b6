"""The store contract as a test suite: subclass it, give one fixture, and every promise is tested.

A plugin's test module is::

    class TestMyStore(StoreContract):
        capabilities = frozenset({BatchIO})

        @pytest.fixture
        async def store(self, tmp_path):
            return MyStore(tmp_path)

It needs `asyncio_mode = "auto"` of pytest-asyncio. The same assertions run through the primitives
and through `BatchIO` where `capabilities` names it. Stores that offer `LocalFiles` subclass
`LocalFilesContract` instead.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from remex_core.digest import BLAKE3, SHA256, Key
from remex_core.errors import BlobNotFound, RemexError
from remex_core.proto import reapi
from remex_core.store import ops
from remex_core.store.contract import BatchIO, Content, LinkFile, LinkPlan, LocalFiles
from remex_core.testing.store_machine import StoreMachine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from remex_core.store.contract import Capability, Store

T = TypeVar("T")

MIB: Final = 1024 * 1024
_SPACES: Final = {Content.CAS: "", Content.AC: "ac:main", Content.OPAQUE: "http:main"}
_seeds = itertools.count()


class Sample(NamedTuple):
    """A key and a value that belongs under it."""

    key: Key
    value: bytes


class Through:
    """One of the ways into a store, so that the same assertions can be made of each."""

    def __init__(self, way: str) -> None:
        self.way = way

    async def write(self, store: Store, key: Key, value: bytes) -> None:
        """Stores a value, or raises what kept the store from it."""
        if self.way == "primitives":
            await store.write(key, in_chunks(value))
            return
        errors = await _batch(store).write_batch([(key, value)])
        if key in errors:
            raise errors[key]

    async def read(self, store: Store, key: Key) -> bytes:
        """A whole value, or raises what kept the store from it."""
        if self.way == "primitives":
            return await read(store, key)
        found = (await _batch(store).read_batch([key], 64 * MIB))[key]
        if isinstance(found, RemexError):
            raise found
        return found


class StoreContract:
    """Every promise of `store.contract.Store`, for one kind of content.

    A subclass has a fixture `store`: a new, empty store for each test, with room for 32 MiB.
    `content` is what the store is asked to hold; `capabilities` are all that it offers. A store
    in front of a system that has no way to remove a value sets `discards` to False; its discard
    must then be without effect. The empty blob may be present in a CAS from the start (DIG-10).
    """

    content: ClassVar[Content] = Content.CAS
    capabilities: ClassVar[frozenset[type[Capability]]] = frozenset()
    discards: ClassVar[bool] = True

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Runs a test that takes `through` once for each way into the store."""
        if "through" in metafunc.fixturenames:
            ways = ["primitives", "batch"] if BatchIO in self.capabilities else ["primitives"]
            metafunc.parametrize("through", [Through(way) for way in ways], ids=ways)

    # ---- samples

    def sample(self, size: int) -> Sample:
        """A value of about `size` bytes that no other sample has, and its key."""
        value = self.value(size)
        if self.content is Content.CAS:
            return Sample(SHA256.key_of(value), value)
        named = SHA256.key_of(next(_seeds).to_bytes(8, "big"), _SPACES[self.content])
        return Sample(named, value)

    def value(self, size: int) -> bytes:
        """New content of about `size` bytes; for an AC it is an ActionResult."""
        data = random.Random(next(_seeds)).randbytes(size)  # noqa: S311 - content, not a secret
        if self.content is Content.AC:
            return reapi.ActionResult(stdout_raw=data).SerializeToString()
        return data

    # ---- what is not there

    async def test_absent_value_is_missing(self, store: Store) -> None:
        """CAS-01: what was never written is missing."""
        key = self.sample(10).key
        assert frozenset({key}) == await store.find_missing([key])

    async def test_absent_value_cannot_be_read(self, store: Store, through: Through) -> None:
        """BSR-02: reading what is not there fails with BlobNotFound."""
        key = self.sample(10).key
        with pytest.raises(BlobNotFound):
            await through.read(store, key)

    async def test_nothing_is_missing_of_nothing(self, store: Store) -> None:
        """CAS-02: no keys, none missing."""
        assert frozenset() == await store.find_missing([])

    async def test_exactly_the_absent_keys_are_missing(
        self, store: Store, through: Through
    ) -> None:
        """CAS-01, CAS-07: out of many keys, the absent ones and no other are missing."""
        present = [self.sample(20) for _ in range(40)]
        count = 2000 if self.content is Content.CAS else 200
        absent = [self.sample(20).key for _ in range(count)]
        for key, value in present:
            await through.write(store, key, value)
        asked = [*absent[:100], *(sample.key for sample in present), *absent[100:]]
        assert frozenset(absent) == await store.find_missing(asked)

    async def test_repeated_keys_are_missing_once(self, store: Store) -> None:
        """CAS-03: asking twice about one key is asking once."""
        key = self.sample(10).key
        assert frozenset({key}) == await store.find_missing([key, key])

    # ---- there and back

    @pytest.mark.parametrize("size", [0, 1, 4096, MIB, MIB + 1, 3 * MIB + 17])
    async def test_value_comes_back(self, store: Store, through: Through, size: int) -> None:
        """What was written is present and reads as the same bytes."""
        key, value = self.sample(size)
        await through.write(store, key, value)
        assert frozenset() == await store.find_missing([key])
        assert value == await through.read(store, key)

    async def test_what_a_batch_writes_the_primitives_read(
        self, store: Store, through: Through
    ) -> None:
        """All ways into a store lead to the same values."""
        key, value = self.sample(5000)
        await through.write(store, key, value)
        assert value == await read(store, key)

    async def test_pieces_are_bytes_of_at_most_one_mebibyte(self, store: Store) -> None:
        """GEN-05: a read never gives a piece above 1 MiB, however the value was written."""
        key, value = self.sample(5 * MIB)
        await store.write(key, in_chunks(value, 5 * MIB))
        async with aclosing(store.read(key)) as pieces:
            seen = [piece async for piece in pieces]
        assert {bytes} == {type(piece) for piece in seen}
        assert max(map(len, seen)) <= MIB
        assert value == b"".join(seen)

    @pytest.mark.parametrize("chunk", [1, 7, 1000])
    async def test_chunks_may_have_any_size(self, store: Store, chunk: int) -> None:
        """The pieces of a write are joined, whatever their sizes."""
        key, value = self.sample(2000)
        await store.write(key, in_chunks(value, chunk))
        assert value == await read(store, key)

    async def test_empty_chunks_do_not_count(self, store: Store) -> None:
        """BSW-19: an empty piece in the middle of a write changes nothing."""
        key, value = self.sample(100)

        async def chunks() -> AsyncIterator[bytes]:
            for piece in (b"", value[:50], b"", value[50:], b""):
                yield piece

        await store.write(key, chunks())
        assert value == await read(store, key)

    @pytest.mark.parametrize(
        ("offset", "limit"),
        [
            (0, 1),
            (0, MIB),
            (1, None),
            (1, MIB),
            (MIB - 1, 2),
            (MIB, MIB),
            (MIB, MIB + 1),
            (2 * MIB + 3, 1),
            (2 * MIB + 3, None),
            (2 * MIB + 3, 64 * MIB),
            (0, None),
        ],
    )
    async def test_ranges_are_exact(self, store: Store, offset: int, limit: int | None) -> None:
        """BSR-04, BSR-05: a range is the bytes from `offset`, `limit` of them or to the end."""
        key, value = self.sample(2 * MIB + 7)
        await store.write(key, in_chunks(value, 700_001))
        expected = value[offset:] if limit is None else value[offset : offset + limit]
        assert expected == await read(store, key, offset=offset, limit=limit)

    @pytest.mark.parametrize("size", [0, 100, 2 * MIB])
    async def test_range_from_the_end_is_empty(self, store: Store, size: int) -> None:
        """BSR-03: an offset at the very end gives no bytes and no error."""
        key, value = self.sample(size)
        await store.write(key, in_chunks(value))
        assert b"" == await read(store, key, offset=len(value))

    async def test_reader_may_stop_early(self, store: Store) -> None:
        """BSR-14: closing a read in the middle harms neither the value nor the store."""
        key, value = self.sample(3 * MIB)
        await store.write(key, in_chunks(value))
        async with aclosing(store.read(key)) as pieces:
            first = await anext(pieces)
        assert value.startswith(first)
        assert value == await read(store, key)

    async def test_reader_that_never_starts_costs_nothing(self, store: Store) -> None:
        """A read that is closed before its first step does nothing."""
        await store.read(self.sample(10).key).aclose()

    async def test_many_readers_at_once(self, store: Store) -> None:
        """Concurrent readers of one value each get all of it."""
        key, value = self.sample(MIB + 5)
        await store.write(key, in_chunks(value))
        assert [value] * 8 == await asyncio.gather(*(read(store, key) for _ in range(8)))

    # ---- keys

    async def test_another_size_is_another_key(self, store: Store, through: Through) -> None:
        """DIG-02, AC-04: the right hash with a wrong size is missing and cannot be read."""
        key, value = self.sample(100)
        await through.write(store, key, value)
        for size in (key.size + 1, key.size - 1, 0):
            other = key._replace(size=size)
            assert frozenset({other}) == await store.find_missing([other])
            with pytest.raises(BlobNotFound):
                await through.read(store, other)
        assert value == await through.read(store, key)

    async def test_another_namesake_is_another_key(self, store: Store) -> None:
        """INS-07: the same hex digits of another function or instance name something else."""
        key, value = self.sample(100)
        await store.write(key, in_chunks(value))
        others = {key._replace(function=BLAKE3.name)}
        if self.content is not Content.CAS:  # which has one space for all instances
            others.add(key._replace(space=f"{key.space}/other"))
        assert others == await store.find_missing([key, *others])

    async def test_every_digest_function_is_kept(self, store: Store) -> None:
        """Values under keys of any digest function come back."""
        value = self.value(1000)
        key = BLAKE3.key_of(value, _SPACES[self.content])
        await store.write(key, in_chunks(value))
        assert value == await read(store, key)

    # ---- writing again

    async def test_writing_again(self, store: Store, through: Through) -> None:
        """CAS-18, AC-16: a present blob stays; an AC or opaque value is replaced."""
        key, value = self.sample(3000)
        await through.write(store, key, value)
        again = value if self.content is Content.CAS else self.value(2000)
        await through.write(store, key, again)
        assert again == await through.read(store, key)

    async def test_concurrent_writes_of_one_key(self, store: Store) -> None:
        """BSW-14, AC-16: all of them succeed, and one whole value is left."""
        key, value = self.sample(MIB + 100)
        values = [value] * 6
        if self.content is not Content.CAS:
            values += [self.value(MIB + 100) for _ in range(3)]
        await asyncio.gather(*(store.write(key, in_chunks(each)) for each in values))
        assert await read(store, key) in values

    async def test_reader_sees_one_value(self, store: Store) -> None:
        """AC-16: a reader that began before a replacement never gets parts of both values."""
        key, value = self.sample(2 * MIB)
        again = value if self.content is Content.CAS else self.value(2 * MIB)
        await store.write(key, in_chunks(value))
        async with aclosing(store.read(key)) as pieces:
            seen = [await anext(pieces)]
            await store.write(key, in_chunks(again))
            seen += [piece async for piece in pieces]
        assert b"".join(seen) in (value, again)

    # ---- writes that do not finish

    async def test_cancelled_write_leaves_nothing(self, store: Store) -> None:
        """GEN-15, BSW-22: a value is invisible while it is written, and after a cancel."""
        key, value = self.sample(2 * MIB)
        paused = asyncio.Event()

        async def chunks() -> AsyncIterator[bytes]:
            yield value[:MIB]
            paused.set()
            await asyncio.Event().wait()

        writing = asyncio.create_task(store.write(key, chunks()))
        await paused.wait()
        assert frozenset({key}) == await store.find_missing([key])
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert frozenset({key}) == await store.find_missing([key])
        with pytest.raises(BlobNotFound):
            await read(store, key)
        await store.write(key, in_chunks(value))
        assert value == await read(store, key)

    @pytest.mark.parametrize("before", [0, 1, MIB + 1])
    async def test_failing_chunks_leave_nothing(self, store: Store, before: int) -> None:
        """BSW-07: a write whose source fails raises that very error and stores nothing."""
        key, value = self.sample(2 * MIB)
        with pytest.raises(_SourceFailedError):
            await store.write(key, _failing(value[:before]))
        assert frozenset({key}) == await store.find_missing([key])
        with pytest.raises(BlobNotFound):
            await read(store, key)

    async def test_failed_write_keeps_the_old_value(self, store: Store) -> None:
        """AC-16: a replacement that fails leaves the value that was there."""
        key, value = self.sample(1000)
        await store.write(key, in_chunks(value))
        if self.content is not Content.CAS:
            with pytest.raises(_SourceFailedError):
                await store.write(key, _failing(self.value(900)))
        assert value == await read(store, key)

    # ---- discarding

    async def test_discarded_value_is_missing(self, store: Store, through: Through) -> None:
        """CAS-08: after a discard a value is missing and unreadable, and can be written anew."""
        key, value = self.sample(500)
        kept = self.sample(500)
        await through.write(store, key, value)
        await through.write(store, *kept)
        await store.discard([key])
        if self.discards:
            assert frozenset({key}) == await store.find_missing([key, kept.key])
            with pytest.raises(BlobNotFound):
                await through.read(store, key)
        else:
            assert frozenset() == await store.find_missing([key, kept.key])
        await through.write(store, key, value)
        assert value == await through.read(store, key)

    async def test_discarding_what_is_absent(self, store: Store) -> None:
        """A discard of absent keys, or of none, is no error."""
        await store.discard([self.sample(5).key])
        await store.discard([])

    # ---- capabilities

    @pytest.mark.parametrize("wanted", [BatchIO, LocalFiles])
    async def test_capabilities_are_as_declared(
        self, store: Store, wanted: type[Capability]
    ) -> None:
        """A store offers the capabilities that it declares, and no other."""
        assert (wanted in self.capabilities) == (ops.capability(store, wanted) is not None)

    async def test_batches_answer_for_each_key(self, store: Store) -> None:
        """CAS-11, CAS-18: one absent or repeated key does not disturb the others of its batch."""
        samples = [self.sample(size) for size in (0, 1, 100, 5000)]
        absent = self.sample(10).key
        assert {} == await ops.write_many(store, [*samples, samples[1]])
        keys = [sample.key for sample in samples]
        found = await ops.read_many(store, [*keys, absent, keys[0]], max_bytes=MIB)
        assert isinstance(found[absent], BlobNotFound)
        assert dict(samples) == {key: found[key] for key in keys}

    async def test_empty_batches(self, store: Store) -> None:
        """CAS-19: nothing to write or read is no error."""
        assert {} == await ops.write_many(store, [])
        assert {} == await ops.read_many(store, [], max_bytes=MIB)

    # ---- any history

    @pytest.fixture
    async def run(self) -> Callable[[Coroutine[Any, Any, T]], T]:
        """Runs one coroutine at a time in the loop that the store lives in."""
        return asyncio.get_running_loop().run_until_complete

    def test_any_history_agrees_with_a_dict(
        self, store: Store, run: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        """Whatever is done in whatever order, the store holds what a dict would."""
        run_state_machine_as_test(
            lambda: StoreMachine(store, run, self),  # type: ignore[arg-type] # a factory will do
            settings=settings(
                max_examples=20,
                stateful_step_count=15,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )


class LocalFilesContract(StoreContract):
    """What a store with `LocalFiles` promises beyond `StoreContract`; CAS content."""

    @pytest.fixture
    def root(self, store: Store) -> Path:
        """An empty directory where links to the store's files can be made."""
        root = _local(store).work_root / "root"
        root.mkdir(parents=True)
        return root

    async def test_plan_is_made(self, store: Store, root: Path) -> None:
        """Directories, files and both modes of a plan appear; the same blob may occur often."""
        samples = [self.sample(size) for size in (0, 10, MIB + 1)]
        for sample in samples:
            await store.write(sample.key, in_chunks(sample.value))
        files = [
            LinkFile(key, f"{place}{n}", executable)
            for n, (key, _) in enumerate(samples)
            for place, executable in (("plain", False), ("a/tool", True), ("a/b/again", False))
        ]
        plan = LinkPlan(root, ["a", "a/b", "empty"], files)
        assert frozenset() == await _local(store).link_into(plan)
        values = dict(samples)
        assert {
            file.path: (values[file.key], 0o555 if file.executable else 0o444) for file in files
        } == files_below(root)
        assert [] == list((root / "empty").iterdir())

    async def test_absent_blobs_are_named_and_the_rest_is_made(
        self, store: Store, root: Path
    ) -> None:
        """EXE-13: what is not here is answered; a second run makes just what was absent."""
        present, absent = self.sample(100), self.sample(200)
        await store.write(present.key, in_chunks(present.value))
        wrong_size = present.key._replace(size=99)
        files = [
            LinkFile(absent.key, "d/absent", False),
            LinkFile(wrong_size, "d/wrong", False),
            LinkFile(present.key, "d/present", False),
        ]
        plan = LinkPlan(root, ["d"], files)
        assert {absent.key, wrong_size} == await _local(store).link_into(plan)
        assert ["present"] == [path.name for path in (root / "d").iterdir()]
        await store.write(absent.key, in_chunks(absent.value))
        assert {wrong_size} == await _local(store).link_into(plan)
        assert absent.value == (root / "d/absent").read_bytes()
        assert present.value == (root / "d/present").read_bytes()

    @pytest.mark.parametrize("size", [0, 1, 2 * MIB])
    async def test_finished_file_is_adopted(self, store: Store, root: Path, size: int) -> None:
        """A file that was handed over is a value like any other."""
        key, value = self.sample(size)
        path = root / "output"
        path.write_bytes(value)
        await _local(store).adopt(key, path)
        assert frozenset() == await store.find_missing([key])
        assert value == await read(store, key)

    async def test_adopted_executable_links_in_both_modes(self, store: Store, root: Path) -> None:
        """The mode of an adopted file does not decide the mode of what is linked."""
        key, value = self.sample(50)
        path = root / "output"
        path.write_bytes(value)
        path.chmod(0o755)
        await _local(store).adopt(key, path)
        plan = LinkPlan(root, [], [LinkFile(key, "plain", False), LinkFile(key, "tool", True)])
        assert frozenset() == await _local(store).link_into(plan)
        modes = {name: (root / name).stat().st_mode & 0o777 for name in ("plain", "tool")}
        assert {"plain": 0o444, "tool": 0o555} == modes

    async def test_adopting_what_is_present(self, store: Store, root: Path) -> None:
        """Handing over a file whose value is here already is no error."""
        key, value = self.sample(50)
        for _ in range(2):
            path = root / "output"
            path.write_bytes(value)
            await _local(store).adopt(key, path)
        assert value == await read(store, key)

    async def test_many_files_are_adopted(self, store: Store, root: Path) -> None:
        """Files of any size can be handed over together; each becomes a value."""
        samples = [self.sample(size) for size in (0, 1, 3000, MIB + 1)]
        for number, (_, value) in enumerate(samples):
            (root / f"output-{number}").write_bytes(value)
        files = [(key, root / f"output-{number}") for number, (key, _) in enumerate(samples)]
        assert {} == await _local(store).adopt_many(files)
        assert frozenset() == await store.find_missing([key for key, _ in samples])
        assert [value for _, value in samples] == [await read(store, key) for key, _ in samples]
        assert {} == await _local(store).adopt_many([])

    @pytest.mark.parametrize("executable", [False, True])
    async def test_changed_link_is_named(
        self, store: Store, root: Path, *, executable: bool
    ) -> None:
        """A value changed through its link is never served: it is named, to be discarded."""
        changed, kept = self.sample(100), self.sample(100)
        for sample in (changed, kept):
            await store.write(sample.key, in_chunks(sample.value))
        files = [LinkFile(changed.key, "x", executable), LinkFile(kept.key, "y", executable)]
        plan = LinkPlan(root, [], files)
        await _local(store).link_into(plan)
        assert frozenset() == _local(store).verify_links(plan)
        (root / "x").chmod(0o755)
        (root / "x").write_bytes(b"tampered")
        named = _local(store).verify_links(plan)
        assert named <= {changed.key}
        await store.discard(named)
        if not await store.find_missing([changed.key]):
            assert changed.value == await read(store, changed.key)
        assert kept.value == await read(store, kept.key)


class _SourceFailedError(Exception):
    """What a failing source of chunks raises."""


async def _failing(value: bytes) -> AsyncIterator[bytes]:
    if value:
        yield value
    raise _SourceFailedError


async def in_chunks(value: bytes, size: int = MIB) -> AsyncIterator[bytes]:
    """`value` as the chunks that `Store.write` takes."""
    for start in range(0, len(value), size):
        yield value[start : start + size]


async def read(store: Store, key: Key, *, offset: int = 0, limit: int | None = None) -> bytes:
    """A range of a value through the primitive."""
    async with aclosing(store.read(key, offset=offset, limit=limit)) as pieces:
        return b"".join([piece async for piece in pieces])


def files_below(root: Path) -> dict[str, tuple[bytes, int]]:
    """The content and permission bits of every file, by relative path."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in root.rglob("*")
        if path.is_file()
    }


def _batch(store: Store) -> BatchIO:
    batch = ops.capability(store, BatchIO)
    assert batch is not None
    return batch


def _local(store: Store) -> LocalFiles:
    local = ops.capability(store, LocalFiles)
    assert local is not None
    return local
