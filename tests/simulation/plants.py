"""Bugs that are planted into loom, each in a room of its own: the simulation has to find every one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import loom.actors.verbs.effect
import loom.actors.verbs.message
from loom.actors.cell import Cell
from loom.actors.turn import Turn
from loom.enrichment.budget import BudgetDay
from loom.errors import AppendUnknownError, LoomError
from loom.journal.sqlite.writer import Writer
from loom.journal.store import Receipt
from loom.projections.writer import Checkpoints, ViewsWriter
from tests.simulation.machine import Machine

__all__ = ["PLANTS", "planted"]


async def _no_wait(self: Turn) -> None:
    """Return at once: what the turn has written may not be durable."""


def _taken_for_written(self: Writer, unknown: AppendUnknownError) -> Receipt:
    """Say that an append whose outcome is unknown was written."""
    return Receipt(unknown.journal, unknown.sequence, self._connection.tail.position, unknown.entry_hash, 0)


def _moved_too_early(self: ViewsWriter, work: Callable[[Any], Checkpoints]) -> Checkpoints:
    """Move the checkpoints before the page is committed."""

    def moving(connection: Any) -> Checkpoints:
        moved = work(connection)
        self._checkpoints.update(moved)
        return moved

    self.write(moving)
    return dict(self._checkpoints)


def _goes_on(self: Cell, error: LoomError) -> None:
    """Go on after the journal, with a state that holds what was never written."""
    durable = Machine.current.disk.entries
    self.sequence = max((each.sequence for each in durable if each.journal == self.journal), default=0)


_drawn = iter(range(10**9))


def _another_id(*_: object) -> str:
    """Return an id that a resumed turn does not find again."""
    return f"drawn-{next(_drawn)}"


PLANTS: dict[str, tuple[tuple[object, str, object], ...]] = {
    "reply-before-commit": ((Turn, "durable", _no_wait),),
    "unknown-taken-for-written": ((Writer, "resolve", _taken_for_written),),
    "checkpoint-before-page": ((ViewsWriter, "_transact", _moved_too_early),),
    "reservations-not-counted": (
        (BudgetDay, "left_micro_usd", property(lambda self: max(0, self.max_micro_usd - self.spent_micro_usd))),
    ),
    "invalid-cell-goes-on": ((Cell, "invalidate", _goes_on),),
    "command-id-not-derived": ((loom.actors.verbs.message, "derived_id", _another_id),),
    "effect-repeated": ((loom.actors.verbs.effect, "_check_repeatable", lambda turn, intended: None),),
}
"""The bugs by name: what is replaced by what."""


@contextlib.contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Plant a bug for as long as the block runs; None plants nothing."""
    with contextlib.ExitStack() as stack:
        for owner, attribute, instead in PLANTS[name] if name is not None else ():
            stack.enter_context(mock.patch.object(owner, attribute, instead))
        yield
