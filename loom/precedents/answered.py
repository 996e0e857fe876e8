"""How earlier cases of a class were answered by people: an answer that goes against them says why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from loom.decisions.confirming import Confirmed
from loom.precedents.hits import Hits
from loom.projections import Queries

__all__ = ["EarlierAnswer", "EarlierAnswers", "earlier_answers"]

_CASES = """
SELECT p.position, p.decision_id, p.journal, p.command_id, p.decision_type, p.rationale, p.outcome, p.is_exception,
  p.recorded_at_us, p.situation, p.precedent, p.policy_name, p.policy_version, p.policy_hash, p.excluded,
  p.overruled_by, CASE WHEN p.overruled_by IS NOT NULL THEN
  (SELECT later.position FROM precedents AS later WHERE later.decision_id = p.overruled_by) END AS overruled_at
FROM precedents AS p WHERE p.situation = :situation AND p.excluded IS NULL ORDER BY p.position DESC LIMIT :limit
"""
_NAMES = ("precedents",)
_LOOKED_AT = 200
_NAMED = 5


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class EarlierAnswer(_Frozen):
    """The answer of a person in an earlier decision."""

    decision_id: str
    granted: bool
    by: str
    identity_source: str | None = None
    via: str | None = None
    answered_at: datetime
    comment: str | None


class EarlierAnswers(_Frozen):
    """The answers to earlier cases of a class: how many granted and denied, and each, newest first.

    The newest 200 decisions are read. Overruled ones are left out, and those in which no person answered.
    """

    granted: int = 0
    denied: int = 0
    answers: tuple[EarlierAnswer, ...] = ()

    def against(self, *, granted: bool) -> tuple[str, ...]:
        """Return the last decisions that were answered otherwise, if most were; none if this answer follows most."""
        same, otherwise = (self.granted, self.denied) if granted else (self.denied, self.granted)
        if otherwise <= same:
            return ()
        return tuple(each.decision_id for each in self.answers if each.granted != granted)[:_NAMED]


async def earlier_answers(
    queries: Queries, hits: Hits, situation: str, *, exclude_turn: tuple[str, str] | None
) -> EarlierAnswers:
    """Return how people answered in earlier decisions of a situation, by its full key; not those of one turn."""
    rows = await queries.fetch(_CASES, {"situation": situation, "limit": _LOOKED_AT}, names=_NAMES)
    others = [row for row in rows if (row["journal"], row["command_id"]) != exclude_turn]
    found = [_answer(each) for each in await hits.confirmed(others, also=("approvals",), by_class=True)]
    return _counted([each for each in found if each is not None])


def _counted(answers: Sequence[EarlierAnswer]) -> EarlierAnswers:
    granted = sum(each.granted for each in answers)
    return EarlierAnswers(granted=granted, denied=len(answers) - granted, answers=tuple(answers))


def _answer(case: Confirmed) -> EarlierAnswer | None:
    """Return the last answer of a person in a decision."""
    if case.row["superseded"] == "overruled":
        return None
    named = [each for each in case.decision.get("approvals") or () if each.get("by")]
    if not named:
        return None
    last = max(named, key=lambda each: datetime.fromisoformat(each["answered_at"]))
    return EarlierAnswer(
        decision_id=case.row["decision_id"],
        granted=last["granted"],
        by=last["by"],
        identity_source=last.get("identity_source"),
        via=last.get("via"),
        answered_at=last["answered_at"],
        comment=last.get("comment"),
    )
