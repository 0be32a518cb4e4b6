"""GetTree: every directory below a root, once, in pages that can be taken up again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from remex_core.digest import SHA256
from remex_core.errors import Code, DataLoss, StoreUnavailable
from remex_core.proto import reapi
from remex_core.wire.methods import GET_TREE
from services_support.blobs import NOT_A_HASH, digest, hash_of, refused

if TYPE_CHECKING:
    from remex_core.wire.stub import Stub
    from services_support.recording_store import RecordingStore

MIB = 1024 * 1024


def directory(*children: reapi.Digest, files: int = 0, name: str = "") -> bytes:
    """A Directory with these subdirectories and some files."""
    made = reapi.Directory()
    for number in range(files):
        made.files.add(name=f"{name}{number:06d}", digest=digest(b"content"))
    for number, child in enumerate(children):
        made.directories.add(name=f"d{number:06d}", digest=child)
    return made.SerializeToString(deterministic=True)


def put(cas: RecordingStore, *blobs: bytes) -> None:
    for blob in blobs:
        cas.put(SHA256.key_of(blob), blob)


async def tree(stub: Stub, root: reapi.Digest, **fields: Any) -> list[reapi.GetTreeResponse]:
    request = reapi.GetTreeRequest(root_digest=root, **fields)
    return [answer async for answer in stub.stream(GET_TREE, request)]


def directories(answers: Any) -> list[bytes]:
    return [
        made.SerializeToString(deterministic=True)
        for answer in answers
        for made in answer.directories
    ]


def numbered(cas: RecordingStore, count: int) -> tuple[reapi.Digest, list[bytes]]:
    """A root with `count - 1` distinct children, and all of them in the order of the walk."""
    leaves = [directory(files=1, name=f"leaf{n}-") for n in range(count - 1)]
    root = directory(*map(digest, leaves))
    put(cas, root, *leaves)
    return digest(root), [root, *leaves]


async def test_root_and_every_descendant(stub: Stub, cas: RecordingStore) -> None:
    """TREE-01: the root comes first, then everything below it, byte for byte."""
    leaf = directory(files=2, name="a")
    middle = directory(digest(leaf), files=1, name="b")
    root = directory(digest(middle), files=3, name="c")
    put(cas, leaf, middle, root)
    answers = await tree(stub, digest(root))
    assert [root, middle, leaf] == directories(answers)
    assert "" == answers[-1].next_page_token


async def test_absent_root_is_not_found(stub: Stub) -> None:
    """TREE-01: without its root there is no tree, and no message."""
    with refused(Code.NOT_FOUND, hash_of(5)):
        await tree(stub, reapi.Digest(hash=hash_of(5), size_bytes=5))


async def test_absent_descendant_is_left_out(stub: Stub, cas: RecordingStore) -> None:
    """TREE-02: a missing directory is omitted, the rest comes, and the call is OK."""
    here, gone = directory(files=1, name="here"), directory(files=1, name="gone")
    root = directory(digest(gone), digest(here))
    put(cas, here, root)
    assert [root, here] == directories(await tree(stub, digest(root)))


async def test_damaged_descendant_is_left_out(stub: Stub, cas: RecordingStore) -> None:
    """TREE-02, GEN-14: a directory whose stored bytes are wrong is as good as missing."""
    leaf = directory(files=1, name="leaf")
    root = directory(digest(leaf))
    put(cas, leaf, root)
    cas.read_errors[SHA256.key_of(leaf)] = DataLoss("the stored bytes are wrong")
    assert [root] == directories(await tree(stub, digest(root)))


async def test_failing_store_fails_the_call(stub: Stub, cas: RecordingStore) -> None:
    """GEN-14: a directory that cannot be read now is no missing one."""
    leaf = directory(files=1, name="leaf")
    root = directory(digest(leaf))
    put(cas, leaf, root)
    cas.read_errors[SHA256.key_of(leaf)] = StoreUnavailable("the disk is gone")
    with refused(Code.UNAVAILABLE):
        await tree(stub, digest(root))


@pytest.mark.parametrize("page_size", [1, 3, 10, 11, 1000])
async def test_page_size_caps_the_directories_of_a_message(
    stub: Stub, cas: RecordingStore, page_size: int
) -> None:
    """TREE-03: no page has more, every page but the last has a token, the last has none."""
    root, everything = numbered(cas, 10)
    answers = await tree(stub, root, page_size=page_size)
    assert everything == directories(answers)
    assert all(len(answer.directories) <= page_size for answer in answers)
    assert all(answer.next_page_token for answer in answers[:-1])
    assert "" == answers[-1].next_page_token


async def test_last_page_has_no_token_though_absent_directories_follow(
    stub: Stub, cas: RecordingStore
) -> None:
    """TREE-03: where only missing directories are left, nothing more is promised."""
    root = directory(*(reapi.Digest(hash=hash_of(n), size_bytes=9) for n in range(5)))
    put(cas, root)
    (answer,) = await tree(stub, digest(root), page_size=1)
    assert ([root], "") == (directories([answer]), answer.next_page_token)


@pytest.mark.parametrize("page_size", [1, 4])
async def test_token_resumes_after_its_page(
    stub: Stub, cas: RecordingStore, page_size: int
) -> None:
    """TREE-04: with the token of a page, exactly the pages after it come, however often."""
    root, everything = numbered(cas, 10)
    pages = await tree(stub, root, page_size=page_size)
    seen = 0
    for page in pages[:-1]:
        seen += len(page.directories)
        for other_size in (page_size, 0):
            rest = await tree(stub, root, page_size=other_size, page_token=page.next_page_token)
            assert everything[seen:] == directories(rest)


async def test_token_of_a_deep_tree(stub: Stub, cas: RecordingStore) -> None:
    """TREE-04: resuming works when the next page lies levels below the root."""
    blobs = [directory(files=1, name="bottom")]
    for _ in range(20):
        blobs.append(directory(digest(blobs[-1])))
    put(cas, *blobs)
    root = digest(blobs[-1])
    pages = await tree(stub, root, page_size=6)
    rest = await tree(stub, root, page_token=pages[1].next_page_token)
    assert blobs[::-1][12:] == directories(rest)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"page_size": -1}, "-1"),
        ({"page_token": "nonsense"}, "nonsense"),
        ({"page_token": "aa-1-99999999999999999999"}, "not made by this server"),
        ({"page_token": f"{hash_of(3)}-5-1"}, "another root"),
    ],
)
async def test_bad_paging_is_refused(
    stub: Stub, cas: RecordingStore, fields: dict[str, Any], said: str
) -> None:
    """TREE-05: negative sizes, foreign tokens and those of another root are invalid arguments."""
    root, _ = numbered(cas, 2)
    with refused(Code.INVALID_ARGUMENT, said):
        await tree(stub, root, **fields)


async def test_each_distinct_directory_comes_once(stub: Stub, cas: RecordingStore) -> None:
    """TREE-06: 40 levels of two identical children are 41 directories, not 2^40."""
    blobs = [directory(files=1, name="bottom")]
    for _ in range(40):
        below = digest(blobs[-1])
        blobs.append(directory(below, below))
    put(cas, *blobs)
    assert blobs[::-1] == directories(await tree(stub, digest(blobs[-1])))


async def test_empty_root_is_one_empty_directory(stub: Stub, cas: RecordingStore) -> None:
    """TREE-07, DIG-10: the empty blob is a tree of one empty directory, whatever is stored."""
    (answer,) = await tree(stub, digest(b""))
    assert ([b""], "") == (directories([answer]), answer.next_page_token)
    assert [] == cas.asked


async def test_empty_child_is_sent(stub: Stub, cas: RecordingStore) -> None:
    """TREE-07: an empty directory below a root is a directory like others."""
    root = directory(digest(b""), digest(b""))
    put(cas, root)
    assert [root, b""] == directories(await tree(stub, digest(root)))


async def test_root_that_is_no_directory_is_refused(stub: Stub, cas: RecordingStore) -> None:
    """TREE-07: a blob that cannot be parsed is no root."""
    put(cas, b"\xff\xff not a directory")
    with refused(Code.INVALID_ARGUMENT, "not a Directory"):
        await tree(stub, digest(b"\xff\xff not a directory"))


async def test_malformed_child_is_left_out(stub: Stub, cas: RecordingStore) -> None:
    """TREE-07: a child that cannot be parsed or named is omitted, its siblings are sent."""
    rubbish, good = b"\xff\xff rubbish", directory(files=1, name="good")
    unnamed = reapi.Digest(hash=NOT_A_HASH, size_bytes=4)
    root = directory(digest(rubbish), unnamed, reapi.Digest(), digest(good))
    put(cas, rubbish, good, root)
    assert [root, good] == directories(await tree(stub, digest(root)))


@pytest.mark.parametrize("page_size", [0, 1_000_000])
async def test_messages_stay_small(stub: Stub, cas: RecordingStore, page_size: int) -> None:
    """TREE-08, GEN-05: ten directories of 400 KB do not travel in one message."""
    leaves = [directory(files=4000, name=f"leaf{n}-") for n in range(10)]
    root = directory(*map(digest, leaves))
    put(cas, root, *leaves)
    answers = await tree(stub, digest(root), page_size=page_size)
    assert [root, *leaves] == directories(answers)
    assert max(answer.ByteSize() for answer in answers) < 1.5 * MIB


async def test_directory_that_no_message_can_carry(stub: Stub, cas: RecordingStore) -> None:
    """GEN-05: a directory above 4 MiB is refused by name when it is there, omitted when not."""
    large = directory(files=50_000, name="a-very-large-directory-")
    root = directory(digest(large))
    put(cas, root)
    assert [root] == directories(await tree(stub, digest(root)))
    put(cas, large)
    with refused(Code.INVALID_ARGUMENT, digest(large).hash):
        await tree(stub, digest(root))


async def test_directories_are_sent_as_they_are_stored(stub: Stub, cas: RecordingStore) -> None:
    """DIG-16: what a client hashes again has the digest it knows, unknown fields included."""
    leaf = directory(files=1, name="leaf") + b"\xa2\x06\x03new"  # field 100
    root = directory(digest(leaf))
    put(cas, leaf, root)
    (answer,) = await tree(stub, digest(root))
    assert [root, leaf] == [made.SerializeToString() for made in answer.directories]


async def test_many_directories_are_read_in_portions(stub: Stub, cas: RecordingStore) -> None:
    """TREE-01: a level of 2,500 directories comes whole."""
    root, everything = numbered(cas, 2501)
    assert everything == directories(await tree(stub, root))
