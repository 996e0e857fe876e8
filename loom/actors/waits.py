"""The waits of a turn, as its entries have them: those that have begun and not ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from loom.actors.entries import AttemptFailedEntry
from loom.actors.ports import TurnHost
from loom.actors.steps import step_of
from loom.actors.wait_entries import WaitBegunEntry
from loom.clock import datetime_from_us
from loom.journal.entry import Recorded, Step
from loom.journal.kinds import TurnContinuedEntry

__all__ = ["open_waits", "wait_again"]


def open_waits(entries: Iterable[Recorded]) -> Iterator[Recorded]:
    """Yield the entry with which each wait of a turn began that the turn has not gone on with."""
    begun: dict[Step | None, Recorded] = {}
    for recorded in entries:
        if isinstance(recorded.entry, WaitBegunEntry):
            begun[recorded.entry.step] = recorded
        elif isinstance(recorded.entry, AttemptFailedEntry):
            begun[recorded.entry.back_off] = recorded
        elif recorded.kind == TurnContinuedEntry.kind:
            begun.pop(step_of(recorded), None)
    yield from begun.values()


def wait_again(host: TurnHost, command_id: str, begun: Recorded) -> None:
    """Note when a wait ends that began before this process: by its entry, and by the clock as it was then."""
    entry, said_us = begun.entry, begun.recorded_at_us - begun.clock_back_us
    if isinstance(entry, AttemptFailedEntry):
        step: Step | None = entry.back_off
        until: datetime | None = datetime_from_us(said_us) + timedelta(seconds=entry.delay_s)
    else:
        assert isinstance(entry, WaitBegunEntry)  # noqa: S101 - `open_waits` gives no others
        step, until = entry.step, entry.until
    if until is not None:
        host.services.timer.set_again((host.journal, command_id), step, until, said_us=said_us)
