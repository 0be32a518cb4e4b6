"""Digests, keys and how a request's digest function is found."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from remex_core.digest import (
    BLAKE3,
    SHA256,
    DigestFunctions,
    Key,
    KeyMaker,
    ac_space,
    check_digest,
)
from remex_core.errors import MalformedDigest

if TYPE_CHECKING:
    from remex_core.digest import DigestFunction

SOME_HASH = hashlib.sha256(b"some").hexdigest()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (SHA256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (BLAKE3, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
    ],
)
def test_empty_hash_is_the_published_one(function: DigestFunction, expected: str) -> None:
    """DIG-10: the empty blob of each function has its well-known hash."""
    assert expected == function.empty_hash
    assert Key("", function.name, expected, 0) == function.empty_key


@pytest.mark.parametrize(
    ("hash_", "size", "said"),
    [
        ("", 1, "missing"),
        ("ab", 1, "2 characters"),
        (SOME_HASH.upper(), 1, "not lowercase"),
        ("g" * 64, 1, "not lowercase"),
        (SOME_HASH + "\n", 1, "65 characters"),
        (SOME_HASH, -42, "-42"),
        (SOME_HASH, 2**63, "impossible size"),
    ],
)
def test_malformed_digest_is_refused_with_the_reason(hash_: str, size: int, said: str) -> None:
    """DIG-01, DIG-03, DIG-05: what is wrong with a digest stands in the error."""
    with pytest.raises(MalformedDigest, match=said):
        check_digest(SHA256, hash_, size)


def test_key_is_made_once() -> None:
    """A digest that was seen before answers with the very same key."""
    maker = KeyMaker(SHA256)
    assert maker.key(SOME_HASH, 4) is maker.key(SOME_HASH, 4)
    assert maker.key(SOME_HASH, 4) != maker.key(SOME_HASH, 5)


def test_key_memory_is_bounded() -> None:
    """However many digests pass, no more than `capacity` keys are remembered."""
    maker = KeyMaker(SHA256, capacity=10)
    for size in range(100):
        maker.key(SOME_HASH, size)
    assert len(maker._made) <= 10


def test_named_function_wins() -> None:
    """DIG-06: the function that a request names is used, whatever the length says."""
    functions = DigestFunctions()
    assert BLAKE3 is functions.for_request(9, [SOME_HASH]).function


def test_function_is_inferred_from_the_length() -> None:
    """DIG-06, DIG-07: without a name 64 digits mean SHA256 where it is announced."""
    assert SHA256 is DigestFunctions(["blake3", "sha256"]).for_request(0, [SOME_HASH]).function


def test_only_blake3_announced_is_inferred() -> None:
    """DIG-07: an instance that announces BLAKE3 alone reads bare digests as BLAKE3."""
    assert BLAKE3 is DigestFunctions(["blake3"]).for_request(0, [SOME_HASH]).function


@pytest.mark.parametrize("number", [2, 3, 8, 10, 77])
def test_unannounced_function_is_refused(number: int) -> None:
    """DIG-08: a function that the instance does not announce is an invalid argument."""
    with pytest.raises(MalformedDigest, match="not offered here"):
        DigestFunctions().for_request(number, [])


def test_length_of_no_announced_function_is_refused() -> None:
    """DIG-08: a hash whose length fits nothing that is announced is refused."""
    with pytest.raises(MalformedDigest, match="40 characters"):
        DigestFunctions().for_length("a" * 40)


def test_named_function_checks_the_length() -> None:
    """DIG-08, DIG-09: a hash of another length is refused even when the function is known."""
    with pytest.raises(MalformedDigest, match="40 characters"):
        DigestFunctions().for_request(1, []).key("a" * 40, 1)


def test_only_new_functions_stand_in_resource_names() -> None:
    """DIG-13: the segment appears for functions with a number above 7."""
    assert [False, True] == [SHA256.in_resource_names, BLAKE3.in_resource_names]


def test_ac_keys_are_not_cas_keys() -> None:
    """INS-07: an action cache has a space of its own, also for the empty instance name."""
    key = Key(ac_space(""), "sha256", SOME_HASH, 4)
    assert not key.is_cas
    assert key != Key("", "sha256", SOME_HASH, 4)
    assert Key("", "sha256", SOME_HASH, 4).is_cas
