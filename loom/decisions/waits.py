"""The waits behind "What did it wait for?": for how long a turn slept, which message it took, what did not come.

Waits are journaled by actors, which depend on decisions. So their entries are read here by the names of their fields.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from loom.clock import datetime_from_us
from loom.decisions.layout import ExplanationLine, labelled, moment, took
from loom.journal.entry import Recorded
from loom.journal.kinds import TurnContinuedEntry
from loom.projections import Queries, Row
from loom.projections.confirming import Confirmation
from loom.projections.published import Published
from loom.projections.sql import script

__all__ = ["Wait", "WaitsProjection", "waited", "waits_of"]

_BEGUN = "wait_begun"
_ENDED = "wait_ended"
_MOST = 1_000
_BEGIN = """
INSERT INTO turn_waits (position, journal, command_id, step, what, message, until, began_at_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_ANSWER = """
UPDATE turn_waits SET answered_position = ?, message_id = ?
WHERE journal = ? AND command_id = ? AND step = ? AND answered_position IS NULL
"""
_END = """
UPDATE turn_waits SET ended_position = ?, ended_at_us = ?
WHERE journal = ? AND command_id = ? AND step = ? AND ended_position IS NULL
"""
_OF_TURN = "SELECT * FROM turn_waits WHERE journal = ? AND command_id = ? ORDER BY position LIMIT ?"


class WaitsProjection:
    """Keeps one row for each wait of a turn."""

    name = "waits"
    version = 1
    kinds = frozenset({_BEGUN, _ENDED, TurnContinuedEntry.kind})
    schema = script("loom.decisions", "waits.sql")
    tables = ("turn_waits",)
    publish = (Published("turn_waits"),)

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the table."""
        plain, turn = recorded.plain, (recorded.journal, recorded.command_id)
        if plain is None or recorded.command_id is None:
            return
        step = plain.get("wait") if recorded.kind == _ENDED else plain.get("step")
        written = None if step is None else json.dumps(step, ensure_ascii=False)
        if recorded.kind == _BEGUN:
            about = (plain["what"], plain.get("message"), plain.get("until"), recorded.recorded_at_us)
            view.execute(_BEGIN, (recorded.position, *turn, written, *about))
        elif recorded.kind == _ENDED:
            view.execute(_ANSWER, (recorded.position, plain.get("message_id"), *turn, written))
        else:
            view.execute(_END, (recorded.position, recorded.recorded_at_us, *turn, written))


_CONFIRM = Confirmation(
    WaitsProjection(),
    "turn_waits",
    rests_on=lambda row: (row["position"], row["answered_position"], row["ended_position"]),
)


class Wait(BaseModel):
    """One wait of a turn: `sleep`, `message`, or `begin` for the time before its first line."""

    model_config = ConfigDict(frozen=True)

    position: int
    what: Literal["sleep", "message", "begin"]
    message: str | None
    """The type of the message that was waited for."""
    until: datetime | None
    began_at: datetime
    ended_at: datetime | None
    """When the turn went on; None where it waits, or gave up."""
    message_id: str | None
    """The command id of the message that ended it; None where its time was over."""


async def waits_of(queries: Queries, turn: tuple[str, str], *, before: int) -> tuple[Wait, ...]:
    """Return the waits of a turn that began before a position, from its entries."""
    rows = await queries.fetch(_OF_TURN, (*turn, _MOST), names=("waits",))
    confirmed = await queries.confirmed(rows, _CONFIRM)
    return tuple(_wait(row) for row in confirmed if row["position"] < before)


def waited(waits: Sequence[Wait]) -> Iterator[ExplanationLine]:
    """Yield each wait in words."""
    for wait in waits:
        until = "" if wait.until is None else f" until {moment(wait.until)}"
        lasted = "" if wait.ended_at is None else took((wait.ended_at - wait.began_at).total_seconds())
        if wait.what == "begin":
            yield labelled("began late", f"as its sender asked, not{until.replace(' until', ' before')}")
        elif wait.what == "sleep":
            yield labelled("slept", f"{lasted},{until}" if lasted else f"gave up{until}")
        elif wait.message_id is not None:
            yield labelled("waited", f"{lasted or 'then gave up'} for {wait.message}: it came as [{wait.message_id}]")
        elif wait.ended_at is not None:
            yield labelled("waited", f"{lasted} for {wait.message}: none came{until}", "bad")
        else:
            yield labelled("waited", f"for {wait.message}, and gave up", "quiet")


def _wait(row: Row) -> Wait:
    return Wait(
        position=row["position"],
        what=row["what"],
        message=row["message"],
        until=None if row["until"] is None else datetime.fromisoformat(row["until"]),
        began_at=datetime_from_us(row["began_at_us"]),
        ended_at=None if row["ended_at_us"] is None else datetime_from_us(row["ended_at_us"]),
        message_id=row["message_id"],
    )
