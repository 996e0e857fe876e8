"""Autonomy: strategies whose engagement declines are rotated, under rails; where there is no other, a person is asked.

A cycle counts when metrics come in, never when someone looks. Everything here is one actor for a client and segment.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom.absent import is_none
from loom.actors import Actor, Command
from loom.circuits.decline import Action, DeclineFacts, DeclineParams, facts_for, strategy_decline
from loom.circuits.entries import CorrectionEntry, CycleCountedEntry, StrategyRegisteredEntry
from loom.circuits.strategies import STRATEGY, StrategyState
from loom.identity import CLAIMED, Identity
from loom.journal.entry import Entry
from loom.policies import Evaluation

__all__ = [
    "CountCycle",
    "Counted",
    "DeclineFacts",
    "DeclineParams",
    "Health",
    "RegisterStrategy",
    "StrategyActor",
    "StrategyState",
    "strategy_decline",
]

Escalate = Callable[[str, str, Mapping[str, JsonValue], str], Awaitable[str]]


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
    confidence: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False, exclude_if=is_none)
    """How sure the figures are; a correction is never surer. Without it they count as sure."""


class StrategyActor(Actor[StrategyState]):
    """Counts cycles and corrects, for one client and segment."""

    actor_type = STRATEGY
    policy = strategy_decline
    state_version = 2

    def __init__(self, escalate: Escalate) -> None:
        self._escalate = escalate

    async def execute(self, command: CountCycle | RegisterStrategy) -> Any:
        """Handle one command."""
        if isinstance(command, CountCycle):
            return await self._count(command)
        who = self.requester
        if who is None or who.name != command.by:  # sent by hand, with another name in it
            who = Identity(command.by, CLAIMED, "command")
        await self.record(StrategyRegisteredEntry(**{**command.model_dump(), **who.written()}))
        return True

    def initial_state(self) -> StrategyState:
        """Return the state of a client that nothing was said of yet: one strategy, the default one."""
        return StrategyState.initial()

    def apply(self, entry: Entry) -> None:
        """Fold strategies, cycles and corrections."""
        self.state.fold(entry)

    async def _count(self, command: CountCycle) -> Counted:
        state, strategy_id, cycle = self.state, self.state.current, self.state.cycle_count + 1
        baseline = state.baseline(int(str(self.parameters["baseline_cycles"])))
        measured = 1.0 if command.confidence is None else command.confidence
        facts = DeclineFacts(
            engagement=command.engagement,
            baseline=baseline,
            declines_before=state.decline_cycles,
            measured=min(measured, state.measured),
            has_other=state.best_other() is not None,
        )
        said = self.evaluate(facts_for(self.parameters, facts))
        declining = bool(said.details["declining"])
        declines = state.decline_cycles + 1 if declining else 0
        await self.record(
            CycleCountedEntry(
                strategy_id=strategy_id,
                cycle=cycle,
                engagement=command.engagement,
                conversion=command.conversion,
                baseline=baseline,
                declining=declining,
                decline_cycles=declines,
                measured=measured,
                frozen_baseline=baseline if declining else None,
            )
        )
        counted = Counted(
            strategy_id=strategy_id,
            engagement=command.engagement,
            conversion=command.conversion,
            cycle_count=self.state.strategies[strategy_id].cycle_count,
            decline_cycles=declines,
            baseline=baseline,
            health=Health(reason=said.why),
        )
        action = self._action(said)
        return counted if action is None else await self._correct(command, counted, said, action)

    def _action(self, said: Evaluation) -> Action | None:
        """Return what is to be done; a version of the earlier rule denies, and leaves what follows to this actor."""
        if "action" in said.details:
            action: Any = said.details["action"]
            chosen: Action | None = action
            return chosen
        if not said.denied:
            return None
        return "escalate_to_admin" if self.state.best_other() is None else "rotate_strategy"

    async def _correct(self, command: CountCycle, counted: Counted, said: Evaluation, action: Action) -> Counted:
        """Rotate to the best active other strategy, watch, or ask a person."""
        new = self.state.best_other() if action == "rotate_strategy" else None
        confidence = float(str(said.details.get("confidence", 0.5 if new is None else 0.95)))
        decision_id = await self.record_decision(
            decision_type="strategy_correction",
            rationale=said.why,
            outcome={"action": action, "new_strategy_id": new},
            confidence=confidence,
            context={
                "client_id": command.client_id,
                "audience_segment": command.segment,
                "previous_strategy_id": counted.strategy_id,
            },
        )
        log_id = f"correction_{decision_id[:16]}"
        if action == "escalate_to_admin":
            about: dict[str, JsonValue] = {
                "client_id": command.client_id,
                "audience_segment": command.segment,
                "strategy_id": counted.strategy_id,
            }
            what = "low_confidence" if said.rule == "unsure" else "no_alternative"
            cause = f"{command.client_id}/{command.segment}/{what}"
            await self.perform(
                action="escalate decline", effect=lambda key: self._escalate(cause, said.why, about, key), key=log_id
            )
        await self.record(
            CorrectionEntry(
                log_id=log_id,
                action=action,
                previous_strategy_id=counted.strategy_id,
                new_strategy_id=new,
                reason=said.why,
                confidence=confidence,
                decline_cycles=counted.decline_cycles if new is None else 0,
            )
        )
        health = Health(needs_correction=True, reason=said.why, confidence=confidence, action_type=action)
        return counted.model_copy(update={"health": health, "new_strategy_id": new, "log_id": log_id})
