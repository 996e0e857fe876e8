"""What a node looks at again and again: whether it still holds its actors, and whether others' nodes are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Protocol

from loom.background import Background, Child
from loom.engine.nodes.link import Link
from loom.engine.port import Node
from loom.errors import LoomError
from loom.identity import derived_id
from loom.journal.holders import Holder
from loom.journal.store import JournalStore
from loom.telemetry import get_logger

__all__ = ["Watch"]

_EVERY_S = 0.5
_GONE_AFTER_S = 2.0
_PART = 1_000

_log = get_logger("loom.engine")


class Watched(Protocol):
    """The engine, as it is watched."""

    def mine(self, journal: str) -> bool:
        """Tell whether an actor lives here."""
        ...

    async def holders(self, journals: Collection[str]) -> dict[str, Holder]:
        """Return journal → holder, by the journal itself."""
        ...

    def holds(self, holder: Holder | None) -> bool:
        """Tell whether a holder is this process."""
        ...

    def give_up(self, journals: Collection[str]) -> None:
        """Note that actors live elsewhere now."""
        ...

    async def wake(self, journal: str, *, holder: Holder | None) -> None:
        """Have an actor brought to life whose node is gone."""
        ...

    async def claim(self, journal: str) -> None:
        """Bring an actor to life here."""
        ...


class Watch:
    """Gives up actors that another process has acquired, and has those brought to life whose node does not answer."""

    def __init__(
        self, engine: Watched, store: JournalStore, link: Link, *, background: Background, claim_after_s: float
    ) -> None:
        self._engine = engine
        self._store = store
        self._link = link
        self._background = background
        self._claim_after_s = claim_after_s
        self._silent_since: dict[str, float] = {}
        self._woken: dict[tuple[str, int], float] = {}
        self._silent: frozenset[str] = frozenset()
        self._children: list[Child[None]] = []
        self._node: Node | None = None

    def start(self, node: Node) -> None:
        """Begin to look."""
        self._node = node
        self._children = [
            self._background.keep_running(self._keep_holding, name="loom-restate-holding"),
            self._background.keep_running(self._look_for_orphans, name="loom-restate-orphans"),
        ]

    def close(self) -> None:
        """Look no more."""
        for each in self._children:
            each.cancel()

    async def _keep_holding(self) -> None:
        """Give up what another process has acquired: a turn that waits writes nothing, and would never learn of it."""
        assert self._node is not None  # noqa: S101 - it is started with one
        while True:
            await asyncio.sleep(_EVERY_S)
            awake = [each for each in self._node.awake() if self._engine.mine(each)]
            for at in range(0, len(awake), _PART):
                part = awake[at : at + _PART]
                holders = await self._engine.holders(part)
                self._engine.give_up(
                    [each for each in part if each in holders and not self._engine.holds(holders[each])]
                )

    async def _look_for_orphans(self) -> None:
        """Have actors with unfinished turns brought to life whose holder is gone, at the start and from then on."""
        while True:
            gone = await self._gone()
            found = [each.journal async for each in self._store.unfinished() if not self._engine.mine(each.journal)]
            journals = list(dict.fromkeys(found))
            for at in range(0, len(journals), _PART):
                holders = await self._engine.holders(journals[at : at + _PART])
                for journal in journals[at : at + _PART]:
                    holder = holders.get(journal)
                    if self._is_orphan(holder, gone):
                        await self._wake(journal, holder)
            await asyncio.sleep(_EVERY_S * 2)

    def _is_orphan(self, holder: Holder | None, gone: set[str]) -> bool:
        if holder is None or holder.fenced or holder.address is None:
            return True
        if holder.address == self._link.address:  # this process before its last start
            return not self._engine.holds(holder)
        return holder.address in gone or holder.address not in self._link.nodes.values()

    async def _gone(self) -> set[str]:
        """Return the addresses of nodes that have not answered for a while."""
        others = [each for each in self._link.nodes if each != self._link.node]
        answers = await asyncio.gather(*(self._link.peers.answers(each) for each in others))
        now, gone = time.monotonic(), set()
        self._silent = frozenset(node for node, answered in zip(others, answers, strict=True) if not answered)
        for node, answered in zip(others, answers, strict=True):
            if answered:
                self._silent_since.pop(node, None)
            elif now - self._silent_since.setdefault(node, now) >= _GONE_AFTER_S:
                gone.add(self._link.nodes[node])
        return gone

    async def _wake(self, journal: str, holder: Holder | None) -> None:
        about, now = (journal, 0 if holder is None else holder.writer), time.monotonic()
        since = self._woken.setdefault(about, now)
        try:
            if since == now:
                await self._engine.wake(journal, holder=holder)
            elif now - since >= self._claim_after_s and self._is_first(journal):
                _log.warning("engine_passed_over", journal=journal)
                self._woken[about] = now + self._claim_after_s
                await self._engine.claim(journal)
        except LoomError as error:
            _log.warning("actor_not_brought_to_life", journal=journal, error=str(error))

    def _is_first(self, journal: str) -> bool:
        """Tell whether this node is the one of those that answer which takes an actor: all come to the same result."""
        there = [each for each in self._link.nodes if each not in self._silent]
        return self._link.node == max(there, key=lambda each: derived_id("engine/place", journal, each))
