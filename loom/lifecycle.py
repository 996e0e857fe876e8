"""The life of a loom: entered with `async with`, or opened and closed by hand."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from loom.errors import LoomClosedError

__all__ = ["Life", "Lifecycle"]

Life: TypeAlias = Literal["new", "open", "closed"]


class Lifecycle:
    """Opens once and closes once: `async with Loom.open(…) as loom`, or `loom = await Loom.open(…)` and `close`."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._life: Life = "new"

    @property
    def life(self) -> Life:
        """Whether it is `new`, `open` or `closed`."""
        return self._life

    def __await__(self) -> Generator[Any, None, Self]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> Self:
        if self._life != "new":
            raise LoomClosedError(f"loom was {self._opened_before()}; expected to open it once: call Loom.open again")
        self._life = "open"
        try:
            await self._open()
        except BaseException:
            self._life = "closed"
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close it: turns under way get their grace, and what is left is resumed when it is next opened.

        A loom that was closed before, or never opened, is left as it is.
        """
        self._life = "closed" if self._life == "open" else self._life
        await self._stack.aclose()

    @abstractmethod
    async def _open(self) -> None:
        """Open everything, and push onto the stack what closes it."""

    def _opened_before(self) -> str:
        return "opened before" if self._life == "open" else "closed"
