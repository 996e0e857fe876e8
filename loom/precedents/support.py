"""A class of precedents and one of its decisions, as they are read."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.decisions.entries import PrecedentFound

__all__ = ["PrecedentMember", "PrecedentSupport"]


class PrecedentSupport(BaseModel):
    """A class of decisions with similar facts and outcome, and their number.

    `words` name it by its attributes, as its newest decision has them; empty under a rule that is not known here.
    `outcome`, `decision_type` and `decision_id` are those of the newest one. `rule` is the full hash of the rule that
    made the class. `superseded` says how many of `support` are no longer valid: their policy version is not the adopted
    one any more, or a later decision overruled them.
    """

    model_config = ConfigDict(frozen=True)

    precedent: str
    situation: str
    rule: str
    support: int
    superseded: int
    first_at: datetime
    last_at: datetime
    decision_id: str
    decision_type: str
    outcome: dict[str, JsonValue]
    words: str = ""


class PrecedentMember(PrecedentFound):
    """One decision of a class; the next page begins after `position`. An observed one has no policy version."""

    position: int
    policy: str | None
    policy_version: str | None
