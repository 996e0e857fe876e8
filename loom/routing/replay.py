"""Choosing again what was chosen: the request, the candidates and what was seen, all out of the journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from loom.actors import TurnsView
from loom.decisions import ContextGatheredEntry
from loom.errors import LoomError, NotReplayableError
from loom.extension import Host
from loom.journal.entry import Recorded
from loom.journal.kinds import CommandReceivedEntry, TurnCompletedEntry
from loom.routing.actor import ROUTER_KEY, Choice, Looked, Route, RouterActor
from loom.routing.baseline import choose_baseline
from loom.routing.optimizer import facts_of
from loom.routing.signals import AgentSignals, checked

__all__ = ["RoutingReplay", "replay_of"]


class RoutingReplay(BaseModel):
    """What was chosen, and what is chosen now on the same snapshot; `differences` is empty where nothing differs."""

    model_config = ConfigDict(frozen=True)

    request_id: str
    recorded: Choice
    agent: str | None
    """What is chosen now."""
    differences: tuple[str, ...] = ()
    hypothetical: bool = False
    """Whether it was asked with other signals than were seen: then a difference is an answer, not a divergence."""
    not_replayable: str | None = None
    """Why the choice of then cannot be made again, where it cannot."""

    @property
    def diverged(self) -> bool:
        """Whether the same snapshot no longer gives the same choice."""
        return bool(self.differences) and not self.hypothetical


async def replay_of(host: Host, request_id: str, *, signals: Mapping[str, AgentSignals] | None = None) -> RoutingReplay:
    """Return what the request gives now; raise `TurnNotFoundError`, or `NotReplayableError` where it has no answer."""
    journal = f"{RouterActor.actor_type}/{ROUTER_KEY}"
    summary = await TurnsView(host.queries).get(request_id, journal=journal)
    turn = [
        recorded
        async for recorded in host.store.read(journal, after=summary.received_sequence - 1)
        if recorded.command_id == summary.command_id
        if recorded.position <= summary.last_position
    ]
    received, completed = turn[0], turn[-1]
    if not isinstance(received.entry, CommandReceivedEntry) or not isinstance(completed.entry, TurnCompletedEntry):
        raise NotReplayableError(
            f"request [{request_id}] has no answer in the journal; expected one that was chosen for: see `loom turns`",
            reason="unfinished",
        )
    route = Route.model_validate(received.entry.payload)
    recorded = Choice.model_validate(completed.entry.reply)
    baseline = choose_baseline(route.request, route.candidates)
    differences = _differences(recorded, baseline.model_dump())
    looked = _looked(turn)
    agent = baseline.agent
    if signals is not None:
        looked = Looked(killed=False, signals=checked(signals))
    not_replayable = None
    if looked is not None and not looked.killed and baseline.agent is not None:
        try:
            version = host.policies.resolve_hash(received.policy_hash or b"")
            policy = host.policies.runnable(version)
            said = policy.evaluate_json(facts_of(route.request, baseline, looked.signals).model_dump(mode="json"))
        except LoomError as error:
            return RoutingReplay(request_id=request_id, recorded=recorded, agent=None, not_replayable=str(error))
        if said.allowed:
            agent = str(said.details["chosen"])
    if agent != recorded.agent:
        differences.append(f"chosen was [{recorded.agent}], now [{agent}]")
    return RoutingReplay(
        request_id=request_id,
        recorded=recorded,
        agent=agent,
        differences=tuple(differences),
        hypothetical=signals is not None,
        not_replayable=not_replayable,
    )


def _differences(recorded: Choice, baseline: dict[str, Any]) -> list[str]:
    then = recorded.baseline.model_dump()
    if then == baseline:
        return []
    if then["agent"] != baseline["agent"]:
        return [f"baseline was [{then['agent']}], now [{baseline['agent']}]"]
    return ["baseline scores differ"]


def _looked(turn: list[Recorded]) -> Looked | None:
    """Return what the turn saw of switch and signals; None where it did not look, or could not."""
    for recorded in turn:
        entry = recorded.entry
        if isinstance(entry, ContextGatheredEntry) and entry.entity == "signals" and entry.failure is None:
            return Looked.model_validate(entry.result)
    return None
