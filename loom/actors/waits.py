"""The waits of a turn, as its entries have them: those that have begun and not ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from loom.actors.ports import TurnHost
from loom.actors.steps import step_of
from loom.actors.wait_entries import WaitBegunEntry
from loom.journal.entry import Recorded, Step
from loom.journal.kinds import TurnContinuedEntry

__all__ = ["open_waits", "wait_again"]


def open_waits(entries: Iterable[Recorded]) -> Iterator[Recorded]:
    """Yield the `WaitBegunEntry` of each wait of a turn with which the turn has not gone on."""
    begun: dict[Step | None, Recorded] = {}
    for recorded in entries:
        if isinstance(recorded.entry, WaitBegunEntry):
            begun[recorded.entry.step] = recorded
        elif recorded.kind == TurnContinuedEntry.kind:
            begun.pop(step_of(recorded), None)
    yield from begun.values()


def wait_again(host: TurnHost, command_id: str, begun: Recorded) -> None:
    """Note when a wait ends that began before this process: by its entry, and by the clock as it was then."""
    entry = begun.entry
    assert isinstance(entry, WaitBegunEntry)  # noqa: S101 - `open_waits` gives no others
    if entry.until is not None:
        said_us = begun.recorded_at_us - begun.clock_back_us
        host.services.timer.set_again((host.journal, command_id), entry.step, entry.until, said_us=said_us)
