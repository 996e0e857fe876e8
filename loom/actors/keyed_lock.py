"""A lock for each key; it keeps nothing for keys that are not held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

__all__ = ["KeyedLock"]


class KeyedLock:
    """Use as `async with lock.hold(key)`; callers with other keys do not wait for each other."""

    def __init__(self) -> None:
        self._holders: dict[Hashable, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Wait until no other caller holds this key, and hold it."""
        while (before := self._holders.get(key)) is not None:
            await asyncio.wait([before])
        released = self._holders[key] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._holders[key]
            released.set_result(None)

    def __len__(self) -> int:
        return len(self._holders)
