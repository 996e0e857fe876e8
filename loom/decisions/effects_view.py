"""The projection behind "What was done?": the effects of each turn, and their results.

Effects are journaled by actors, which depend on decisions. So their entries are read here by the names of their fields.
"""

from __future__ import annotations

import json
import sqlite3

from loom.journal.entry import Recorded
from loom.projections.published import Published
from loom.projections.sql import script

__all__ = ["EffectsProjection"]

_INTENDED = "effect_intended"
_PERFORMED = "effect_performed"
_INTEND = """
INSERT INTO turn_effects (position, journal, command_id, step, action, key, repeatable, intended_at_us,
  arguments, under)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_PERFORM = """
UPDATE turn_effects SET ended_position = ?, ended_at_us = ?, result = ?, type_name = ?, message = ?, duration_ms = ?,
  failed_attempts = ?
WHERE journal = ? AND command_id = ? AND step = ? AND ended_position IS NULL
"""


class EffectsProjection:
    """Keeps one row for each effect that a turn intended."""

    name = "effects"
    version = 3
    kinds = frozenset({_INTENDED, _PERFORMED})
    schema = script("loom.decisions", "effects.sql")
    tables = ("turn_effects",)
    publish = (Published("turn_effects"),)

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the table."""
        plain = recorded.plain
        if plain is None or recorded.command_id is None:
            return
        step = json.dumps(plain["step"], ensure_ascii=False)
        turn = (recorded.journal, recorded.command_id, step)
        if recorded.kind == _INTENDED:
            about = (plain["action"], plain["key"], int(plain["repeatable"]))
            arguments = plain.get("arguments")
            given = (None if arguments is None else json.dumps(arguments, ensure_ascii=False), plain.get("under"))
            view.execute(_INTEND, (recorded.position, *turn, *about, recorded.recorded_at_us, *given))
        elif recorded.kind == _PERFORMED:
            failure = plain.get("failure") or {}
            result = json.dumps(plain.get("result"), ensure_ascii=False)
            failed = json.dumps(plain.get("failed_attempts", []), ensure_ascii=False)
            values = (result, failure.get("type_name"), failure.get("message"), plain["duration_ms"], failed)
            view.execute(_PERFORM, (recorded.position, recorded.recorded_at_us, *values, *turn))
