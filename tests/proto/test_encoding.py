"""The bytes of messages that are hashed or read by others, against known vectors."""

from __future__ import annotations

import base64
import hashlib

import pytest
from google.protobuf import any_pb2

from remex_core.proto import error_details, reapi, rpc_code, rpc_status

HELLO_HASH = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
A_TXT = reapi.Directory(
    files=[
        reapi.FileNode(
            name="a.txt",
            digest=reapi.Digest(hash=HELLO_HASH, size_bytes=6),
            is_executable=True,
        )
    ]
)
A_TXT_HASH = "8a60c2cacf71bf7bad47c57526c2e6074da2da3e1e895210a006f3eb03f75814"
WITH_SUB = reapi.Directory(
    directories=[
        reapi.DirectoryNode(name="sub", digest=reapi.Digest(hash=A_TXT_HASH, size_bytes=81))
    ]
)
TRUE_COMMAND = reapi.Command(arguments=["true"])
TRUE_COMMAND_HASH = "1394a31647aa7eba33b1988cf3bfe1219b5ba45c11ebb19b5bbe07d7204df772"
EMPTY_HASH = hashlib.sha256(b"").hexdigest()
MISSING = error_details.PreconditionFailure(
    violations=[
        error_details.PreconditionFailure.Violation(type="MISSING", subject=f"blobs/{HELLO_HASH}/6")
    ]
)
MISSING_BYTES = bytes.fromhex("0a530a074d495353494e471248") + f"blobs/{HELLO_HASH}/6".encode()


@pytest.mark.parametrize(
    ("message", "sha256", "size"),
    [
        pytest.param(reapi.Directory(), EMPTY_HASH, 0, id="empty-directory"),
        pytest.param(
            reapi.Tree(root=reapi.Directory()),
            "102b51b9765a56a3e899f7cf0ee38e5251f9c503b357b330a49183eb7b155604",
            2,
            id="empty-tree",
        ),
        pytest.param(A_TXT, A_TXT_HASH, 81, id="directory-with-file"),
        pytest.param(
            WITH_SUB,
            "dbe91606412943f646209e92f771a733bb2fb822aeb5065fb2b1f33057bc0d3c",
            77,
            id="directory-with-subdirectory",
        ),
        pytest.param(
            reapi.Tree(root=WITH_SUB, children=[A_TXT]),
            "cc8715af73b21bbf3bdfb6ff8f237b13f97162d5dc25bcbf5e5c75d10ca9d415",
            162,
            id="tree-of-both",
        ),
        pytest.param(TRUE_COMMAND, TRUE_COMMAND_HASH, 6, id="command"),
        pytest.param(
            reapi.Action(
                command_digest=reapi.Digest(hash=TRUE_COMMAND_HASH, size_bytes=6),
                input_root_digest=reapi.Digest(hash=EMPTY_HASH, size_bytes=0),
            ),
            "054435d0a7573cc13cb737477406ab0e34801a7563531631746e21edead1a3e8",
            138,
            id="action",
        ),
    ],
)
def test_hashed_messages_have_their_known_digest(
    message: reapi.Directory | reapi.Tree | reapi.Command | reapi.Action, sha256: str, size: int
) -> None:
    """A blob that remex makes of a message has the digest every other implementation gives it."""
    data = message.SerializeToString(deterministic=True)
    assert (sha256, size) == (hashlib.sha256(data).hexdigest(), len(data))


@pytest.mark.parametrize(
    ("message", "data"),
    [
        pytest.param(reapi.Tree(root=reapi.Directory()), bytes.fromhex("0a00"), id="empty-tree"),
        pytest.param(
            A_TXT,
            bytes.fromhex("0a4f0a05612e74787412440a40")
            + HELLO_HASH.encode()
            + bytes.fromhex("10062001"),
            id="directory-with-file",
        ),
        pytest.param(TRUE_COMMAND, bytes.fromhex("0a0474727565"), id="command"),
        pytest.param(
            reapi.Digest(hash=EMPTY_HASH, size_bytes=0),
            bytes.fromhex("0a40") + EMPTY_HASH.encode(),
            id="empty-digest",
        ),
        pytest.param(MISSING, MISSING_BYTES, id="missing-blob"),
        pytest.param(
            reapi.RequestMetadata(
                tool_details=reapi.ToolDetails(tool_name="bazel", tool_version="8.0.0"),
                action_id="x",
            ),
            base64.b64decode("Cg4KBWJhemVsEgU4LjAuMBIBeA=="),
            id="request-metadata",
        ),
    ],
)
def test_messages_have_their_known_bytes(
    message: reapi.Tree | reapi.Digest | reapi.RequestMetadata, data: bytes
) -> None:
    """Messages serialise to the very bytes that other implementations write and expect."""
    assert data == message.SerializeToString(deterministic=True)


def test_status_carries_its_detail_under_the_full_type_name() -> None:
    """EXE-14: a missing blob travels as one PreconditionFailure packed into an Any."""
    detail = any_pb2.Any()
    detail.Pack(MISSING)
    status = rpc_status.Status(
        code=rpc_code.FAILED_PRECONDITION, message="missing", details=[detail]
    )
    expected = (
        bytes.fromhex("080912076d697373696e671a8b010a32")
        + b"type.googleapis.com/google.rpc.PreconditionFailure"
        + bytes.fromhex("1255")
        + MISSING_BYTES
    )
    assert expected == status.SerializeToString(deterministic=True)


def test_tree_is_a_stream_of_root_and_children() -> None:
    """A Tree can be written as records: the root under field 1, each child under field 2."""
    root, child = WITH_SUB.SerializeToString(), A_TXT.SerializeToString()
    tree = reapi.Tree(root=WITH_SUB, children=[A_TXT]).SerializeToString(deterministic=True)
    assert b"\x0a" + bytes([len(root)]) + root + b"\x12" + bytes([len(child)]) + child == tree


def test_output_nodes_share_the_encoding_of_input_nodes() -> None:
    """An output file or symlink can be read as the node of a directory, and back."""
    digest = reapi.Digest(hash=HELLO_HASH, size_bytes=6)
    file = reapi.OutputFile(path="a", digest=digest, is_executable=True)
    link = reapi.OutputSymlink(path="l", target="a")
    assert reapi.FileNode(name="a", digest=digest, is_executable=True) == reapi.FileNode.FromString(
        file.SerializeToString()
    )
    assert reapi.SymlinkNode(name="l", target="a") == reapi.SymlinkNode.FromString(
        link.SerializeToString()
    )
