"""Which decisions are meant, and how they are read for judging: the recorded facts and evaluation, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from loom.decisions.finding import matching
from loom.projections import Queries

__all__ = ["Recalled", "Selection", "condition", "count", "recall"]

_PAGE = 2_000
_IDS = 400
_LOOK = """
SELECT trace_decisions.position, decision_id, journal, sequence, policy_name, policy_version, policy_hash, effect, rule,
  json_extract(CAST(body AS TEXT), '$.decision.evaluation.tier') AS tier,
  json_extract(CAST(body AS TEXT), '$.decision.facts') AS facts
FROM trace_decisions JOIN trace_bodies USING (position)
"""
_COUNT = "SELECT count(*) FROM trace_decisions"
_NAMES = ("traces",)


@dataclass(frozen=True, slots=True)
class Selection:
    """Decisions that match everything that is given; `ids` may be how ids begin. `until` itself is left out.

    Only original decisions are meant, unless `origin` is `replayed` or `any`, or a run or ids are given.
    """

    run_id: str | None = None
    journal: str | None = None
    policy: str | None = None
    policy_version: str | None = None
    actor_type: str | None = None
    actor_key: str | None = None
    decision_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    origin: Literal["original", "replayed", "any"] | None = None
    ids: tuple[str, ...] = ()

    def plain(self) -> dict[str, object]:
        """Return what is given, as JSON has it."""
        shown = {key: value for key, value in asdict(self).items() if value not in (None, ())}
        return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in shown.items()}


class Recalled(NamedTuple):
    """What judging needs of a decision: where it stands, its version, what was said then, and the facts as JSON."""

    position: int
    decision_id: str
    journal: str
    sequence: int
    policy_name: str
    policy_version: str
    policy_hash: str
    effect: str | None
    rule: str | None
    tier: str | None
    facts: str | None


async def recall(queries: Queries, selection: Selection) -> AsyncIterator[list[Recalled]]:
    """Yield the decisions of a selection in pages, oldest first."""
    conditions, parameters = _conditions(selection)
    position = 0
    while True:
        where = " AND ".join([*conditions, "trace_decisions.position > :behind"])
        statement = f"{_LOOK} WHERE {where} ORDER BY trace_decisions.position LIMIT {_PAGE}"
        rows = await queries.fetch(statement, {**parameters, "behind": position}, names=_NAMES)
        page = [Recalled(*row) for row in rows]
        if page:
            yield page
        if len(page) < _PAGE:
            return
        position = page[-1].position


async def count(queries: Queries, selection: Selection) -> int:
    """Return how many decisions a selection has."""
    where, parameters = condition(selection)
    return int((await queries.fetch(f"{_COUNT} WHERE {where}", parameters, names=_NAMES))[0][0])


def condition(selection: Selection) -> tuple[str, dict[str, Any]]:
    """Return the condition on the view's decisions that those of a selection meet, and its parameters."""
    conditions, parameters = _conditions(selection)
    return " AND ".join(conditions) or "true", parameters


def _conditions(selection: Selection) -> tuple[list[str], dict[str, Any]]:
    given = asdict(selection)
    ids: Sequence[str] = given.pop("ids")
    journal = given.pop("journal")
    if given["origin"] is None and given["run_id"] is None and not ids:
        given["origin"] = "original"
    elif given["origin"] == "any":
        given["origin"] = None
    if journal is not None:
        given["actor_type"], _, given["actor_key"] = journal.partition("/")
    condition, parameters = matching(given)
    conditions = [condition] if condition else []
    if ids:
        alternatives = []
        for number, begin in enumerate(ids[:_IDS]):
            parameters[f"id_{number}"], parameters[f"id_{number}_end"] = begin, begin + "\U0010ffff"
            alternatives.append(f"(decision_id >= :id_{number} AND decision_id < :id_{number}_end)")
        conditions.append(f"({' OR '.join(alternatives)})")
    return conditions, parameters
