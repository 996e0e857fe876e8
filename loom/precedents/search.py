"""Searching precedents: filters before the limit, newest first, and nothing that a user writes becomes a query."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.clock import datetime_from_us
from loom.decisions.entries import PrecedentFound
from loom.errors import AdmissionError, DecisionNotFoundError
from loom.precedents.index import facet_text
from loom.projections import Queries
from loom.projections.sql import prefix_range

__all__ = ["PrecedentSupport", "Precedents", "match_expression"]

_COLUMNS = """
p.decision_id, p.journal, p.decision_type, p.rationale, p.outcome, p.is_exception, p.recorded_at_us, p.situation,
p.precedent
"""
_FIND = f"SELECT {_COLUMNS} FROM precedents AS p"  # noqa: S608 - constants only
_FIND_BY_FACET = f"""
SELECT {_COLUMNS} FROM precedent_facets AS f CROSS JOIN precedents AS p ON p.position = f.position
"""  # noqa: S608
_USABLE = "p.excluded IS NULL AND p.position < :before"
_FIRST_FACET = "f.name = :facet_0 AND f.value = :value_0"
_ALSO_FACET = """
EXISTS (SELECT 1 FROM precedent_facets AS g
        WHERE g.name = :facet_{0} AND g.value = :value_{0} AND g.position = p.position)
"""
_WORDS = "p.position IN (SELECT rowid FROM precedent_words WHERE precedent_words MATCH :words)"
_SITUATION = "p.situation = :situation"
_PRECEDENT = "p.precedent = :precedent"
_TYPE = "p.decision_type = :decision_type"
_EXCLUDE = "NOT (p.journal = :journal AND p.command_id IS :command_id)"
_NEWEST = "ORDER BY p.position DESC LIMIT :limit"
_NEWEST_OF_FACET = "ORDER BY f.position DESC LIMIT :limit"
_SUPPORT = """
SELECT class.precedent, class.support, oldest.recorded_at_us AS first_at_us, newest.recorded_at_us AS last_at_us,
  newest.rule, newest.situation, newest.decision_type, newest.outcome, newest.decision_id
FROM (
  SELECT precedent, count(*) AS support, min(position) AS first, max(position) AS last FROM precedents
  WHERE excluded IS NULL AND precedent IS NOT NULL AND (:precedent IS NULL OR precedent = :precedent)
  GROUP BY precedent ORDER BY support DESC, precedent LIMIT :limit
) AS class
JOIN precedents AS oldest ON oldest.position = class.first
JOIN precedents AS newest ON newest.position = class.last
ORDER BY class.support DESC, class.precedent
"""
_CLASS_OF = "SELECT decision_id, precedent FROM precedents WHERE decision_id >= ? AND decision_id < ? LIMIT 3"
_NAMES = ("precedents",)
_MAX_FACETS = 16
_MAX_TERMS = 32


class PrecedentSupport(BaseModel):
    """A class of decisions that had like facts and a like outcome, and how many there are.

    `outcome`, `decision_type` and `decision_id` are those of the newest one.
    """

    model_config = ConfigDict(frozen=True)

    precedent: str
    situation: str
    rule: str
    support: int
    first_at: datetime
    last_at: datetime
    decision_id: str
    decision_type: str
    outcome: dict[str, JsonValue]


class Precedents:
    """Finds earlier decisions. Those that were replayed, or whose turn failed or was given up, are none."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def find(
        self,
        *,
        situation: str | None = None,
        precedent: str | None = None,
        facets: Mapping[str, JsonValue] | None = None,
        text: str | None = None,
        decision_type: str | None = None,
        exclude_turn: tuple[str, str] | None = None,
        limit: int = 5,
        before: int | None = None,
    ) -> tuple[PrecedentFound, ...]:
        """Return the decisions that match everything given, newest first.

        `facets` are facts or context, exact. `text` is words, all of which stand in rationale or reasoning. `before` is
        a position, to see what somebody saw who looked then.
        """
        bound: dict[str, object] = {"limit": limit, "before": 2**63 - 1 if before is None else before}
        conditions = [_USABLE]
        for name, value, condition in (
            ("situation", situation, _SITUATION),
            ("precedent", precedent, _PRECEDENT),
            ("decision_type", decision_type, _TYPE),
        ):
            if value is not None:
                conditions.append(condition)
                bound[name] = value
        if text is not None:
            words = match_expression(text)
            if not words:
                return ()
            conditions.append(_WORDS)
            bound["words"] = words
        if exclude_turn is not None:
            conditions.append(_EXCLUDE)
            bound["journal"], bound["command_id"] = exclude_turn
        conditions += _facet_conditions(facets or {}, bound)
        select, order = (_FIND_BY_FACET, _NEWEST_OF_FACET) if facets else (_FIND, _NEWEST)
        statement = f"{select} WHERE {' AND '.join(conditions)} {order}"
        return tuple(_found(row) for row in await self._queries.fetch(statement, bound, names=_NAMES))

    async def classes(self, *, limit: int = 50) -> tuple[PrecedentSupport, ...]:
        """Return the classes by how many decisions they have, largest first; the outcome is part of a class."""
        rows = await self._queries.fetch(_SUPPORT, {"precedent": None, "limit": limit}, names=_NAMES)
        return tuple(_support(row) for row in rows)

    async def of(self, decision_id: str) -> PrecedentSupport | None:
        """Return the class of a decision, by its id or how that begins.

        None for a decision without a class, or whose class has no usable decision. Raises `DecisionNotFoundError`.
        """
        rows = await self._queries.fetch(_CLASS_OF, prefix_range(decision_id), names=_NAMES)
        found = [row for row in rows if row["decision_id"] == decision_id] or rows
        if len(found) != 1:
            raise DecisionNotFoundError(
                f"decision [{decision_id!r:.80}] is {'ambiguous' if found else 'not known'} as a precedent; "
                "expected [the id of one original decision, or how only one begins]: see `loom decisions`"
            )
        if found[0]["precedent"] is None:
            return None
        parameters = {"precedent": found[0]["precedent"], "limit": 1}
        classes = await self._queries.fetch(_SUPPORT, parameters, names=_NAMES, consistent=False)
        return _support(classes[0]) if classes else None


def match_expression(text: str) -> str:
    """Return words as an FTS5 expression that asks for all of them; whatever they look like, they are words."""
    words = (word for word in text.replace("\x00", " ").split() if any(map(str.isalnum, word)))
    quoted = ['"' + word.replace('"', '""') + '"' for word in words]
    return " ".join(quoted[:_MAX_TERMS]).encode("utf-8", "replace").decode()


def _facet_conditions(facets: Mapping[str, JsonValue], bound: dict[str, object]) -> list[str]:
    if len(facets) > _MAX_FACETS:
        raise AdmissionError(
            f"[{len(facets)}] facets were given; expected at most [{_MAX_FACETS}]: drop the least telling"
        )
    for number, (name, value) in enumerate(facets.items()):
        text = facet_text(value)
        if text is None:
            raise AdmissionError(
                f"facet [{name}] is [{value!r:.60}]; expected a scalar: name a part of it, as in {name}.part",
                path=f"$.{name}",
            )
        bound[f"facet_{number}"], bound[f"value_{number}"] = name, text
    also = [_ALSO_FACET.format(number) for number in range(1, len(facets))]
    return [_FIRST_FACET, *also] if facets else []


def _found(row: sqlite3.Row) -> PrecedentFound:
    return PrecedentFound(
        decision_id=row["decision_id"],
        journal=row["journal"],
        decision_type=row["decision_type"],
        rationale=row["rationale"],
        outcome=json.loads(row["outcome"]),
        is_exception=bool(row["is_exception"]),
        recorded_at=datetime_from_us(row["recorded_at_us"]),
        situation=row["situation"],
        precedent=row["precedent"],
    )


def _support(row: sqlite3.Row) -> PrecedentSupport:
    return PrecedentSupport(
        precedent=row["precedent"],
        situation=row["situation"],
        rule=row["rule"],
        support=row["support"],
        first_at=datetime_from_us(row["first_at_us"]),
        last_at=datetime_from_us(row["last_at_us"]),
        decision_id=row["decision_id"],
        decision_type=row["decision_type"],
        outcome=json.loads(row["outcome"]),
    )
