"""Sums of decisions, kept per day, month and year and by the value of each declared facet, as decisions come in.

Each attribute of the last version of an equivalence rule is a declared facet. A facet that is declared later is counted
over all earlier decisions, too. Decisions of an import count from the end of that import on.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from loom.errors import AdmissionError
from loom.precedents.attributes import Attribute, Bin, FromContext, SetOf, declared

__all__ = [
    "DAY",
    "DAY_US",
    "EVERY",
    "MONTH",
    "OTHERS",
    "SUM_TABLES",
    "YEAR",
    "count_decision",
    "count_import",
    "declaration_of",
    "declare_facets",
    "drop_import",
    "month_of",
    "value_text",
]

DAY, MONTH, YEAR = 0, 1, 2
"""The period of a sum, UTC: a day since 1970; a month, as year * 12 + month from 0; a year."""

EVERY = 0
"""The facet that every decision has."""

OTHERS = ""
"""The value in place of all values without sums of their own."""

SUM_TABLES = (
    "precedent_sum_facets",
    "precedent_sum_rules",
    "precedent_sum_values",
    "precedent_sum_groups",
    "precedent_sums",
    "precedent_sums_waiting",
)
DAY_US = 86_400_000_000
_MOST_FACETS = 64
_MOST_VALUES = 256
_FACETS = "SELECT facet, name, declaration FROM precedent_sum_facets ORDER BY facet"
_ADD_FACET = "INSERT INTO precedent_sum_facets (name, declaration) VALUES (?, ?)"
_ADD_EVERY = "INSERT INTO precedent_sum_facets VALUES (0, '', '') ON CONFLICT DO NOTHING"
_DECLARED_BY = "SELECT declaration FROM precedent_sum_rules WHERE rule = ?"
_DECLARE = "INSERT INTO precedent_sum_rules VALUES (?, ?) ON CONFLICT DO NOTHING"
_WITHDRAW = "DELETE FROM precedent_sum_rules WHERE rule = ? AND declaration = ?"
_UNUSED = """
SELECT facet FROM precedent_sum_facets AS f
WHERE facet > 0 AND NOT EXISTS (SELECT 1 FROM precedent_sum_rules AS r WHERE r.declaration = f.declaration)
"""
_FORGET = tuple(
    f"DELETE FROM {table} WHERE facet = ?"  # noqa: S608 - constants only
    for table in ("precedent_sums", "precedent_sums_waiting", "precedent_sum_values", "precedent_sum_facets")
)
_VALUE = "SELECT number FROM precedent_sum_values WHERE facet = ? AND value = ?"
_VALUES = "SELECT max(number) FROM precedent_sum_values WHERE facet = ?"
_ADD_VALUE = "INSERT INTO precedent_sum_values VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_GROUP = """
SELECT grp FROM precedent_sum_groups WHERE origin = ? AND decision_type = ? AND actor_type = ? AND policy = ?
  AND effect = ? AND verdict = ? AND is_exception = ?
"""
_ADD_GROUP = """
INSERT INTO precedent_sum_groups (origin, decision_type, actor_type, policy, effect, verdict, is_exception)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_COUNT = """
INSERT INTO precedent_sums VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET decisions = decisions + excluded.decisions
"""
_WAIT = """
INSERT INTO precedent_sums_waiting VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET decisions = decisions + excluded.decisions
"""
_WAITING = """
SELECT facet, value, decided_day, recorded_day, grp, decisions FROM precedent_sums_waiting WHERE import_id = ?
"""
_DROP = "DELETE FROM precedent_sums_waiting WHERE import_id = ?"
_SHARED = f"""
  iif(excluded = 'unfinished', import_id, '') AS waits_for, decided_at_us / {DAY_US} AS decided,
  recorded_at_us / {DAY_US} AS recorded, iif(import_id IS NULL, 'original', 'observed') AS origin, decision_type,
  substr(journal, 1, instr(journal, '/') - 1) AS actor_type, coalesce(policy_name, '') AS policy,
  coalesce(effect, '') AS said, coalesce(verdict, '') AS done, is_exception, count(*) AS decisions
"""
_COUNTED = """
(excluded IS NULL OR iif(import_id IS NULL, excluded IN ('failed', 'abandoned'), excluded = 'unfinished'))
"""
_GROUPED = """
GROUP BY 1, waits_for, decided, recorded, origin, decision_type, actor_type, policy, said, done, is_exception
"""
_OF_ALL = f"SELECT 0 AS value, {_SHARED} FROM precedents WHERE {_COUNTED} {_GROUPED}"  # noqa: S608
_NUMBERED = (
    "CREATE TEMP TABLE IF NOT EXISTS numbered (value TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID",
    "DELETE FROM temp.numbered",
)
_ADD_NUMBER = "INSERT INTO temp.numbered VALUES (?, ?)"
_OF_ONE = f"""
SELECT coalesce(n.number, :other) AS value, {_SHARED}
FROM precedent_facets AS f CROSS JOIN precedents AS p ON p.position = f.position
LEFT JOIN temp.numbered AS n ON n.value = f.value
WHERE f.name = :name AND {_COUNTED} {_GROUPED} HAVING coalesce(n.number, :other) IS NOT NULL
ORDER BY min(f.position), 1
"""  # noqa: S608
_FREQUENT = "SELECT value FROM precedent_facets WHERE name = ? GROUP BY value ORDER BY count(*) DESC, value LIMIT ?"


def count_decision(view: sqlite3.Connection, row: Mapping[str, Any], facets: Iterable[tuple[str, str]]) -> None:
    """Count a decision, by its row of `precedents`, in the sums of its facets; that of an import waits for its end."""
    known = view.execute(_FACETS).fetchall()
    observed = row["excluded"] is not None
    if not known or (observed and row["import_id"] is None):
        return
    group = _group(
        view,
        (
            "observed" if observed else "original",
            row["decision_type"],
            row["journal"].partition("/")[0],
            row["policy_name"] or "",
            row["effect"] or "",
            row["verdict"] or "",
            row["is_exception"],
        ),
    )
    said: dict[str, list[str]] = {}
    for name, text in facets:
        said.setdefault(name, []).append(text)
    days = row["decided_at_us"] // DAY_US, row["recorded_at_us"] // DAY_US
    for facet, name, declaration in known:
        for text in ("",) if facet == EVERY else said.get(name, ()):
            value = text if facet == EVERY else value_text(declaration, text)
            if value is not None:
                _count(view, row["import_id"] or "", facet, _number(view, facet, value), *days, group, 1)


def count_import(view: sqlite3.Connection, import_id: str) -> None:
    """Count the decisions of an import that has ended."""
    for each in view.execute(_WAITING, (import_id,)).fetchall():
        _count(view, "", *each)
    drop_import(view, import_id)


def drop_import(view: sqlite3.Connection, import_id: str) -> None:
    """Leave out the decisions of an import that was abandoned."""
    view.execute(_DROP, (import_id,))


def declare_facets(view: sqlite3.Connection, document: Mapping[str, Any]) -> None:
    """Keep sums by the attributes of a rule, and no longer by those that only an earlier version of it had."""
    rule, wanted = str(document.get("name")), dict(_facets_in(document))
    before = {declaration for (declaration,) in view.execute(_DECLARED_BY, (rule,)).fetchall()}
    for gone in sorted(before - wanted.keys()):
        view.execute(_WITHDRAW, (rule, gone))
    known = {declaration for _, _, declaration in view.execute(_FACETS).fetchall()}
    fresh: list[tuple[str, str]] = []
    for declaration, name in wanted.items():
        if declaration not in known:
            if len(known) + len(fresh) >= _MOST_FACETS:
                continue
            fresh.append((name, declaration))
        view.execute(_DECLARE, (rule, declaration))
    for (facet,) in view.execute(_UNUSED).fetchall():
        for statement in _FORGET:
            view.execute(statement, (facet,))
    if fresh and view.execute(_ADD_EVERY).rowcount:
        _number(view, EVERY, OTHERS)
        _count_all(view, EVERY, view.execute(_OF_ALL))
    for name, declaration in fresh:
        facet = view.execute(_ADD_FACET, (name, declaration)).lastrowid or 0
        other = _number_values(view, facet, name, declaration)
        _count_all(view, facet, view.execute(_OF_ONE, {"name": name, "other": other}))


def declaration_of(attribute: Attribute) -> str | None:
    """Return the text that identifies a declared facet; None for an attribute without sums."""
    if isinstance(attribute, FromContext):
        attribute = attribute.inner
    if isinstance(attribute, SetOf) or (not isinstance(attribute, str) and attribute.keyed):
        return None
    name = attribute if isinstance(attribute, str) else attribute.name
    if name.count(".") > 1:  # facets are at most one level deep in objects
        return None
    plain = attribute.declaration() if isinstance(attribute, Bin) else {"exact": name}
    return json.dumps(plain, ensure_ascii=False, sort_keys=True)


def value_text(declaration: str, text: str) -> str | None:
    """Return the value of a facet under which a recorded one counts: itself, or its part; None for one in no part."""
    parts = _bin_of(declaration)
    if parts is None:
        return text
    try:
        return parts.part(json.loads(text))
    except AdmissionError:
        return None


def month_of(day: int) -> int:
    """Return the month of a day, as year * 12 + month from 0."""
    at = datetime.fromtimestamp(day * 86_400, UTC)
    return at.year * 12 + at.month - 1


def _facets_in(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield declaration and name of each facet of a rule; an empty rule is refused where rules are read."""
    attributes = document.get("attributes")
    for each in attributes if isinstance(attributes, list) else ():
        try:
            attribute = declared(each)
            declaration = declaration_of(attribute)
        except (AdmissionError, AttributeError, KeyError, TypeError, ValueError):
            continue
        if declaration is not None:
            inner = attribute.inner if isinstance(attribute, FromContext) else attribute
            yield declaration, inner if isinstance(inner, str) else inner.name


@lru_cache(maxsize=256)
def _bin_of(declaration: str) -> Bin | None:
    attribute = declared(json.loads(declaration))
    return attribute if isinstance(attribute, Bin) else None


def _number_values(view: sqlite3.Connection, facet: int, name: str, declaration: str) -> int | None:
    """Give numbers to the most frequent values, or to the parts, up to `_OF_ONE`; return the number of all others."""
    for statement in _NUMBERED:
        view.execute(statement)
    most = _MOST_VALUES if _bin_of(declaration) is None else -1
    for (text,) in view.execute(_FREQUENT, (name, most)).fetchall():
        value = value_text(declaration, text)
        if value is not None:
            view.execute(_ADD_NUMBER, (text, _number(view, facet, value)))
    return 0 if most > 0 else None


def _count_all(view: sqlite3.Connection, facet: int, rows: sqlite3.Cursor) -> None:
    for number, waits_for, decided, recorded, *about, decisions in rows.fetchall():
        _count(view, waits_for, facet, int(number), decided, recorded, _group(view, tuple(about)), decisions)


def _count(
    view: sqlite3.Connection,
    waits_for: str,
    facet: int,
    number: int,
    decided: int,
    recorded: int,
    group: int,
    decisions: int,
) -> None:
    if waits_for:
        view.execute(_WAIT, (waits_for, facet, number, decided, recorded, group, decisions))
        return
    for by_time, day in ((0, decided),) if decided == recorded else ((1, decided), (2, recorded)):
        month = _month(day)
        for span, begin in ((DAY, day), (MONTH, month), (YEAR, month // 12)):
            view.execute(_COUNT, (facet, by_time, number, span, begin, group, decisions))


_month = lru_cache(maxsize=4_096)(month_of)


def _number(view: sqlite3.Connection, facet: int, value: str) -> int:
    """Return the number of a value: its own, as long as numbers are left."""
    found = view.execute(_VALUE, (facet, value)).fetchone()
    if found is not None:
        return int(found[0])
    last = view.execute(_VALUES, (facet,)).fetchone()[0]
    if last is None:
        view.execute(_ADD_VALUE, (facet, OTHERS, 0))
        last = 0
    if value == OTHERS or last >= _MOST_VALUES:
        return 0
    view.execute(_ADD_VALUE, (facet, value, last + 1))
    return int(last) + 1


def _group(view: sqlite3.Connection, row: tuple[object, ...]) -> int:
    found = view.execute(_GROUP, row).fetchone()
    return int(found[0]) if found is not None else view.execute(_ADD_GROUP, row).lastrowid or 0
