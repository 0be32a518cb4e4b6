"""Any history of operations on a store, compared with a dict; see `testing.stores`."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from remex_core.errors import BlobNotFound
from remex_core.store import ops
from remex_core.store.contract import Content

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from remex_core.digest import Key
    from remex_core.store.contract import Store
    from remex_core.testing.stores import StoreContract

_SIZES = (16, 40, 900, 70_000, 1024 * 1024 + 3)  # enough for no two values to be the same
_INDICES = st.integers(0, len(_SIZES) - 1)
_SUBSETS = st.sets(_INDICES)


class StoreMachine(RuleBasedStateMachine):
    """Writes, reads and discards a handful of keys, and keeps a dict beside the store.

    Each run has keys of its own, so that one store can serve many runs.
    """

    def __init__(
        self, store: Store, run: Callable[[Coroutine[Any, Any, Any]], Any], kit: StoreContract
    ) -> None:
        super().__init__()
        self.store = store
        self.run = run
        self.kit = kit
        self.samples = [kit.sample(size) for size in _SIZES]
        self.expected: dict[Key, bytes] = {}

    def _next(self, index: int) -> tuple[Key, bytes]:
        key, value = self.samples[index]
        if self.kit.content is not Content.CAS and key in self.expected:
            value = self.kit.value(_SIZES[index] // 2)
        return key, value

    def _keys(self, indices: set[int]) -> list[Key]:
        return [self.samples[index][0] for index in sorted(indices)]

    @rule(index=_INDICES)
    def write(self, index: int) -> None:
        key, value = self._next(index)
        self.run(ops.write_bytes(self.store, key, value))
        self.expected[key] = value

    @rule(indices=_SUBSETS)
    def write_batch(self, indices: set[int]) -> None:
        items = [self._next(index) for index in sorted(indices)]
        assert {} == self.run(ops.write_many(self.store, items))
        self.expected.update(items)

    @rule(index=_INDICES, start=st.integers(0, 100), limit=st.none() | st.integers(1, 100_000))
    def read(self, index: int, start: int, limit: int | None) -> None:
        key = self.samples[index][0]
        value = self.expected.get(key)
        if value is None:
            assert self.run(self._range(key, 0, None)) is None
            return
        offset = len(value) * start // 100
        end = None if limit is None else offset + limit
        assert value[offset:end] == self.run(self._range(key, offset, limit))

    @rule(indices=_SUBSETS)
    def read_batch(self, indices: set[int]) -> None:
        keys = self._keys(indices)
        found = self.run(ops.read_many(self.store, keys, max_bytes=8 * 1024 * 1024))
        assert set(keys) == set(found)
        for key in keys:
            if key in self.expected:
                assert self.expected[key] == found[key]
            else:
                assert isinstance(found[key], BlobNotFound)

    @rule(indices=_SUBSETS)
    def find_missing(self, indices: set[int]) -> None:
        keys = self._keys(indices)
        absent = frozenset(key for key in keys if key not in self.expected)
        assert absent == self.run(self.store.find_missing(keys))

    @rule(indices=_SUBSETS)
    def discard(self, indices: set[int]) -> None:
        keys = self._keys(indices)
        self.run(self.store.discard(keys))
        if self.kit.discards:
            for key in keys:
                self.expected.pop(key, None)

    def teardown(self) -> None:
        self.run(self.store.discard([key for key, _ in self.samples]))

    async def _range(self, key: Key, offset: int, limit: int | None) -> bytes | None:
        try:
            async with aclosing(self.store.read(key, offset=offset, limit=limit)) as pieces:
                return b"".join([piece async for piece in pieces])
        except BlobNotFound:
            return None
