"""The verb `version`: which branch of changed code a turn follows. A pure step, so it waits for nothing."""

from __future__ import annotations

from loom.actors.change_entries import VersionMarkedEntry
from loom.actors.turn import Turn
from loom.errors import AdmissionError, DivergenceError
from loom.journal.admission import json_value
from loom.journal.entry import Step

__all__ = ["version"]

MAX_NAME = 200
BEFORE = 1
"""The version of the code before a change."""


def version(turn: Turn, change: str, newest: int) -> int:
    """See `ChangingVerbs.version`."""
    _check(change, newest)
    turn.check_open()
    marked = turn.versions.get(change)
    if marked is None:
        marked = turn.versions[change] = _chosen(turn, newest)
        if turn.compare is None:
            entry = VersionMarkedEntry(step=Step("version", change), change=change, version=marked)
            turn.write_when_live(turn.draft(entry))
    if marked > newest:
        raise turn.halt(_too_new(turn, change, marked=marked, newest=newest))
    return marked


def _chosen(turn: Turn, newest: int) -> int:
    """Return the version that a turn without a marker follows."""
    repeats = turn.recorded_steps is not None and not turn.recorded_steps.finished
    ended = turn.compare is not None and not turn.is_open  # its code ran to its end, and did not ask
    return BEFORE if repeats or ended else newest


def _too_new(turn: Turn, change: str, *, marked: int, newest: int) -> DivergenceError:
    what = f"it follows version {marked} of [{change}], and its code has version {newest} at most"
    return DivergenceError(
        f"turn [{turn}] does not do what its journal says: {what}: nothing was done; bring back the code that recorded "
        "it and `loom turns retry`, or `loom turns abandon`",
        what=what,
        expected=(f"version {change} = {marked}",),
        found=(f"version {change} ≤ {newest}",),
    )


def _check(change: str, newest: int) -> None:
    if not change.strip() or len(change) > MAX_NAME:
        raise AdmissionError(
            f"name of the change is [{change!r:.250}]; expected 1 to {MAX_NAME} characters: name what was changed"
        )
    json_value(change)
    if type(newest) is not int or newest < BEFORE:
        raise AdmissionError(
            f"newest version of [{change}] is [{newest}]; expected a number from 1, the code before the change: use 2 "
            "for the first change"
        )
