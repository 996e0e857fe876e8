"""Calls of models, read back: those of one turn, and what they cost by actor, model, day and decision."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict

from loom.clock import datetime_from_us, us_from_datetime
from loom.decisions.entries import Failure
from loom.decisions.model_calls import AtLimit, CallProblem, ModelUsage, Price
from loom.decisions.model_calls_view import ModelCallsProjection
from loom.projections import Confirmation, Queries
from loom.projections.confirming import Row

__all__ = ["NO_DECISION", "CostGroup", "CostLine", "ModelCall", "ModelCosts"]

CostGroup: TypeAlias = Literal["actor", "model", "day", "decision"]
"""What calls are grouped by: the journal of the actor, the model that was asked, the day (UTC), the decision."""

_PAGE = 1_000
_OF_TURN = "SELECT * FROM model_calls WHERE journal = ? AND command_id = ? ORDER BY position LIMIT ?"
_OVER_TIME = """
SELECT * FROM model_calls WHERE position > :after AND recorded_at_us >= :since AND recorded_at_us < :until
ORDER BY position LIMIT :limit
"""
_CONFIRM = Confirmation(
    ModelCallsProjection(), "model_calls", rests_on=lambda row: (row["position"], row["decided_position"])
)
_NAMES = ("model_calls",)
_END_US = 2**62
NO_DECISION = "(no decision)"
"""The name of the group of calls after which their turn decided nothing."""
_KEYS: dict[CostGroup, Callable[[ModelCall], str]] = {
    "actor": lambda call: call.journal,
    "model": operator.attrgetter("model"),
    "day": lambda call: f"{call.recorded_at:%Y-%m-%d}",
    "decision": lambda call: call.decision_id or NO_DECISION,
}


class ModelCall(BaseModel):
    """One call of a model by a turn: what was asked of which model, what came back, and what it cost.

    `decision_id` is the decision of its turn that was recorded next after it, if there is one.
    """

    model_config = ConfigDict(frozen=True)

    position: int
    journal: str
    command_id: str
    recorded_at: datetime
    model: str
    answering_model: str | None
    instead_of: str | None
    said: str
    problem: CallProblem | None
    failure: Failure | None
    at_limit: AtLimit | None
    limit_detail: str | None
    attempt: int
    failed_attempts: int
    price: Price
    cost_usd: float | None
    usage: ModelUsage | None
    duration_ms: float
    decision_id: str | None

    @property
    def made(self) -> bool:
        """Whether the model was asked at all."""
        return self.problem != "budget"

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return what a confirmed row holds."""
        plain: dict[str, Any] = {name: row[name] for name in cls.model_fields if name not in _MADE}
        cost, counted = row["cost_micro_usd"], row["input_tokens"] is not None
        failed = row["type_name"] is not None
        return cls(
            **plain,
            recorded_at=datetime_from_us(row["recorded_at_us"]),
            failure=Failure(type_name=row["type_name"], message=row["message"]) if failed else None,
            cost_usd=None if cost is None else cost / 1_000_000,
            usage=ModelUsage(**{name: row[name] for name in ModelUsage.model_fields}) if counted else None,
        )


_MADE = frozenset({"recorded_at", "failure", "cost_usd", "usage"})


class CostLine(BaseModel):
    """What the calls of one group cost. `unknown` are calls whose cost is not known: `cost_usd` is without them."""

    model_config = ConfigDict(frozen=True)

    name: str
    calls: int = 0
    failed: int = 0
    refused: int = 0
    unknown: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def with_call(self, call: ModelCall) -> CostLine:
        """Return the line with one call more."""
        usage = call.usage or ModelUsage()
        more = {
            "calls": call.made,
            "failed": call.made and call.problem is not None,
            "refused": not call.made,
            "unknown": call.made and call.cost_usd is None,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
        }
        counted = {name: getattr(self, name) + value for name, value in more.items()}
        return self.model_copy(update={**counted, "cost_usd": round(self.cost_usd + (call.cost_usd or 0.0), 6)})


class ModelCosts:
    """Reads calls of models, and sums their costs; each row is compared with its entries first."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def of_turn(self, journal: str, command_id: str, *, at_most: int = _PAGE) -> tuple[ModelCall, ...]:
        """Return the calls of a turn, in order."""
        rows = await self._queries.fetch(_OF_TURN, (journal, command_id, at_most), names=_NAMES)
        return tuple(ModelCall.of(row) for row in await self._queries.confirmed(rows, _CONFIRM))

    async def by(
        self, group: CostGroup = "actor", *, since: datetime | None = None, until: datetime | None = None
    ) -> tuple[CostLine, ...]:
        """Return what the calls of a time cost, by group, dearest first; days in order. `until` itself is excluded."""
        lines: dict[str, CostLine] = {}
        async for call in self.calls(since=since, until=until):
            name = _KEYS[group](call)
            lines[name] = lines.get(name, CostLine(name=name)).with_call(call)
        if group == "day":
            return tuple(lines[name] for name in sorted(lines))
        return tuple(sorted(lines.values(), key=lambda each: (-each.cost_usd, -each.calls, each.name)))

    async def calls(self, *, since: datetime | None = None, until: datetime | None = None) -> AsyncIterator[ModelCall]:
        """Yield the calls of a time, in order."""
        bounds = {
            "since": 0 if since is None else us_from_datetime(since),
            "until": _END_US if until is None else us_from_datetime(until),
            "limit": _PAGE,
        }
        after = 0
        while rows := await self._queries.fetch(_OVER_TIME, {**bounds, "after": after}, names=_NAMES):
            for row in await self._queries.confirmed(rows, _CONFIRM):
                yield ModelCall.of(row)
            after = rows[-1]["position"]
