"""The precedent index: original decisions by situation and class, by facts and context, and by their words."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from loom.decisions.conduct import verdict_in
from loom.decisions.confirming import EXCLUDED
from loom.decisions.entries import DECISIONS, DecisionJournalEntry, RunEndedEntry
from loom.decisions.imports import IMPORT_ENDS
from loom.decisions.rows import Header, decided_at_us, written_decision
from loom.journal.admission import MAX_INTEGER
from loom.journal.entry import Recorded
from loom.policies.entries import PolicyAdoptedEntry
from loom.precedents.entries import EquivalenceRuleRegisteredEntry
from loom.precedents.sealed_class import OpenedClass
from loom.precedents.sums import SUM_TABLES, count_decision, count_import, declare_facets, drop_import
from loom.projections.published import Published
from loom.projections.sql import script
from loom.sealing.markers import placeholder_of

__all__ = [
    "ROW",
    "WORDS",
    "PrecedentsProjection",
    "confirmable_row",
    "facet_text",
    "facets_of",
    "is_original",
    "overruled_in",
    "precedent_row",
    "uncount",
    "words_of",
]

_INSERT = """
INSERT INTO precedents (
  position, decision_id, journal, command_id, decision_type, rule, situation, precedent, outcome, rationale,
  is_exception, recorded_at_us, policy_name, policy_version, policy_hash, import_id, excluded, decided_at_us, effect,
  verdict, overruled_by
)
VALUES (:position, :decision_id, :journal, :command_id, :decision_type, :rule, :situation, :precedent, :outcome,
  :rationale, :is_exception, :recorded_at_us, :policy_name, :policy_version, :policy_hash, :import_id, :excluded,
  :decided_at_us, :effect, :verdict, (
    SELECT later.decision_id FROM precedent_overrulings AS o JOIN precedents AS later USING (position)
    WHERE o.decision_id = :decision_id ORDER BY o.position LIMIT 1
  ))
ON CONFLICT DO NOTHING
"""
_COUNT_CLASS = """
INSERT INTO precedent_classes VALUES (:precedent, :rule, :situation, 1)
ON CONFLICT DO UPDATE SET support = support + 1
"""
_COUNT_POLICY = """
INSERT INTO precedent_supports VALUES (:precedent, :policy_name, :policy_hash, 1)
ON CONFLICT DO UPDATE SET support = support + 1
"""
_OVERRULE = "INSERT INTO precedent_overrulings VALUES (?, ?) ON CONFLICT DO NOTHING"
_MARK = """
UPDATE precedents SET overruled_by = (
  SELECT later.decision_id FROM precedent_overrulings AS o JOIN precedents AS later USING (position)
  WHERE o.decision_id = precedents.decision_id ORDER BY o.position LIMIT 1
)
WHERE decision_id = ?
"""
_ADOPT = "INSERT INTO precedent_policies VALUES (?, ?) ON CONFLICT DO UPDATE SET hash = excluded.hash"
_OF_TURN = """
SELECT position, precedent, policy_name, policy_hash FROM precedents
WHERE journal = ? AND command_id = ? AND excluded IS NULL ORDER BY position
"""
_OF_FAILED = """
SELECT position, decision_id, precedent, rule, situation, policy_name, policy_hash FROM precedents
WHERE journal = ? AND command_id = ? AND excluded = 'failed' ORDER BY position
"""
_LIFTED = "failure_lifted"
_COUNT_IMPORTED = """
INSERT INTO precedent_classes SELECT precedent, rule, situation, count(*) FROM precedents
WHERE import_id = ? AND excluded = 'unfinished' AND precedent IS NOT NULL GROUP BY precedent
ON CONFLICT DO UPDATE SET support = support + excluded.support
"""
_IMPORTED = "UPDATE precedents SET excluded = ? WHERE import_id = ? AND excluded = 'unfinished'"
_EXCLUDE = "UPDATE precedents SET excluded = ? WHERE position = ?"
_UNCOUNT = (
    "UPDATE precedent_classes SET support = support - 1 WHERE precedent = :precedent",
    "DELETE FROM precedent_classes WHERE precedent = :precedent AND support = 0",
    "UPDATE precedent_supports SET support = support - 1 "
    "WHERE precedent = :precedent AND policy_name = :policy_name AND policy_hash = :policy_hash",
    "DELETE FROM precedent_supports "
    "WHERE precedent = :precedent AND policy_name = :policy_name AND policy_hash = :policy_hash AND support = 0",
)
_OVERRULED_AT = "SELECT decision_id FROM precedent_overrulings WHERE position = ? ORDER BY decision_id"
_UNOVERRULE = "DELETE FROM precedent_overrulings WHERE position = ?"
_FACET = "INSERT INTO precedent_facets VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
WORDS = "INSERT INTO precedent_words (rowid, rationale, reasoning) VALUES (?, ?, ?)"

ROW = (
    "decision_id",
    "decision_type",
    "precedent_class",
    "outcome",
    "rationale",
    "is_exception",
    "policy",
    "origin",
    "run_id",
    "sealed_class",
)
"""The parts of a decision that its row is made of, and whether it has one."""

CLASS = frozenset({"rule", "situation", "precedent"})
"""The columns of a row that its class is in."""

_NOT_IMPORTED = {"import_id": None, "excluded": None}
_MAX_FACETS = 64
_as_text = json.JSONEncoder(ensure_ascii=False).encode  # `dumps` with arguments makes an encoder each time
_MAX_FACET = 256  # characters of a name or a value; longer ones are not searched for


class PrecedentsProjection:
    """Keeps every original decision as a precedent, unless its turn fails or is abandoned, and every observed one.

    Imported decisions count from the end of their import on.

    It also counts the classes, sums decisions up by day and declared facet, and keeps the reasons why a precedent is
    superseded: which policy versions are adopted, and which decisions were overruled.
    """

    name = "precedents"
    version = 6
    kinds = frozenset(
        {
            "policy_adopted",
            _LIFTED,
            "equivalence_rule_registered",
            "run_ended",
            "turn_failed",
            "turn_abandoned",
            *DECISIONS,
        }
    )
    schema = script("loom.precedents", "index.sql") + script("loom.precedents", "sums.sql")
    tables = (
        "precedents",
        "precedent_classes",
        "precedent_supports",
        "precedent_policies",
        "precedent_overrulings",
        "precedent_facets",
        "precedent_words",
        "precedent_sealed",
        "precedent_closed",
        *SUM_TABLES,
    )
    publish = (Published("precedents", text=("rationale",), indexes=(("recorded_at_us",),)),)
    opened_tables: Mapping[str, frozenset[str]] = {
        "precedents": CLASS,
        **dict.fromkeys(
            ("precedent_classes", "precedent_supports", "precedent_sealed", "precedent_closed"), frozenset[str]()
        ),
    }

    def is_closed(self, recorded: Recorded) -> bool:
        """Return whether a decision has a sealed class, and no one has tried to open it."""
        if recorded.kind != DecisionJournalEntry.kind or recorded.opened is not None:
            return False
        return (written_decision(recorded) or {}).get("sealed_class") is not None

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        """Fold one entry into the tables."""
        if recorded.kind in ("turn_failed", "turn_abandoned"):
            _exclude(recorded, view)
            return
        if recorded.kind == _LIFTED:
            _readmit(recorded, view)
            return
        decision = written_decision(recorded)
        if decision is not None:
            if is_original(decision):
                _include(recorded, decision, view)
            return
        entry = recorded.entry
        if isinstance(entry, RunEndedEntry):
            excluded = EXCLUDED[IMPORT_ENDS[entry.status]]
            if excluded is None:
                view.execute(_COUNT_IMPORTED, (entry.run_id,))
                count_import(view, entry.run_id)
            else:
                drop_import(view, entry.run_id)
            view.execute(_IMPORTED, (excluded, entry.run_id))
        elif isinstance(entry, PolicyAdoptedEntry):
            view.execute(_ADOPT, (entry.name, entry.hash))
        elif isinstance(entry, EquivalenceRuleRegisteredEntry):
            declare_facets(view, entry.document)


def _include(recorded: Recorded, decision: Mapping[str, Any], view: sqlite3.Connection) -> None:
    opened = recorded.opened if isinstance(recorded.opened, OpenedClass) else None
    if opened is not None:
        decision = {**decision, "precedent_class": opened.alike}
    observed, evaluation = decision.get("origin") == "observed", decision.get("evaluation")
    row = {
        **precedent_row(recorded, decision),
        **({"import_id": decision.get("run_id"), "excluded": "unfinished"} if observed else _NOT_IMPORTED),
        "decided_at_us": decided_at_us(recorded, decision.get("decided_at")),
        "effect": None if evaluation is None else evaluation["effect"],
        "verdict": verdict_in(decision),
    }
    if not view.execute(_INSERT, row).rowcount:
        return
    if opened is not None and opened.alike is not None:
        subjects = [(recorded.position, *each) for each in opened.subjects.items()]
        view.executemany("INSERT INTO precedent_sealed VALUES (?, ?, ?)", subjects)
    elif opened is None and decision.get("sealed_class") is not None:
        view.execute("INSERT INTO precedent_closed VALUES (?)", (recorded.position,))
    if row["precedent"] is not None and not observed:
        view.execute(_COUNT_CLASS, row)
        view.execute(_COUNT_POLICY, row)
    facets = facets_of(decision)
    view.executemany(_FACET, [(*facet, recorded.position) for facet in facets])
    count_decision(view, row, facets)
    view.execute(WORDS, (recorded.position, *words_of(decision)))
    for overruled in overruled_in(decision):
        view.execute(_OVERRULE, (overruled, recorded.position))
        view.execute(_MARK, (overruled,))


def _exclude(recorded: Recorded, view: sqlite3.Connection) -> None:
    """Remove the decisions of a turn that failed or was abandoned from all counts."""
    turn = view.execute(_OF_TURN, (recorded.journal, recorded.command_id)).fetchall()
    for position, precedent, policy_name, policy_hash in turn:
        view.execute(_EXCLUDE, (recorded.kind.removeprefix("turn_"), position))
        if precedent is not None:
            counted = {"precedent": precedent, "policy_name": policy_name, "policy_hash": policy_hash}
            uncount(view, counted)
        overruled = view.execute(_OVERRULED_AT, (position,)).fetchall()
        view.execute(_UNOVERRULE, (position,))
        view.executemany(_MARK, overruled)


def _readmit(recorded: Recorded, view: sqlite3.Connection) -> None:
    """Count the decisions of a failed turn again, after a new attempt of it has succeeded."""
    overruled: dict[str, list[str]] = (recorded.plain or {}).get("overruled") or {}
    turn = view.execute(_OF_FAILED, (recorded.journal, recorded.command_id)).fetchall()
    for each in turn:
        row = dict(
            zip(
                ("position", "decision_id", "precedent", "rule", "situation", "policy_name", "policy_hash"),
                each,
                strict=True,
            )
        )
        view.execute(_EXCLUDE, (None, row["position"]))
        if row["precedent"] is not None:
            view.execute(_COUNT_CLASS, row)
            view.execute(_COUNT_POLICY, row)
        for earlier in overruled.get(row["decision_id"], ()):
            view.execute(_OVERRULE, (earlier, row["position"]))
            view.execute(_MARK, (earlier,))


def uncount(view: sqlite3.Connection, counted: Mapping[str, object]) -> None:
    """Take a decision out of the counts of its class, by that and its policy."""
    for statement in _UNCOUNT:
        view.execute(statement, counted)


def facet_text(value: JsonValue) -> str | None:
    """Return the canonical text of a scalar in the index, None for another value: 15.0 is 15, true is not 1."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_INTEGER:
        value = int(value)
    if isinstance(value, dict | list):
        return None
    return _as_text(value)


def precedent_row(header: Header, decision: Mapping[str, Any]) -> dict[str, object]:
    """Return column → value of the row of `precedents`, as far as the decision's own entry contains it."""
    policy, alike = decision.get("policy") or {}, decision.get("precedent_class") or {}
    return {
        "position": header.position,
        "decision_id": decision["decision_id"],
        "journal": header.journal,
        "command_id": header.command_id,
        "decision_type": decision["decision_type"],
        "rule": alike.get("rule"),
        "situation": alike.get("situation"),
        "precedent": alike.get("precedent"),
        "outcome": _as_text(decision.get("outcome") or {}),
        "rationale": decision["rationale"],
        "is_exception": int(decision.get("is_exception") or 0),
        "recorded_at_us": header.recorded_at_us,
        "policy_name": policy.get("name"),
        "policy_version": policy.get("version"),
        "policy_hash": policy.get("hash"),
    }


def confirmable_row(header: Header, decision: Mapping[str, Any]) -> dict[str, object]:
    """Return the row of `precedents` without the class, where that is sealed and could not be opened."""
    row = precedent_row(header, decision)
    if decision.get("sealed_class") is None or decision.get("precedent_class") is not None:
        return row
    return {name: value for name, value in row.items() if name not in CLASS}


def is_original(decision: Mapping[str, Any]) -> bool:
    """Tell whether a decision may be a precedent: a replayed one may not, an observed one may."""
    return (decision.get("origin") or "original") != "replayed"


def words_of(decision: Mapping[str, Any]) -> tuple[str, str]:
    """Return the words for the search of a decision: those of its rationale and of its reasoning."""
    return decision["rationale"], "\n".join(decision.get("reasoning") or ())


def overruled_in(decision: Mapping[str, Any]) -> list[str]:
    """Return the ids of the decisions that a decision overrules."""
    seen = decision.get("precedents") or ()
    return [each["decision_id"] for each in seen if each.get("relation", "followed") == "overruled"]


def facets_of(decision: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values for the search of a case, in a fixed order and limited in number."""
    found: dict[tuple[str, str], None] = {}
    for source in (decision.get("facts") or {}, decision.get("context") or {}):
        for name, value in _flat(source):
            text = facet_text(value)
            if text is not None and len(text) <= _MAX_FACET and len(name) <= _MAX_FACET:
                found[name, text] = None
    return list(found)[:_MAX_FACETS]


def _flat(source: Mapping[str, JsonValue]) -> Iterator[tuple[str, JsonValue]]:
    for name, value in source.items():
        if isinstance(value, dict):
            if placeholder_of(value) is not None:  # sealed values cannot be searched for
                continue
            yield from ((f"{name}.{inner}", item) for inner, item in value.items())
        else:
            yield name, value
