"""Following: what one process folded of a control journal, and another process has appended to since.

A control journal says what holds for all: who may act, which version is adopted, whose data is erased, which key is
revoked. Every process folds it into memory once. Where several processes write a workspace, each has to fold what the
others append, or a suspension would hold in one process alone.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol, TypeGuard

from loom.background import Background, Child, stopped
from loom.errors import LoomError
from loom.journal.store import Head
from loom.telemetry import get_logger

__all__ = ["Followed", "Follower", "Followers", "KnowsHeads", "Look", "SharedStore", "followers_of"]

LINGER_S = 0.02
"""How long a follower waits after each look, so that many commits cost one look."""

_AGAIN_S = 0.25

_log = get_logger("loom.journal")


class SharedStore(Protocol):
    """What is needed of a store whose journals several processes write."""

    async def head(self, journal: str) -> Head:
        """Return the head of a journal."""
        ...

    def on_commit(self, callback: Callable[[int], None]) -> None:
        """Have `callback` called with each new acknowledged position, of whichever process."""
        ...


class KnowsHeads(Protocol):
    """A store that looks up many heads at once."""

    async def heads(self, journals: Collection[str]) -> Mapping[str, int]:
        """Return journal → its last sequence, of those that have entries."""
        ...


class Followed(Protocol):
    """A journal that is folded into memory."""

    @property
    def name(self) -> str:
        """The name of the journal."""
        ...

    @property
    def sequence(self) -> int:
        """The last entry that was folded; 0 where there was none."""
        ...

    @property
    def controls(self) -> bool:
        """Whether it says who or what may act: decisions then name how far it was folded."""
        ...

    @property
    def followed(self) -> Callable[[], Awaitable[None]] | None:
        """What its owner does in the background once entries of another process were folded."""
        ...

    async def load(self) -> None:
        """Fold what was appended since."""
        ...


class Look(NamedTuple):
    """One look at the journals: those with entries since the last look, and the names of those that did not fold."""

    moved: tuple[Followed, ...]
    behind: tuple[str, ...]


def _looks_up_many(store: SharedStore) -> TypeGuard[KnowsHeads]:
    """Tell whether a store looks up many heads at once (by its name: see `store.writes`)."""
    return hasattr(store, "heads")


class Followers:
    """What this process has folded of the control journals of a store that other processes write too.

    It holds the journals weakly: a registry that is gone is not followed. See `followers_of`.
    """

    def __init__(self, store: SharedStore) -> None:
        self._heads = store.heads if _looks_up_many(store) else _one_by_one(store)
        self._journals: weakref.WeakKeyDictionary[Followed, int] = weakref.WeakKeyDictionary()
        """Journal → its sequence at the last look."""

    def add(self, journal: Followed) -> None:
        """Follow a journal from now on. Adding it again is harmless."""
        self._journals.setdefault(journal, 0)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the journals that are followed, sorted."""
        return tuple(sorted({each.name for each in self._journals}))

    def controls(self) -> dict[str, int]:
        """Return control journal → the last sequence that was folded here, of those that say what may act."""
        found: dict[str, int] = {}
        for each in list(self._journals):
            if each.controls:
                found[each.name] = min(each.sequence, found.get(each.name, each.sequence))
        return dict(sorted(found.items()))

    async def catch_up(self) -> Look:
        """Fold what other processes have appended. What cannot be folded stays behind, and is logged."""
        journals = list(self._journals)
        heads = await self._heads({each.name for each in journals})
        moved, behind = [], []
        for each in journals:
            try:
                if each.sequence < heads.get(each.name, 0):
                    await each.load()
            except LoomError as error:  # one that does not fold must not keep the others from being followed
                _log.error("not_followed", journal=each.name, sequence=each.sequence, error=str(error))
                behind.append(each.name)
            if each.sequence > self._journals.get(each, 0):
                self._journals[each] = each.sequence
                moved.append(each)
        return Look(tuple(moved), tuple(behind))


_followers: weakref.WeakKeyDictionary[object, Followers] = weakref.WeakKeyDictionary()
"""Store → what follows it: every registry over a shared store is followed, also that of an extension."""


def followers_of(store: Any) -> Followers | None:
    """Return what follows a store that other processes write too; None for one that a single process writes."""
    if not getattr(store, "shared", False):
        return None
    followers = _followers.get(store)
    if followers is None:
        followers = _followers[store] = Followers(store)
    return followers


class Follower:
    """Folds what other processes append, as soon as the store learns of it. `start` it, `close` it."""

    def __init__(
        self, store: SharedStore, followers: Followers, *, background: Background, linger_s: float = LINGER_S
    ) -> None:
        self._store = store
        self._followers = followers
        self._background = background
        self._linger_s = linger_s
        self._wake = asyncio.Event()
        self._task: Child[None] | None = None
        self.behind: tuple[str, ...] = ()
        """The journals that could not be folded at the last look."""

    def start(self) -> None:
        """Begin; what was appended before is folded first."""
        self._store.on_commit(lambda _: self._wake.set())
        self._wake.set()
        self._task = self._background.keep_running(self._follow, name="loom-follower")

    async def close(self) -> None:
        """Stop."""
        await stopped(self._task)

    async def _follow(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            moved, self.behind = await self._followers.catch_up()
            for each in moved:
                if each.followed is not None:
                    self._background.start(self._told(each.followed), name=f"loom-followed {each.name}")
            if self.behind:
                self._wake.set()
            await asyncio.sleep(_AGAIN_S if self.behind else self._linger_s)

    @staticmethod
    async def _told(followed: Callable[[], Awaitable[None]]) -> None:
        await followed()


def _one_by_one(store: SharedStore) -> Callable[[Collection[str]], Awaitable[Mapping[str, int]]]:
    async def heads(journals: Collection[str]) -> Mapping[str, int]:
        return {name: (await store.head(name)).sequence for name in journals}

    return heads
