"""Actions made by hand are what the protocol asks for."""

from __future__ import annotations

from remex_core.digest import SHA256, Key
from remex_core.proto import reapi
from remex_core.testing.actions import ActionSpec


def _read(blobs: dict[Key, bytes], digest: reapi.Digest) -> bytes:
    return blobs[Key("", "sha256", digest.hash, digest.size_bytes)]


def test_every_blob_of_an_action_is_prepared() -> None:
    """ACT-01: action, command, input root and each file's content are there by digest."""
    prepared = ActionSpec(("cat", "in"), {"in": b"text"}, outputs=("b", "a"), timeout=7).prepare()
    blobs = dict(prepared.blobs)
    assert {key: SHA256.key_of(data) for key, data in blobs.items()} == {key: key for key in blobs}
    action = reapi.Action.FromString(_read(blobs, prepared.digest))
    command = reapi.Command.FromString(_read(blobs, action.command_digest))
    root = reapi.Directory.FromString(_read(blobs, action.input_root_digest))
    assert ["cat", "in"] == list(command.arguments)
    assert ["a", "b"] == list(command.output_paths)
    assert {"in": b"text"} == {file.name: _read(blobs, file.digest) for file in root.files}
    assert 7 == action.timeout.seconds


def test_a_file_given_by_digest_is_not_uploaded_again() -> None:
    """Blobs that are in the CAS already are only named."""
    content = reapi.Digest(hash="0" * 64, size_bytes=10)
    blobs = ActionSpec(("cat", "in"), {"in": content}).prepare().blobs
    assert Key("", "sha256", content.hash, 10) not in blobs


def test_the_order_of_what_is_given_does_not_matter() -> None:
    """Equal actions have equal digests however their parts were listed; salts tell them apart."""
    one = ActionSpec(("x",), {"a": b"1", "b": b"2"}, ("o", "p"), {"A": "1", "B": "2"})
    other = ActionSpec(("x",), {"b": b"2", "a": b"1"}, ("p", "o"), {"B": "2", "A": "1"})
    salted = ActionSpec(("x",), {"a": b"1", "b": b"2"}, ("o", "p"), {"A": "1", "B": "2"}, salt=b"s")
    assert one.prepare().digest == other.prepare().digest
    assert one.prepare().digest != salted.prepare().digest
