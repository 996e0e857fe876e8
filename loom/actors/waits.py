"""The waits of a turn, as its entries have them: those that have begun and not ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from loom.actors.entries import AttemptFailedEntry
from loom.actors.ports import TurnHost
from loom.actors.steps import step_of
from loom.actors.turn import Turn
from loom.actors.wait_entries import WaitBegunEntry, WaitEndedEntry
from loom.clock import datetime_from_us, instant
from loom.journal.entry import Recorded, Step
from loom.journal.kinds import CommandReceivedEntry, TurnContinuedEntry

__all__ = ["begin_at", "begins_late", "end_again", "open_waits", "wait_again"]


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


def wait_again(host: TurnHost, entries: Sequence[Recorded]) -> None:
    """Note what the open waits of a turn wait for, by their entries, and by the clock as it was when they began."""
    turn = (host.journal, str(entries[0].command_id))
    over = {each.entry.wait for each in entries if isinstance(each.entry, WaitEndedEntry)}
    for begun in open_waits(entries):
        entry, said_us = begun.entry, begun.recorded_at_us - begun.clock_back_us
        if isinstance(entry, AttemptFailedEntry):
            until = datetime_from_us(said_us) + timedelta(seconds=entry.delay_s)
            host.services.timer.set_again(turn, entry.back_off, until, said_us=said_us)
        elif isinstance(entry, WaitBegunEntry) and entry.step not in over:
            if entry.until is not None:
                host.services.timer.set_again(turn, entry.step, entry.until, said_us=said_us)
            if entry.message is not None and entry.step is not None:
                host.inbox.wait_again(turn[1], entry.step, entry.message, begun.policy_hash)


def begin_at(host: TurnHost, turn: Turn, at: datetime) -> None:
    """Journal that a turn begins at a time, and set its timer."""
    entry = WaitBegunEntry(what="begin", until=at)
    waits = host.draft(entry, command_id=turn.command_id, policy_hash=turn.policy.hash_bytes)
    services = host.services
    services.timer.set((host.journal, turn.command_id), None, at, at=instant(services.sources.clock))
    host.write(waits)


def end_again(turn: Turn, entries: Iterable[Recorded]) -> None:
    """Give a turn that is driven again what ended its waits: messages, or that their time was over."""
    for recorded in entries:
        if isinstance(recorded.entry, WaitEndedEntry):
            turn.parking.end(recorded.entry.wait, recorded.entry)
    for step in turn.services.timer.due((turn.host.journal, turn.command_id)):
        if step is not None and not turn.host.inbox.waits(turn.command_id, step):
            turn.parking.end(step, None)


def begins_late(entries: Sequence[Recorded]) -> bool:
    """Tell whether a turn has waited for the time of its first line, and nothing of it has run."""
    if len(entries) != 2:
        return False
    received, last = entries[0].entry, entries[1].entry
    return isinstance(received, CommandReceivedEntry) and isinstance(last, WaitBegunEntry) and last.what == "begin"
