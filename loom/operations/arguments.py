"""What operations are asked for with: plain JSON, validated before anything is done."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from loom.actors.turns_view import TurnStatus
from loom.decisions import RunEnding
from loom.extension import Named, Reader

__all__ = [
    "Abandon",
    "Adopt",
    "Arguments",
    "AuditDecisions",
    "Chosen",
    "CompareDecisions",
    "Deny",
    "EndRun",
    "Grant",
    "Inform",
    "Judge",
    "JudgeDecisions",
    "Keep",
    "ListApprovals",
    "ListTurns",
    "Look",
    "Nothing",
    "Opening",
    "Register",
    "ResolveContradiction",
    "Retry",
    "Send",
    "SendBack",
    "ShowApproval",
]

_MOST = 10_000


class Arguments(BaseModel):
    """Base of all: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Arguments):
    """No arguments."""


class Grant(Arguments):
    """Which approval is granted, by whom; with changes, as they were written, and why it differs from earlier ones."""

    id: str
    by: Named
    comment: str | None = None
    set: dict[str, str] | None = None
    distinguished: str | None = None


class Deny(Arguments):
    """Which approval is denied, by whom and why."""

    id: str
    by: Named
    comment: str
    distinguished: str | None = None


class SendBack(Arguments):
    """Which request is sent back, by whom and with which question."""

    id: str
    by: Named
    question: str


class Inform(Arguments):
    """Which request that was sent back gets which information, from whom."""

    id: str
    by: Named
    information: str


class ResolveContradiction(Arguments):
    """Which contradiction is resolved, by whom, what stands and why."""

    id: str
    stands: str
    by: Named
    reason: str


class ShowApproval(Arguments):
    """Which request is shown with what is sealed in it opened, and to whom."""

    id: str
    by: Reader


class ListApprovals(Arguments):
    """Which requests are listed: one, those that wait, or also those that were answered."""

    id: str | None = None
    every: bool = False
    approver: str | None = None
    limit: int = Field(default=100, ge=1, le=_MOST)


class Retry(Arguments):
    """Which turn tries again, in whose name, and whether an effect in doubt may be done again."""

    id: str
    by: Named
    reason: str | None = None
    perform: bool = False


class Fork(Arguments):
    """Which turn is forked, at which step, in whose name; `changed` are fields of its command."""

    id: str
    at: int | str
    by: Named
    reason: str | None = None
    changed: dict[str, JsonValue] | None = None
    perform: bool = False
    new_id: str | None = None


class Abandon(Arguments):
    """Which turn is abandoned, in whose name and why."""

    id: str
    by: Named
    reason: str


class Adopt(Arguments):
    """Which version new turns are to pin, and since when it was in use before that."""

    version: str
    by: Named
    reason: str | None = None
    effective_from: datetime | None = None


class Register(Arguments):
    """A table as plain data, and who makes it known."""

    table: dict[str, JsonValue]
    source: str = ""
    by: Named
    reason: str | None = None
    adopt: bool = False


class Chosen(Arguments):
    """Which decisions are meant."""

    run_id: str | None = None
    journal: str | None = None
    policy: str | None = None
    policy_version: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    by_time: Literal["decided", "recorded"] | None = None
    ids: tuple[str, ...] | None = None
    origin: Literal["original", "replayed", "observed", "any"] | None = None


class Opening(Arguments):
    """By whom what is sealed in the facts is opened for it, and why; both or neither."""

    opened_by: Reader | None = None
    opened_why: str | None = None

    @model_validator(mode="after")
    def _are_both_given(self) -> Opening:
        if (self.opened_by is None) != (self.opened_why is None):
            raise ValueError("[opened_by] and [opened_why] belong together: give both or neither")
        return self


class Keep(Opening):
    """Which decisions are judged again under which version, or on which other facts, and kept in whose name."""

    under: str | None = None
    what_if: dict[str, JsonValue] | None = None
    by: Named
    selection: Chosen = Chosen()


class JudgeDecisions(Opening):
    """Which decisions are judged again, under which version or on which other facts; with `listed`, case by case."""

    selection: Chosen = Chosen()
    under: str | None = None
    what_if: dict[str, JsonValue] | None = None
    gaps: bool = False
    listed: bool = False


class CompareDecisions(Opening):
    """Which decisions are compared with what was done, under which version; with `listed`, case by case."""

    selection: Chosen = Chosen()
    under: str | None = None
    mapping: dict[str, str] | None = None
    per: tuple[str, ...] = ()
    weigh: str | None = None
    gaps: bool = False
    listed: bool = False


class AuditDecisions(Opening):
    """Which decisions are judged again under their own version."""

    selection: Chosen = Chosen()


class Look(Arguments):
    """In which policy's exceptions patterns are looked for."""

    policy: str | None = None


class Judge(Arguments):
    """A person's answer to a suggestion."""

    id: str
    by: Named
    reason: str


class EndRun(Arguments):
    """Which run is ended, how and by whom."""

    id: str
    by: Named
    status: RunEnding = "abandoned"
    reason: str | None = None


class ListTurns(Arguments):
    """Which turns are listed."""

    unfinished: bool = True
    status: TurnStatus | Literal["interrupted", "waiting_for_code"] | None = None
    journal: str | None = None
    limit: int = Field(default=1_000, ge=1, le=_MOST)


class Send(Arguments):
    """A command to an actor."""

    journal: str
    command_type: str
    payload: dict[str, JsonValue] = Field(default_factory=dict)
    id: str | None = None
    by: Named | None = None
    timeout_s: float | None = Field(default=None, gt=0)
