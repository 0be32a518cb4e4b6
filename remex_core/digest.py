"""Digests, keys and digest functions: how content is named.

A `Key` is the only name that stores know. Keys are made by a `KeyMaker`, which checks a digest
once and remembers the key: on hot paths a digest costs one dictionary look-up. Everything may
import this module; it imports nothing of remex but the errors.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import blake3

from remex_core.errors import MalformedDigest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

MAX_SIZE: Final = 2**63 - 1


class WireDigest(Protocol):
    """What this module reads of a Digest message."""

    @property
    def hash(self) -> str: ...

    @property
    def size_bytes(self) -> int: ...


class Hasher(Protocol):
    """What hashlib's objects and blake3's share."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


class Key(NamedTuple):
    """The name of one stored value.

    `space` is empty for the CAS, `ac:<instance>` for an action cache (where hash and size are
    those of the action, not of the value), `http:<instance>` for raw HTTP values. `function` is
    the lowercase name of a digest function. CAS content is located by function and hash; `size`
    (bytes) is a check: another size is another key.
    A tuple, because hashing and comparing tuples is the cheapest thing Python can do.
    """

    space: str
    function: str
    hash: str
    size: int

    @property
    def is_cas(self) -> bool:
        """Whether hash and size describe the value itself."""
        return not self.space

    def __str__(self) -> str:
        return f"{self.space or 'cas'}/{self.function}/{self.hash}/{self.size}"


def ac_space(instance: str) -> str:
    """The key space of an instance's action cache (INS-07)."""
    return f"ac:{instance}"


@dataclass(frozen=True, slots=True)
class DigestFunction:
    """One way to turn bytes into a hash.

    `number` is the value of DigestFunction.Value on the wire (DIG-06), `name` its lowercase
    name, `hash_length` the length in hex digits (DIG-01), `empty_hash` the hash of no bytes.
    """

    name: str
    number: int
    hash_length: int
    empty_hash: str
    new: Callable[[], Hasher]

    @property
    def in_resource_names(self) -> bool:
        """Whether resource names carry a segment for this function (DIG-13)."""
        return self.number > 7

    def hash(self, data: bytes | bytearray | memoryview) -> str:
        """The hex hash of `data`."""
        hasher = self.new()
        hasher.update(data)
        return hasher.hexdigest()

    def key_of(self, data: bytes | bytearray | memoryview, space: str = "") -> Key:
        """The key under which `data` is stored."""
        return Key(space, self.name, self.hash(data), len(data))

    @property
    def empty_key(self) -> Key:
        """The key of the empty blob, which is always present (DIG-10)."""
        return Key("", self.name, self.empty_hash, 0)


def _function(name: str, number: int, new: Callable[[], Hasher]) -> DigestFunction:
    empty = new().hexdigest()
    return DigestFunction(name, number, len(empty), empty, new)


SHA256: Final = _function("sha256", 1, hashlib.sha256)
BLAKE3: Final = _function("blake3", 9, blake3.blake3)

FUNCTIONS: Final[Mapping[str, DigestFunction]] = {f.name: f for f in (SHA256, BLAKE3)}
"""Every digest function that remex can compute, by name."""

BY_NUMBER: Final[Mapping[int, DigestFunction]] = {f.number: f for f in FUNCTIONS.values()}

_HEX = re.compile(r"[0-9a-f]+")


class KeyMaker:
    """Checks the digests of one digest function and turns them into CAS keys.

    Keeps at most `capacity` keys it has made; a digest seen before costs one look-up. When the
    memory is full it is emptied, which is cheaper on average than keeping an order.
    """

    __slots__ = ("_capacity", "_made", "function")

    def __init__(self, function: DigestFunction, capacity: int = 200_000) -> None:
        self.function = function
        self._capacity = capacity
        self._made: dict[tuple[str, int], Key] = {}

    def key(self, hash_: str, size: int) -> Key:
        """The CAS key of a digest.

        Raises:
            MalformedDigest: if the hash or the size breaks a rule (DIG-01, DIG-03, DIG-08).
        """
        pair = (hash_, size)
        made = self._made.get(pair)
        return made if made is not None else self._make(pair)

    def keys(self, digests: Collection[WireDigest]) -> list[Key]:
        """The CAS keys of many digests, in their order; the cheapest way for a thousand.

        Raises:
            MalformedDigest: for the first digest that `key` would refuse (CAS-04, DIG-09).
        """
        made = self._made
        try:
            # No call per digest: with every digest seen before, this costs what reading costs.
            return [made[digest.hash, digest.size_bytes] for digest in digests]
        except KeyError:
            return [self.key(digest.hash, digest.size_bytes) for digest in digests]

    def _make(self, pair: tuple[str, int]) -> Key:
        check_digest(self.function, *pair)
        if len(self._made) >= self._capacity:
            self._made.clear()
        key = self._made[pair] = Key("", self.function.name, *pair)
        return key


def check_digest(function: DigestFunction, hash_: str, size: int) -> None:
    """Raises MalformedDigest if this cannot be a digest of `function` (DIG-01, DIG-03, DIG-08)."""
    if not hash_:
        raise MalformedDigest(
            f"A digest is missing or has an empty hash: {function.name} needs "
            f"{function.hash_length} lowercase hex digits."
        )
    if len(hash_) != function.hash_length:
        raise MalformedDigest(
            f"The hash {hash_[:140]!r} has {len(hash_)} characters; "
            f"{function.name} has {function.hash_length}.",
            hint="Check that client and server use the same digest function.",
        )
    if not _HEX.fullmatch(hash_):
        raise MalformedDigest(f"The hash {hash_!r} is not lowercase hexadecimal.")
    if not 0 <= size <= MAX_SIZE:
        raise MalformedDigest(f"The digest {hash_} declares the impossible size {size}.")


class DigestFunctions:
    """The digest functions that one instance announces, and how a request's is found.

    The order of `names` is the order of preference when only the length of a hash can tell.
    """

    def __init__(self, names: Sequence[str] = ("sha256", "blake3")) -> None:
        self.announced: tuple[DigestFunction, ...] = tuple(FUNCTIONS[name] for name in names)
        self._makers = {f.number: KeyMaker(f) for f in self.announced}
        self._by_name = {f.name: self._makers[f.number] for f in self.announced}
        self._by_length: dict[int, KeyMaker] = {}
        # DIG-06/07: a bare length means the classic function where it is announced.
        for function in sorted(self.announced, key=lambda f: f.number):
            self._by_length.setdefault(function.hash_length, self._makers[function.number])

    def for_request(self, number: int, hashes: Iterable[str]) -> KeyMaker:
        """The key maker for a request that names function `number` (0: none named).

        `hashes` are looked at only when none is named: the first whose length an announced
        function has decides. Where none fits, the answer is the preferred function's maker, which
        then refuses each of them.

        Raises:
            MalformedDigest: if the named function is not announced (DIG-06..08).
        """
        if number:
            maker = self._makers.get(number)
            if maker is None:
                raise MalformedDigest(
                    f"Digest function number {number} is not offered here; "
                    f"this instance offers {', '.join(f.name for f in self.announced)}."
                )
            return maker
        for hash_ in hashes:
            maker = self._by_length.get(len(hash_))
            if maker is not None:
                return maker
        return next(iter(self._by_length.values()))

    def for_length(self, hash_: str) -> KeyMaker:
        """The key maker that the length of `hash_` implies (DIG-06, DIG-07).

        Raises:
            MalformedDigest: if no announced function has hashes of this length.
        """
        maker = self._by_length.get(len(hash_))
        if maker is None:
            lengths = ", ".join(f"{f.name} {f.hash_length}" for f in self.announced)
            raise MalformedDigest(
                f"The hash {hash_[:140]!r} has {len(hash_)} characters; "
                f"the functions offered here have: {lengths}."
            )
        return maker

    def for_name(self, name: str) -> KeyMaker:
        """The key maker of the function with this lowercase name.

        Raises:
            MalformedDigest: if it is not announced.
        """
        maker = self._by_name.get(name)
        if maker is None:
            raise MalformedDigest(
                f"Digest function {name!r} is not offered here; "
                f"this instance offers {', '.join(self._by_name)}."
            )
        return maker
