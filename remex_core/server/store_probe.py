"""Asks a store again and again whether it answers, so that readiness tells the truth."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from remex_core.digest import SHA256
from remex_core.errors import RemexError

if TYPE_CHECKING:
    from remex_core.store.contract import Store

_SECONDS: Final = 5.0
_KEY: Final = SHA256.key_of(b"remex asks whether this store answers")


class StoreProbe:
    """`reason` is why the store cannot be used now; empty when its last answer was a good one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reason = "it was not asked yet"

    async def run(self) -> None:
        """Asks every 5 seconds until cancelled."""
        while True:
            try:
                await self._store.find_missing((_KEY,))
            except RemexError as error:
                self.reason = error.message
            else:
                self.reason = ""
            await asyncio.sleep(_SECONDS)
