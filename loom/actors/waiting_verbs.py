"""The verbs of an actor that wait: for a time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, cast

from loom.actors import verbs
from loom.actors.turn_context import current_turn

if TYPE_CHECKING:
    from loom.actors.ports import Decider

__all__ = ["WaitingVerbs"]


class WaitingVerbs:
    """What an actor can wait for, besides the answers of people: base of `Actor`."""

    async def sleep(
        self, seconds: float | None = None, *, until: datetime | None = None, key: str | None = None
    ) -> None:
        """Wait for so many seconds, or until a time (UTC), for a moment or for months; a restart loses nothing.

        The turn is parked meanwhile: other turns of the actor run. A wrong clock neither ends the wait nor holds it up:
        in one process it is measured in elapsed time. Sleeps at the same time need a `key` each. Raises
        `AdmissionError` for a length that is negative, no number, or over a hundred years.
        """
        await verbs.sleep(current_turn(cast("Decider", self), "sleep"), seconds, until=until, key=key)
