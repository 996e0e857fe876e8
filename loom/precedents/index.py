"""The precedent index: original decisions by situation and class, by facts and context, and by their words."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from loom.decisions.decision import Decision
from loom.decisions.entries import DecisionJournalEntry
from loom.journal.admission import MAX_INTEGER
from loom.journal.entry import Recorded
from loom.projections.sql import script

__all__ = ["PrecedentsProjection", "facet_text"]

_INSERT = """
INSERT INTO precedents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL) ON CONFLICT DO NOTHING
"""
_FACET = "INSERT INTO precedent_facets VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_WORDS = "INSERT INTO precedent_words (rowid, rationale, reasoning) VALUES (?, ?, ?)"
_EXCLUDE = "UPDATE precedents SET excluded = ? WHERE journal = ? AND command_id = ?"

_MAX_FACETS = 64
_MAX_FACET = 256  # characters of a name or a value; nobody searches for longer ones


class PrecedentsProjection:
    """Keeps every original decision as a precedent, until its turn fails or is given up."""

    name = "precedents"
    version = 1
    kinds = frozenset({"decision", "turn_failed", "turn_abandoned"})
    schema = script("loom.precedents", "index.sql")
    tables = ("precedents", "precedent_facets", "precedent_words")

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables."""
        if recorded.kind != "decision":
            excluded = recorded.kind.removeprefix("turn_")
            view.execute(_EXCLUDE, (excluded, recorded.journal, recorded.command_id))
            return
        entry = recorded.entry
        if not isinstance(entry, DecisionJournalEntry) or entry.decision.origin != "original":
            return
        decision = entry.decision
        if view.execute(_INSERT, _row(recorded, decision)).rowcount:
            view.executemany(_FACET, [(*facet, recorded.position) for facet in _facets(decision)])
            view.execute(_WORDS, (recorded.position, decision.rationale, "\n".join(decision.reasoning)))


def facet_text(value: JsonValue) -> str | None:
    """Return the one text that a scalar has in the index, None for what is no scalar: 15.0 is 15, true is not 1."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_INTEGER:
        value = int(value)
    if isinstance(value, dict | list):
        return None
    return json.dumps(value, ensure_ascii=False)


def _row(recorded: Recorded, decision: Decision) -> tuple[object, ...]:
    kind = decision.precedent_class
    return (
        recorded.position, decision.decision_id, recorded.journal, recorded.command_id, decision.decision_type,
        None if kind is None else kind.rule, None if kind is None else kind.situation,
        None if kind is None else kind.precedent, json.dumps(decision.outcome, ensure_ascii=False),
        decision.rationale, int(decision.is_exception), recorded.recorded_at_us,
    )  # fmt: skip


def _facets(decision: Decision) -> list[tuple[str, str]]:
    """Return names and values of what a case can be found by, in a fixed order and bounded."""
    found: dict[tuple[str, str], None] = {}
    for source in (decision.facts or {}, decision.context):
        for name, value in _flat(source):
            text = facet_text(value)
            if text is not None and len(text) <= _MAX_FACET and len(name) <= _MAX_FACET:
                found[name, text] = None
    return list(found)[:_MAX_FACETS]


def _flat(source: Mapping[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    for name, value in source.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", item) for inner, item in value.items())
        else:
            yield name, value
