"""Nodes that are wrong on purpose: the controls of tests that kill and stop nodes.

`believes`: the engine never notices that its actors were taken. `no-fence`: it takes actors of another node, and does
not fence that one. Both leave safety to the journal alone. `no-epoch`: appends are checked by their sequence, and by
nothing else. `revives`: a cell that was fenced is woken again here.

`piecemeal` is slow, and not wrong: an entry is not added to an append that waits already. What was queued behind an
append that is refused is then tried by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from contextlib import closing

from loom.actors import ActorSystem
from loom.actors.cell import Cell
from loom.journal.postgres import staging
from loom.journal.sqlite.queue import AppendQueue, Waiting
from loom.journal.store import Draft
from tests.engine.leases import LeaseEngine, slot_of

__all__ = ["WRONG", "make_wrong"]


def make_wrong(ways: Collection[str]) -> None:
    """Make this process wrong in some ways."""
    for way in ways:
        WRONG[way]()


def _believes() -> None:
    look = LeaseEngine._look

    async def looks_away(engine: LeaseEngine) -> None:
        with closing(engine._connect()) as database:
            known = database.execute("SELECT 1 FROM nodes WHERE node = ?", (engine.link.node,)).fetchone()
        if not engine._slots or known:
            await look(engine)
        engine._sure_until = math.inf

    def mine(engine: LeaseEngine, journal: str) -> bool:
        return engine._slots.get(slot_of(journal)) == engine.link.node

    LeaseEngine._look = looks_away  # type: ignore[method-assign, assignment]
    LeaseEngine.mine = mine  # type: ignore[method-assign, assignment]


def _no_fence() -> None:
    async def fence(engine: LeaseEngine, writer: int) -> None:
        pass

    LeaseEngine._fence = fence  # type: ignore[method-assign, assignment]


def _no_epoch() -> None:
    def any_epoch(head: staging.HeadRow, claim: int | None, *, writer: int, fresh: int) -> int | None:
        return head.epoch if head.writer == writer else fresh

    staging._epoch = any_epoch


def _revives() -> None:
    def on_invalidated(system: ActorSystem, cell: Cell) -> None:
        system._forget(cell)
        if cell.open:
            system.waker.revive_later(cell.journal)

    ActorSystem.on_invalidated = on_invalidated  # type: ignore[method-assign, assignment]


def _piecemeal() -> None:
    def extend(queue: AppendQueue, waiting: Waiting, draft: Draft) -> bool:
        return False

    AppendQueue.extend = extend  # type: ignore[method-assign, assignment]


WRONG: dict[str, Callable[[], None]] = {
    "believes": _believes,
    "no-fence": _no_fence,
    "no-epoch": _no_epoch,
    "revives": _revives,
    "piecemeal": _piecemeal,
}
