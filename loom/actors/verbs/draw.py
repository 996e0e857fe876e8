"""The verbs `now`, `new_id` and `random`: values that are drawn once, and are the same when the turn is resumed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from loom.actors.entries import ValueDrawnEntry
from loom.actors.turn import Turn
from loom.actors.verbs.shared import expect
from loom.clock import datetime_from_us

__all__ = ["new_id", "now", "random"]


async def now(turn: Turn, *, key: str | None) -> datetime:
    """See `Actor.now`."""
    drawn = await _draw(turn, "now", turn.services.sources.clock.now_us, key)
    assert isinstance(drawn, int)  # noqa: S101 - what was journaled is what was drawn
    return datetime_from_us(drawn)


async def new_id(turn: Turn, *, key: str | None) -> str:
    """See `Actor.new_id`."""
    return str(await _draw(turn, "new_id", turn.services.sources.new_id, key))


async def random(turn: Turn, *, key: str | None) -> float:
    """See `Actor.random`."""
    drawn = await _draw(turn, "random", turn.services.sources.random, key)
    assert isinstance(drawn, float | int)  # noqa: S101 - what was journaled is what was drawn
    return float(drawn)


async def _draw(
    turn: Turn, source: Literal["now", "new_id", "random"], draw: Callable[[], JsonValue], key: str | None
) -> JsonValue:
    with turn.step(source, key or source, waits=False) as step:
        recorded = await turn.take(step)
        if recorded is not None:
            return expect(recorded.entry, ValueDrawnEntry, turn).value
        drawn = ValueDrawnEntry(step=step, source=source, value=draw())
        turn.write(turn.draft(drawn))
        return drawn.value
