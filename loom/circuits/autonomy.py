"""Autonomy: strategies whose engagement declines are rotated, under rails; where there is no other, a person is asked.

A cycle counts when metrics come in, never when somebody looks. Everything here is one actor for a client and segment.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom.actors import Actor, Command
from loom.circuits.entries import CorrectionEntry, CycleCountedEntry, StrategyRegisteredEntry
from loom.journal.entry import Entry
from loom.policies import Evaluation, Facts, Params, allow, case, deny, first_match, otherwise, policy

__all__ = [
    "CountCycle", "Counted", "DeclineFacts", "DeclineParams", "Health", "RegisterStrategy", "StrategyActor",
    "StrategyState", "strategy_decline",
]  # fmt: skip

Escalate = Callable[[str, str, Mapping[str, JsonValue], str], Awaitable[str]]

_KEPT = 100


class DeclineParams(Params):
    """What a decline is, and how many in a row are too many."""

    baseline_cycles: int = Field(10, ge=1, le=_KEPT)
    ratio: float = Field(0.8, gt=0, le=1)
    cycles: int = Field(3, ge=1, le=_KEPT)


class DeclineFacts(Facts):
    """A cycle beside the ones before it under the same strategy."""

    engagement: float
    baseline: float | None = None
    declines_before: int = 0


@policy(
    "strategy-decline",
    DeclineParams(),
    examples=[
        DeclineFacts(engagement=0.4, baseline=0.68, declines_before=2),
        DeclineFacts(engagement=0.4, baseline=0.68, declines_before=1),
        DeclineFacts(engagement=0.4),
    ],
    description="whether engagement has declined for too many cycles in a row",
)
def strategy_decline(params: DeclineParams, facts: DeclineFacts) -> Evaluation:
    """Deny a strategy that declines too long."""
    baseline = 0.0 if facts.baseline is None else facts.baseline
    declining = facts.baseline is not None and facts.engagement < params.ratio * baseline
    said = first_match(
        case(
            "declined",
            declining and facts.declines_before + 1 >= params.cycles,
            deny(),
            why=f"Engagement declined for {facts.declines_before + 1} cycles "
            f"(current: {round(facts.engagement, 4)}, baseline: {round(baseline, 4)})",
            why_not="it has not declined for long enough",
        ),
        case(
            "declining",
            declining,
            allow(),
            why=f"Engagement declines (current: {round(facts.engagement, 4)}, baseline: {round(baseline, 4)})",
            why_not=f"engagement is at least {params.ratio} of its baseline, or there is none yet",
        ),
        otherwise("within", allow(), why="Strategy performing within baseline"),
    )
    return Evaluation(
        effect=said.effect, rule=said.rule, why=said.why, why_not=said.why_not, details={"declining": declining}
    )


class Health(BaseModel):
    """How a strategy does: whether it has to be corrected, why, and how sure that is."""

    model_config = ConfigDict(frozen=True)

    needs_correction: bool = False
    reason: str = "Strategy performing within baseline"
    confidence: float | None = None
    action_type: str | None = None


class Counted(BaseModel):
    """What came of a cycle."""

    model_config = ConfigDict(frozen=True)

    strategy_id: str
    engagement: float
    conversion: float
    cycle_count: int
    decline_cycles: int
    baseline: float | None
    health: Health
    new_strategy_id: str | None = None
    log_id: str | None = None


class RegisterStrategy(Command[bool]):
    """Make a strategy known, or say how well it does, or that it is out of use."""

    strategy_id: str = Field(min_length=1, max_length=200)
    success_rate: float = Field(ge=0, le=1, allow_inf_nan=False)
    active: bool = True
    by: str


class CountCycle(Command[Counted]):
    """Count a cycle of the strategy that is in use."""

    client_id: str
    segment: str
    engagement: float = Field(ge=0, le=1, allow_inf_nan=False)
    conversion: float = Field(ge=0, le=1, allow_inf_nan=False)


class Strategy(BaseModel):
    """A strategy, and the engagement of its last cycles."""

    success_rate: float
    active: bool
    history: list[float] = Field(default_factory=list)


class StrategyState(BaseModel):
    """The strategies of a client and segment, and how the one in use does."""

    strategies: dict[str, Strategy] = Field(default_factory=dict)
    current: str = "strategy-default"
    engagement: float | None = None
    conversion: float | None = None
    cycle_count: int = 0
    decline_cycles: int = 0


class StrategyActor(Actor[StrategyState]):
    """Counts cycles and corrects, for one client and segment."""

    actor_type = "strategy"
    policy = strategy_decline

    def __init__(self, escalate: Escalate) -> None:
        self._escalate = escalate

    async def execute(self, command: CountCycle | RegisterStrategy) -> Any:
        """Handle one command."""
        if isinstance(command, CountCycle):
            return await self._count(command)
        await self.record(StrategyRegisteredEntry(**command.model_dump()))
        return True

    def initial_state(self) -> StrategyState:
        """Return the state of a client that nothing was said of yet: one strategy, the default one."""
        return StrategyState(strategies={"strategy-default": Strategy(success_rate=0.0, active=True)})

    def apply(self, entry: Entry) -> None:
        """Fold strategies, cycles and corrections."""
        state = self.state
        if isinstance(entry, StrategyRegisteredEntry):
            known = state.strategies.get(entry.strategy_id)
            history = [] if known is None else known.history
            state.strategies[entry.strategy_id] = Strategy(
                success_rate=entry.success_rate, active=entry.active, history=history
            )
            if len(state.strategies) == 2 and state.cycle_count == 0 and state.current == "strategy-default":
                state.current = entry.strategy_id  # the first that anybody names is the one in use
        elif isinstance(entry, CycleCountedEntry):
            history = state.strategies[entry.strategy_id].history
            history.append(entry.engagement)
            del history[:-_KEPT]
            state.engagement, state.conversion = entry.engagement, entry.conversion
            state.cycle_count, state.decline_cycles = entry.cycle, entry.decline_cycles
        elif isinstance(entry, CorrectionEntry):
            state.decline_cycles = 0
            if entry.new_strategy_id is not None:
                state.current = entry.new_strategy_id

    async def _count(self, command: CountCycle) -> Counted:
        state = self.state
        strategy_id, cycle = state.current, state.cycle_count + 1
        cycles = int(str(self.parameters["baseline_cycles"]))
        before = state.strategies[strategy_id].history[-cycles:]
        baseline = round(math.fsum(before) / len(before), 6) if before else None
        said = self.evaluate(
            DeclineFacts(engagement=command.engagement, baseline=baseline, declines_before=state.decline_cycles)
        )
        declining = bool(said.details["declining"])
        declines = state.decline_cycles + 1 if declining else 0
        await self.record(
            CycleCountedEntry(
                strategy_id=strategy_id, cycle=cycle, engagement=command.engagement, conversion=command.conversion,
                baseline=baseline, declining=declining, decline_cycles=declines,
            )
        )  # fmt: skip
        counted = Counted(
            strategy_id=strategy_id, engagement=command.engagement, conversion=command.conversion, cycle_count=cycle,
            decline_cycles=declines, baseline=baseline, health=Health(reason=said.why),
        )  # fmt: skip
        return await self._correct(command, counted, said) if said.denied else counted

    async def _correct(self, command: CountCycle, counted: Counted, said: Evaluation) -> Counted:
        """Rotate to the best active other strategy; where there is none, ask a person."""
        others = sorted(
            (-each.success_rate, name)
            for name, each in self.state.strategies.items()
            if each.active and name != counted.strategy_id and name != "strategy-default"
        )
        new = others[0][1] if others else None
        confidence = 0.95 if new is not None else 0.5
        action: Any = "rotate_strategy" if new is not None else "escalate_to_admin"
        decision_id = await self.record_decision(
            decision_type="strategy_correction",
            rationale=said.why,
            outcome={"action": action, "new_strategy_id": new},
            confidence=confidence,
            context={
                "client_id": command.client_id, "audience_segment": command.segment,
                "previous_strategy_id": counted.strategy_id,
            },
        )  # fmt: skip
        log_id = f"correction_{decision_id[:16]}"
        if new is None:
            about: dict[str, JsonValue] = {
                "client_id": command.client_id, "audience_segment": command.segment, "strategy_id": counted.strategy_id,
            }  # fmt: skip
            cause = f"{command.client_id}/{command.segment}/no_alternative"
            await self.perform(
                action="escalate decline", effect=lambda key: self._escalate(cause, said.why, about, key), key=log_id
            )
        await self.record(
            CorrectionEntry(
                log_id=log_id, action=action, previous_strategy_id=counted.strategy_id, new_strategy_id=new,
                reason=said.why, confidence=confidence,
            )
        )  # fmt: skip
        health = Health(needs_correction=True, reason=said.why, confidence=confidence, action_type=action)
        return counted.model_copy(update={"health": health, "new_strategy_id": new, "log_id": log_id})
