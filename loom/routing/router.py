"""`Router`: what callers choose an agent with. Whatever happens to the actor behind it, they get an answer."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from loom.background import awaiting
from loom.errors import (
    ActorFailedError,
    AdmissionError,
    AskTimeoutError,
    CommandConflictError,
    InvalidNameError,
    LoomError,
)
from loom.extension import Host
from loom.identity import By, Identity, derived_id
from loom.journal.kinds import CommandReceivedEntry
from loom.journal.store import check_name
from loom.routing.actor import (
    ROUTER_KEY,
    Choice,
    CloseRequest,
    Route,
    RouterActor,
    SetOptimization,
    baseline_choice,
)
from loom.routing.ahead import ReadAhead
from loom.routing.baseline import Baseline, choose_baseline
from loom.routing.baseline_replies import BaselineReplies
from loom.routing.config import OPTIMIZING, CareOptimizationConfig, Mode, mode_of
from loom.routing.reading import RoutingStatus, read_records, read_status, read_timeline
from loom.routing.record import DecisionRecord
from loom.routing.replay import RoutingReplay, replay_of
from loom.routing.request import Candidate, RoutingRequest, check_candidates
from loom.routing.shadow import Shadow
from loom.routing.signals import (
    AgentSignals,
    ForbiddenSignalError,
    SignalReader,
    SignalSource,
    check_signals,
    source_named,
)
from loom.routing.switch import KillSwitch, RearmRefusedError
from loom.routing.watch import Watch
from loom.routing.words import TimelineEntry
from loom.telemetry import get_logger

__all__ = ["Router"]

_DECISION_OF = "SELECT decision_id FROM care_requests WHERE request_id = ?"
_CLOSED = """
SELECT request_id, answered_with_baseline FROM care_requests
WHERE answered_with_baseline IS NOT NULL AND decision_id IS NOT NULL
"""
_NAMES = ("routing",)
# These say that the caller asked for something that cannot be; the others that the router cannot answer now.
_CALLERS = (AdmissionError, CommandConflictError, InvalidNameError, ForbiddenSignalError)

_log = get_logger("loom.routing")


class Router:
    """Chooses agents. `async with Router.open(loom)` starts one; where the config asks for routing, `Router.of(loom)`.

    The baseline is computed for every request, before and outside the actor, and is the answer whenever the actor
    cannot give one.
    """

    def __init__(self, host: Host, *, source: SignalSource | str | None = None) -> None:
        self._host = host
        self.signals = SignalReader(host.queries)
        named = source or self._config.source
        self.source: SignalSource = source_named(named, host.queries) if isinstance(named, str) else named
        check_signals(self.source.signals)
        self._ahead = ReadAhead(self.source)
        self._optimizes = False
        """Whether the last choice was one that history may change: then signals are read ahead of the next."""
        self.switch = KillSwitch(host.store, make_draft=host.draft)
        self.shadow = Shadow(host.policies, self.source, self.switch, host.background)
        self._watch = Watch(host.store, self.switch, host.background, journal=f"{RouterActor.actor_type}/{ROUTER_KEY}")
        self._baseline_replies = BaselineReplies(self._close_request, host.background)
        self._context = contextvars.copy_context()

    @classmethod
    def of(cls, loom: Any) -> Router:
        """Return the router that a loom was opened with."""
        router = loom.parts.get("routing")
        if not isinstance(router, Router):
            raise InvalidNameError(
                "this loom has no routing; expected the extension [routing]: pass it to Loom.open(extensions=…), or "
                "fill in care_optimization: in the config"
            )
        return router

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, host: Host, *, source: SignalSource | str | None = None) -> AsyncIterator[Router]:
        """Yield a router on an open loom; the kill switch is as it was left before the first request is taken.

        `source` is a source of signals, or the name of one; by default the config's, `contracts.execution_metrics`.
        """
        router = cls(host, source=source)
        await router.switch.load()
        closed = await host.queries.fetch(_CLOSED, names=_NAMES)
        router._baseline_replies.closed.update((row["request_id"], row["answered_with_baseline"]) for row in closed)
        await host.register(
            RouterActor, lambda: RouterActor(router.switch, router.source, router._decision_of, ahead=router._ahead)
        )
        if host.resumes:
            await router._begin_with_config()
            router._watch.look_soon()
        try:
            yield router
        finally:
            await router._baseline_replies.close()
            await router.shadow.close()
            await router._watch.close()

    # --- choosing -------------------------------------------------------------------------------

    async def choose(
        self,
        request: RoutingRequest,
        candidates: Sequence[Candidate],
        *,
        request_id: str,
        timeout_s: float | None = None,
    ) -> Choice:
        """Return which agent takes a request. The same id asked twice is answered alike, and decided once.

        Where an optimised agent is chosen, its decision is durable before this returns. Where the actor cannot answer,
        or not within `timeout_s`, the baseline is returned and noted. Raises `AdmissionError` for an agent that is
        there twice, `CommandConflictError` for an id that came with another request, `ForbiddenSignalError` where the
        source gives what may not be seen; that engages the kill switch, and in shadow the caller has the baseline.
        """
        check_name(request_id, what="request id")
        check_candidates(candidates)
        command = Route(request_id=request_id, request=request, candidates=tuple(candidates))
        baseline = choose_baseline(request, candidates)
        if not self.switch.engaged:  # under it nothing is asked for
            try:
                check_signals(self.source.signals)
            except ForbiddenSignalError as error:
                await self.switch.stop_for("signal_refused", reason=str(error), request_id=request_id)
                if (await self.status()).mode != "shadow":
                    raise
        try:
            if answered := self._baseline_replies.answered(request_id):
                return baseline_choice(request_id, baseline, mode="disabled", note=answered)
            choice = await self._ask(command, baseline, timeout_s)
        except _CALLERS:
            raise
        except LoomError as error:
            if isinstance(error, ActorFailedError) and error.type_name == ForbiddenSignalError.__name__:
                raise ForbiddenSignalError(str(error)) from error
            note = f"the router could not answer: {type(error).__name__}"
            _log.warning("care_baseline_outside", request=request_id, error=repr(error))
            self._baseline_replies.note(request_id, baseline.agent, note)
            return baseline_choice(request_id, baseline, mode="disabled", note=note)
        self._optimizes = choice.mode in OPTIMIZING
        if choice.mode == "shadow" and choice.agent is not None and not self.switch.engaged:
            self.shadow.compare(choice, request, command.candidates)
        if choice.mode != "disabled":
            self._watch.look_soon()
        return choice

    async def _ask(self, command: Route, baseline: Baseline, timeout_s: float | None) -> Choice:
        # In the context of the loom: routing comes before any run, and belongs to none.
        asking = self._asked(command, baseline, timeout_s)
        async with awaiting(asking, context=self._context.copy()) as asked:  # on the way out the wait is cancelled
            choice = await asked
        closed = self._baseline_replies.closed.get(command.request_id)
        if choice.selected == "optimized_selected" and closed is not None:
            return baseline_choice(command.request_id, choice.baseline, mode=choice.mode, note=closed)
        return choice

    async def _asked(self, command: Route, baseline: Baseline, timeout_s: float | None) -> Choice:
        try:
            async with asyncio.timeout(timeout_s):
                if self._optimizes and not self.switch.engaged and baseline.agent is not None:
                    patience = self._host.config.actors.lookup_timeout_s
                    await self._ahead.read(command.request_id, command.eligible(baseline), timeout_s=patience)
                return await self._host.actor(RouterActor, ROUTER_KEY).ask(command, id=command.request_id)
        except TimeoutError:
            raise AskTimeoutError(
                f"router did not choose for request [{command.request_id}] within [{timeout_s}] s; expected a choice: "
                "the caller has the baseline"
            ) from None
        finally:
            self._ahead.forget(command.request_id)

    # --- what people do -------------------------------------------------------------------------

    async def set_mode(self, mode: Mode, *, by: By, reason: str | None = None, version: str | None = None) -> bool:
        """Say what history may do from here on; it is journaled, and beats the config. Return whether that is new."""
        self._optimizes = False
        version = version or (await self.status()).version
        who = Identity.of(by)
        command = SetOptimization(mode=mode, version=version, by=who.name, reason=reason)
        changed: bool = await self._host.actor(RouterActor, ROUTER_KEY).ask(command, by=who)
        return changed

    async def kill(self, *, by: By, reason: str) -> None:
        """Stop optimisation at once: every turn that starts after this returned uses the baseline."""
        await self.switch.kill(by=by, reason=reason)

    async def rearm(self, *, by: By, reason: str, cause: str | None = None, replay: str | None = None) -> None:
        """Let optimisation work again, in the name of a person.

        Where the system has stopped it, that takes the `cause`, and a replay that passes now: of the request that it
        was stopped for, or of another one that is named. Raises `RearmRefusedError` where either is missing, and
        `SelfRearmError` for the name of loom, of the router, or of an agent that it has chosen among.
        """
        stopped = (RouterActor.actor_type, ROUTER_KEY, *await self._chosen_among())
        stop = self.switch.stop
        replayed = None
        if stop is not None and cause is not None:
            replayed = await self._passed(replay or stop.request_id)
        await self.switch.rearm(by=by, reason=reason, cause=cause, replayed=replayed, looked_into=stop, stopped=stopped)

    async def _chosen_among(self) -> set[str]:
        """Return the agents that were candidates, by the router's own journal: no view may hide one (law 9)."""
        found: set[str] = set()
        async for recorded in self._host.store.read(f"{RouterActor.actor_type}/{ROUTER_KEY}"):
            entry = recorded.entry if recorded.kind == CommandReceivedEntry.kind else None
            if isinstance(entry, CommandReceivedEntry) and entry.command_type == Route.command_type:
                found |= {each.agent for each in Route.model_validate(entry.payload).candidates}
        return found

    async def _passed(self, request_id: str | None) -> str:
        """Return the request whose replay gives what was chosen; raise `RearmRefusedError` where it does not."""
        if request_id is None:
            raise RearmRefusedError(
                "no request is named; expected one whose replay passes: name one that was answered [replay=…]"
            )
        try:
            replayed = await replay_of(self._host, request_id)
        except LoomError as error:
            raise RearmRefusedError(
                f"request [{request_id:.80}] cannot be replayed [{error}]; expected one whose replay passes: name one "
                "that was answered [replay=…]"
            ) from error
        if replayed.diverged or replayed.not_replayable is not None:
            found = replayed.not_replayable or "; ".join(replayed.differences)
            raise RearmRefusedError(
                f"replay of request [{request_id:.80}] does not pass [{found}]; expected the choice that was recorded: "
                "look into it first"
            )
        return request_id

    # --- reading --------------------------------------------------------------------------------

    async def status(self) -> RoutingStatus:
        """Return how routing stands."""
        status = await read_status(self._host.queries, self._config)
        return status.model_copy(update={"killed": self.switch.engaged})

    async def timeline(self, *, limit: int = 50) -> tuple[TimelineEntry, ...]:
        """Return the decisions by which history changed a choice, newest first."""
        return await read_timeline(self._host.queries, limit=limit)

    async def records(self, *, limit: int = 50) -> tuple[DecisionRecord, ...]:
        """Return the same decisions as records of their own, newest first."""
        return await read_records(self._host.queries, limit=limit)

    async def replay(
        self, request_id: str, *, signals: Mapping[str, AgentSignals] | None = None, halt: bool = True
    ) -> RoutingReplay:
        """Choose again what was chosen, from the journal alone, under the version of then.

        A divergence stops optimisation (the kill switch, trigger system) until a person re-arms it, unless `halt` is
        false. With other `signals` the answer may well differ: that is a question, and stops nothing.
        """
        replayed = await replay_of(self._host, request_id, signals=signals)
        if replayed.diverged and halt:
            reason = f"replay of {request_id} diverged: {'; '.join(replayed.differences)}"
            await self.switch.kill(
                by="loom", reason=reason, trigger="system", condition="replay_diverged", request_id=request_id
            )
        return replayed

    async def settled(self) -> None:
        """Wait until what happens behind the answers is done.

        Comparisons have ended, every request that was answered from outside is journaled as such, and every turn that
        has ended was looked at for what stops optimisation.
        """
        await self.shadow.idle()
        await self._baseline_replies.idle()
        await self._watch.look()

    # --- inside ---------------------------------------------------------------------------------

    def _actor(self) -> RouterActor:
        return RouterActor(self.switch, self.source, self._decision_of, ahead=self._ahead)

    @property
    def _config(self) -> CareOptimizationConfig:
        section = self._host.config.sections.get("care_optimization")
        return section if isinstance(section, CareOptimizationConfig) else CareOptimizationConfig()

    async def _begin_with_config(self) -> None:
        """Journal what the config says, unless it was set otherwise at run time."""
        wanted, status = self._config, await read_status(self._host.queries, self._config)
        mode = mode_of(wanted)
        if (status.mode, status.version) == (mode, wanted.version) and status.source is not None:
            return
        if status.source == "person":
            _log.warning("care_config_overruled", config=mode, journal=status.mode, by=status.set_by)
            return
        command = SetOptimization(mode=mode, version=wanted.version, by=self._host.by, source="config")
        who = Identity.of(self._host.by, via="config")
        await self._host.actor(RouterActor, ROUTER_KEY).ask(command, by=who)

    async def _close_request(self, request_id: str, agent: str | None, reason: str) -> None:
        ref = self._host.actor(RouterActor, ROUTER_KEY)
        closing = CloseRequest(request_id=request_id, agent=agent, reason=reason)
        await ref.ask(closing, id=derived_id("care-closing", request_id))

    async def _decision_of(self, request_id: str) -> str | None:
        rows = await self._host.queries.fetch(_DECISION_OF, (request_id,), names=_NAMES)
        return None if not rows else rows[0]["decision_id"]
