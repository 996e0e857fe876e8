"""Folds the entries of turns into the view of turns, one row for each command that was received."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeAlias

from loom.actors.entries import EffectIntendedEntry, EffectPerformedEntry
from loom.actors.steps import step_of
from loom.actors.turns_page import ABOUT, fold_page
from loom.actors.wait_entries import WaitBegunEntry
from loom.decisions.entries import ApprovalRequestedEntry, ends_approval
from loom.journal.entry import Recorded, Step
from loom.journal.kinds import TurnDivergedEntry, TurnFailedEntry, TurnResumedEntry
from loom.projections.published import Published
from loom.projections.sql import script

__all__ = ["TurnsProjection"]

_RECEIVE = """
INSERT INTO turns (
  journal, command_id, actor_type, actor_key, command_type, by, identity_source, via, correlation_id,
  causation_id, received_position, received_sequence, received_at_us, last_position)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""
_ADVANCE = """
UPDATE turns SET last_position = ?, attempts = 0, decisions = decisions + ? WHERE journal = ? AND command_id = ?
"""
_TOUCH = "UPDATE turns SET last_position = ? WHERE journal = ? AND command_id = ?"
_DIVERGE = """
UPDATE turns SET last_position = ?, diverged_position = ?, error_type = 'DivergenceError', error_message = ?
WHERE journal = ? AND command_id = ?
"""
_RESUME = "UPDATE turns SET last_position = ?, attempts = ?, resumed = 1 WHERE journal = ? AND command_id = ?"
_RETRY = "UPDATE turns SET last_position = ?, attempts = 0, resumed = 0 WHERE journal = ? AND command_id = ?"
_END = """
UPDATE turns SET last_position = ?, ended = ?, ended_at_us = ?, error_type = ?, error_message = ?,
  attempts = 0, pending_effects = 0, open_approvals = 0, open_waits = 0
WHERE journal = ? AND command_id = ?
"""
_CLOSE_ALL = "DELETE FROM turn_open WHERE journal = ? AND command_id = ?"
_OPEN = "INSERT INTO turn_open VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_CLOSE = "DELETE FROM turn_open WHERE journal = ? AND what = ? AND id = ?"
_APPROVALS = """
UPDATE turns SET last_position = ?, attempts = 0, open_approvals = open_approvals + ?
WHERE journal = ? AND command_id = ?
"""
_EFFECTS = """
UPDATE turns SET last_position = ?, attempts = 0, pending_effects = pending_effects + ?, resumed = 0
WHERE journal = ? AND command_id = ?
"""
_WAITS = """
UPDATE turns SET last_position = ?, attempts = 0, open_waits = open_waits + ? WHERE journal = ? AND command_id = ?
"""

_Fold: TypeAlias = Callable[[Recorded, str, sqlite3.Connection], None]


class TurnsProjection:
    """Keeps one row for each command that was received."""

    name = "turns"
    version = 5
    kinds = None
    schema = script("loom.actors", "turns_view.sql")
    tables = ("turns", "turn_open")
    publish = (Published("turns", indexes=(("received_at_us",),)),)

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables."""
        if recorded.command_id is not None:
            _FOLDS.get(recorded.kind, _step)(recorded, recorded.command_id, view)

    def apply_page(self, page: Sequence[Recorded], view: sqlite3.Connection) -> None:
        """Fold entries into the tables, as `apply` of one after the other would."""
        fold_page(page, view, self.apply, special=_FOLDS)


def _receive(recorded: Recorded, command_id: str, view: sqlite3.Connection) -> None:
    said = recorded.plain or {}
    about = [said.get(name) for name in ABOUT]
    actor_type, _, actor_key = recorded.journal.partition("/")
    view.execute(
        _RECEIVE,
        (
            recorded.journal,
            command_id,
            actor_type,
            actor_key,
            *about,
            recorded.position,
            recorded.sequence,
            recorded.recorded_at_us,
            recorded.position,
        ),
    )


def _touch(recorded: Recorded, command_id: str, view: sqlite3.Connection) -> None:
    view.execute(_TOUCH, (recorded.position, recorded.journal, command_id))


def _step(recorded: Recorded, command_id: str, view: sqlite3.Connection) -> None:
    """Note progress: any entry that a turn records itself resets the count of its attempts."""
    decided = 1 if recorded.kind == "decision" else 0
    view.execute(_ADVANCE, (recorded.position, decided, recorded.journal, command_id))


def _diverge(recorded: Recorded, command_id: str, view: sqlite3.Connection) -> None:
    entry = recorded.entry
    said = entry.in_words() if isinstance(entry, TurnDivergedEntry) else None
    view.execute(_DIVERGE, (recorded.position, recorded.position, said, recorded.journal, command_id))


def _resume(recorded: Recorded, command_id: str, view: sqlite3.Connection) -> None:
    entry = recorded.entry
    attempts = entry.attempt if isinstance(entry, TurnResumedEntry) else 1
    view.execute(_RESUME, (recorded.position, attempts, recorded.journal, command_id))


def _retry(recorded: Recorded, command_id: str, view: sqlite3.Connection) -> None:
    view.execute(_RETRY, (recorded.position, recorded.journal, command_id))


def _end(recorded: Recorded, command_id: str, view: sqlite3.Connection) -> None:
    error: tuple[str | None, str | None] = (None, None)
    if recorded.kind == "turn_failed" and isinstance(recorded.entry, TurnFailedEntry):
        error = (recorded.entry.type_name, recorded.entry.message)
    view.execute(
        _END,
        (
            recorded.position,
            recorded.kind.removeprefix("turn_"),
            recorded.recorded_at_us,
            *error,
            recorded.journal,
            command_id,
        ),
    )
    view.execute(_CLOSE_ALL, (recorded.journal, command_id))


def _request(recorded: Recorded, command_id: str, view: sqlite3.Connection) -> None:
    opened, entry = 0, recorded.entry
    if isinstance(entry, ApprovalRequestedEntry) and entry.information is None:
        opened = view.execute(_OPEN, (recorded.journal, "approval", entry.approval_id, command_id)).rowcount
    view.execute(_APPROVALS, (recorded.position, opened, recorded.journal, command_id))


def _answer(recorded: Recorded, command_id: str, view: sqlite3.Connection) -> None:
    closed, entry = 0, recorded.entry
    if ends_approval(entry):
        closed = view.execute(_CLOSE, (recorded.journal, "approval", entry.approval_id)).rowcount
    view.execute(_APPROVALS, (recorded.position, -closed, recorded.journal, command_id))


def _intend(recorded: Recorded, command_id: str, view: sqlite3.Connection) -> None:
    opened, entry = 0, recorded.entry
    if isinstance(entry, EffectIntendedEntry) and not entry.repeatable:
        step = _step_id(command_id, entry.step, entry.key)
        opened = view.execute(_OPEN, (recorded.journal, "effect", step, command_id)).rowcount
    view.execute(_EFFECTS, (recorded.position, opened, recorded.journal, command_id))


def _perform(recorded: Recorded, command_id: str, view: sqlite3.Connection) -> None:
    closed, entry = 0, recorded.entry
    if isinstance(entry, EffectPerformedEntry):
        step = _step_id(command_id, entry.step, entry.key)
        closed = view.execute(_CLOSE, (recorded.journal, "effect", step)).rowcount
    view.execute(_EFFECTS, (recorded.position, -closed, recorded.journal, command_id))


def _begin_wait(recorded: Recorded, command_id: str, view: sqlite3.Connection) -> None:
    opened, entry = 0, recorded.entry
    if isinstance(entry, WaitBegunEntry):
        opened = view.execute(_OPEN, (recorded.journal, "wait", _wait_id(command_id, entry.step), command_id)).rowcount
    view.execute(_WAITS, (recorded.position, opened, recorded.journal, command_id))


def _continue(recorded: Recorded, command_id: str, view: sqlite3.Connection) -> None:
    waited = _wait_id(command_id, step_of(recorded))
    if view.execute(_CLOSE, (recorded.journal, "wait", waited)).rowcount:
        view.execute(_WAITS, (recorded.position, -1, recorded.journal, command_id))
    else:
        _touch(recorded, command_id, view)


def _wait_id(command_id: str, step: Step | None) -> str:
    return f"{command_id} {'' if step is None else step}"


def _step_id(command_id: str, step: Step | None, key: str) -> str:
    occurrence = 0 if step is None else step.occurrence
    return f"{command_id} {occurrence} {key}"


_FOLDS: dict[str, _Fold] = {
    "command_received": _receive,
    "turn_started": _touch,
    "turn_continued": _continue,
    "turn_diverged": _diverge,
    "turn_resumed": _resume,
    "turn_retried": _retry,
    "turn_completed": _end,
    "turn_failed": _end,
    "turn_abandoned": _end,
    "approval_reminded": _touch,
    "turn_parked": _touch,
    "wait_begun": _begin_wait,
    "wait_ended": _touch,
    "approval_requested": _request,
    "approval_answered": _answer,
    "effect_intended": _intend,
    "effect_performed": _perform,
}
