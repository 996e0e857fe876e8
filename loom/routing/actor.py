"""The router's actor: one turn for one request. Its id is the request's, so that asking twice is asking once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom.actors import Actor, Command
from loom.errors import LookupFailedError
from loom.identity import CLAIMED, Identity
from loom.journal.entry import Entry
from loom.policies import Evaluation
from loom.routing.ahead import ReadAhead
from loom.routing.baseline import Baseline, choose_baseline
from loom.routing.config import OPTIMIZING, Mode
from loom.routing.entries import AnsweredWithBaselineEntry, OptimizationSetEntry
from loom.routing.optimizer import OptimizerFacts, care_optimizer, facts_of, scores_in, signals_in
from loom.routing.request import Candidate, RoutingRequest
from loom.routing.signals import AgentSignals, ForbiddenSignalError, SignalRangeError, SignalSource, checked
from loom.routing.switch import KillSwitch
from loom.routing.views import DECISION_TYPE
from loom.routing.words import known_in, reason_of

__all__ = [
    "ROUTER_KEY",
    "Choice",
    "CloseRequest",
    "Looked",
    "Route",
    "RouterActor",
    "SetOptimization",
    "baseline_choice",
]

ROUTER_KEY = "care"

Selected: TypeAlias = Literal["baseline_selected", "optimized_selected"]

_MAX_CLOSED = 10_000


class Choice(BaseModel):
    """Which agent takes a request, and what it would have been without history."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str
    agent: str | None
    """None where no candidate passed the stages; `baseline` says why each did not."""
    selected: Selected = "baseline_selected"
    mode: Mode
    baseline: Baseline
    note: str | None = None
    """Why history was not asked, not heard, or not agreed with."""
    confidence: float | None = None
    """How sure the optimiser was, where it was asked."""
    decision_id: str | None = None


class Route(Command[Choice]):
    """Choose an agent for a request."""

    request_id: str
    request: RoutingRequest
    candidates: tuple[Candidate, ...]

    def eligible(self, baseline: Baseline) -> list[Candidate]:
        """Return the candidates that passed the stages: those whose history counts."""
        passed = {each.agent for each in baseline.eligible}
        return [each for each in self.candidates if each.agent in passed]


class SetOptimization(Command[bool]):
    """Say what history may do from here on. Answered with whether anything changed."""

    mode: Mode
    version: str
    by: str
    reason: str | None = None
    source: Literal["config", "person"] = "person"


class CloseRequest(Command[bool]):
    """Take note that a caller has the baseline already. Answered with whether an optimised choice is thereby unused."""

    request_id: str
    agent: str | None
    reason: str


class Looked(BaseModel):
    """What a turn saw before it chose: the kill switch and, unless that was engaged, the signals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    killed: bool
    signals: dict[str, AgentSignals] = {}


class RouterState(BaseModel):
    """What was set last, and which requests were answered from outside; the last ten thousand of these."""

    settings: dict[str, JsonValue] = Field(default_factory=dict)
    closed: dict[str, str | None] = Field(default_factory=dict)


class RouterActor(Actor[RouterState]):
    """Chooses. What it needs from outside the journal, switch and signals, it looks up as other actors do."""

    actor_type = "router"
    policy = care_optimizer

    def __init__(
        self,
        switch: KillSwitch,
        source: SignalSource,
        decision_of: Callable[[str], Awaitable[str | None]],
        *,
        ahead: ReadAhead | None = None,
    ) -> None:
        self._switch = switch
        self._source = source
        self._ahead = ahead or ReadAhead(source)
        self._decision_of = decision_of

    async def execute(self, command: Route | SetOptimization | CloseRequest) -> Any:
        """Handle one command."""
        if isinstance(command, Route):
            return await self._route(command)
        if isinstance(command, SetOptimization):
            return await self._set(command)
        return await self._close(command)

    def apply(self, entry: Entry) -> None:
        """Fold what was set, and which requests are closed."""
        if isinstance(entry, OptimizationSetEntry):
            self.state.settings = entry.model_dump(mode="json", exclude={"step"})
        elif isinstance(entry, AnsweredWithBaselineEntry):
            self.state.closed[entry.request_id] = entry.agent
            if len(self.state.closed) > _MAX_CLOSED:
                del self.state.closed[next(iter(self.state.closed))]

    @property
    def mode(self) -> Mode:
        """What history may do; nothing until a person has set it."""
        mode: Any = self.state.settings.get("mode", "disabled")
        return mode  # type: ignore[no-any-return]

    # --- choosing -------------------------------------------------------------------------------

    async def _route(self, command: Route) -> Choice:
        baseline = choose_baseline(command.request, command.candidates)

        def stays(note: str | None, confidence: float | None = None) -> Choice:
            return baseline_choice(command.request_id, baseline, mode=self.mode, note=note, confidence=confidence)

        if command.request_id in self.state.closed:
            return stays("the caller had the baseline before the router could answer")
        if baseline.agent is None:
            return stays("no candidate passed the stages")
        if self.mode not in OPTIMIZING:
            return stays(None)
        try:
            looked = await self._look(command, baseline)
        except LookupFailedError as error:
            if error.type_name == ForbiddenSignalError.__name__:
                raise ForbiddenSignalError(error.message) from error
            return stays(f"signals failed: {error.type_name}")
        if looked.killed:
            return stays("the kill switch is engaged")
        facts = facts_of(command.request, baseline, looked.signals)
        said = self.evaluate(facts)
        if not said.allowed:
            return stays(said.why, _confidence(said))
        return await self._switch_over(command.request_id, baseline, facts, said)

    async def _switch_over(
        self, request_id: str, baseline: Baseline, facts: OptimizerFacts, said: Evaluation
    ) -> Choice:
        chosen, confidence = str(said.details["chosen"]), _confidence(said)
        by_agent = {each.agent: each.model_dump(mode="json") for each in facts.candidates}
        counted = {
            name: {"baseline": by_agent[facts.baseline_agent][name], "optimized": by_agent[chosen][name]}
            for name in signals_in(said)
        }
        values = {name: counted[name] for name in known_in(counted)}
        decision_id = await self.record_decision(
            decision_type=DECISION_TYPE,
            rationale=reason_of(chosen, values),
            outcome={"selected": "optimized_selected", "agent": chosen},
            confidence=confidence,
            inputs=(),  # the facts hold all that was looked up
            enrich="never",  # the budget of critics is for others' decisions, whether routing is on or off
            context={
                "request_id": request_id,
                "decision_source": "system",
                "decision_trigger": "autonomous",
                "causal_role": "pre_run",
                "baseline_agent": baseline.agent,
                "optimized_agent": chosen,
                "confidence_score": confidence,
                "signals_used": list(values),
                "signals": values,
                "details": self._details(baseline, said),
            },
        )
        return Choice(
            request_id=request_id,
            agent=chosen,
            selected="optimized_selected",
            mode=self.mode,
            baseline=baseline,
            confidence=confidence,
            decision_id=decision_id,
        )

    def _details(self, baseline: Baseline, said: Evaluation) -> dict[str, object]:
        """Return what else a decision says of itself: in which mode and version it was made, and all scores."""
        return {
            "decision_source": "system",
            "trigger": "autonomous",
            "outcome": "optimized_selected",
            "mode": self.mode,
            "signals_source": str(getattr(self._source, "name", type(self._source).__name__)),
            "baseline_score": said.details["baseline_score"],
            "optimized_score": said.details["optimized_score"],
            "optimization_version": self.state.settings.get("version"),
            "scores": scores_in(said),
            "candidates": {each.agent: each.score for each in baseline.candidates},
        }

    async def _look(self, command: Route, baseline: Baseline) -> Looked:
        async def fetch() -> Mapping[str, Any]:
            asked = command.eligible(baseline)
            read = {} if self._switch.engaged else await self._read(asked, command.request_id)
            killed = self._switch.engaged  # it may have been thrown while the signals were read
            signals = {} if killed else {agent: each.model_dump() for agent, each in read.items()}
            return {"killed": killed, "signals": signals}

        looked: Looked = await self.gather_context(
            system="care", entity="signals", query=command.request_id, fetcher=fetch, returns=Looked
        )
        return looked

    async def _read(self, asked: Sequence[Candidate], request_id: str) -> Mapping[str, AgentSignals]:
        """Read signals; one that may not be seen, or is none, stops optimisation before the turn goes on."""
        try:
            return checked(await self._ahead.take(request_id, asked))
        except (ForbiddenSignalError, SignalRangeError) as error:
            await self._switch.stop_for("signal_refused", reason=str(error), request_id=request_id)
            raise

    # --- the rest -------------------------------------------------------------------------------

    async def _set(self, command: SetOptimization) -> bool:
        who = self.requester
        if who is None or who.name != command.by:  # sent by hand, with another name in it
            who = Identity(command.by, CLAIMED, "command")
        entry = OptimizationSetEntry(**{**command.model_dump(), **who.written()})
        current = self.state.settings
        if (current.get("mode"), current.get("version")) == (entry.mode, entry.version):
            return False
        if command.source == "config" and current.get("source") == "person":
            return False  # a setting made at run time overrides the config
        await self.record(entry)
        return True

    async def _close(self, command: CloseRequest) -> bool:
        decision_id: str | None = await self.gather_context(
            system="care",
            entity="decision",
            query=command.request_id,
            fetcher=lambda: self._decision_of(command.request_id),
        )
        await self.record(
            AnsweredWithBaselineEntry(
                request_id=command.request_id, agent=command.agent, decision_id=decision_id, reason=command.reason
            )
        )
        return decision_id is not None


def baseline_choice(
    request_id: str, baseline: Baseline, *, mode: Mode, note: str | None, confidence: float | None = None
) -> Choice:
    """Return the choice of the baseline."""
    return Choice(
        request_id=request_id, agent=baseline.agent, mode=mode, baseline=baseline, note=note, confidence=confidence
    )


def _confidence(said: Evaluation) -> float:
    return float(str(said.details.get("confidence") or 0.0))
