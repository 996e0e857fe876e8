"""The verbs that wait for a time: the turn parks, and goes on in this life of the process or in a later one."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from loom.actors.turn import Turn
from loom.actors.verbs.shared import expect
from loom.actors.wait_entries import WaitBegunEntry
from loom.clock import Instant, datetime_from_us, instant, us_from_datetime
from loom.errors import AdmissionError
from loom.journal.entry import Step
from loom.spans import span

__all__ = ["ends_at", "sleep", "wait_out"]

_LONGEST_S = 100 * 366 * 86_400


async def sleep(turn: Turn, seconds: float | None, *, until: datetime | None, key: str | None) -> None:
    """See `WaitingVerbs.sleep`."""
    if (seconds is None) == (until is None):
        raise AdmissionError(
            f"sleep has seconds [{seconds}] and until [{until}]; expected one of them: give how long, or when it ends"
        )
    asked = instant(turn.services.sources.clock)
    until = ends_at(asked, seconds, until, what="seconds")
    with turn.step("sleep", key or "sleep") as step:
        begun = WaitBegunEntry(step=step, what="sleep", until=until)
        ready = turn.draft(begun)
        recorded = await turn.take(step, "begin")
        if recorded is None:
            assert until is not None  # noqa: S101 - one of the two was given
            turn.services.timer.set((turn.host.journal, turn.command_id), step, until, at=asked)
            turn.write(ready)
        else:
            before = expect(recorded.entry, WaitBegunEntry, turn)
            if turn.compare is not None:
                turn.compare(recorded, begun.model_copy(update={"until": before.until}))
        with span("loom.sleep", {"loom.until": str(until)}):
            await wait_out(turn, step)


def ends_at(asked: Instant, seconds: float | None, until: datetime | None, *, what: str) -> datetime | None:
    """Return the time of day at which a wait ends; raise `AdmissionError` for one that no clock will show."""
    if until is not None:
        try:
            us_from_datetime(until)
        except ValueError as error:
            raise AdmissionError(str(error)) from error
        return until
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not (0 <= seconds <= _LONGEST_S) or math.isnan(seconds):
        raise AdmissionError(
            f"{what} is [{seconds}]; expected a number from 0 to [{_LONGEST_S}], a hundred years: correct it"
        )
    return datetime_from_us(asked.now_us) + timedelta(seconds=seconds)


async def wait_out(turn: Turn, step: Step) -> None:
    """Wait for the end of a wait that has begun, and continue: the turn may have been parked for days."""
    if turn.recorded_steps is not None and turn.recorded_steps.has(step, "end"):
        await turn.recorded_steps.take(step, "end")
        return
    if turn.recorded_steps is not None:
        await turn.recorded_steps.wait(step)
        if turn.compare is not None:
            raise turn.never_recorded(step)
    try:
        await turn.parking.wait_for(step)
        await turn.continue_live(after=step)
    finally:  # also where the code stopped waiting: what it waited for must not wake the turn any more
        if turn.stopped is None:
            turn.services.timer.forget((turn.host.journal, turn.command_id), step)
            turn.host.inbox.give_up(turn.command_id, step)
