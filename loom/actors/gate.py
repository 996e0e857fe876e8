"""A gate that lets one caller at a time through for each key, and keeps nothing for keys that nobody is at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

__all__ = ["Gate"]


class Gate:
    """Use as `async with gate.at(key)`; callers with other keys do not wait for each other."""

    def __init__(self) -> None:
        self._inside: dict[Hashable, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def at(self, key: Hashable) -> AsyncIterator[None]:
        """Wait until nobody else is inside for this key, and be the one who is."""
        while (before := self._inside.get(key)) is not None:
            await asyncio.wait([before])
        left = self._inside[key] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._inside[key]
            left.set_result(None)

    def __len__(self) -> int:
        return len(self._inside)
