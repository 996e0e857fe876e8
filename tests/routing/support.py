"""What the tests of routing share: candidates, a history that speaks for one of them, a loom that routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loom import Actor, Command, Loom, LoomConfig
from loom.decisions import Decision
from loom.routing import (
    AgentSignals,
    Candidate,
    CareOptimizationConfig,
    ExecutionEntry,
    Mode,
    Router,
    RoutingRequest,
    extension,
)

REQUEST = RoutingRequest(description="summarise the incident", domain="support", tasks=("summarise",))


def candidate(agent: str, **more: Any) -> Candidate:
    return Candidate.model_validate({"agent": agent, "domains": ("support",), "tasks": ("summarise",), **more})


# By id, `agent-a` is the baseline of the two; history speaks for `agent-b`.
CANDIDATES = (candidate("agent-a"), candidate("agent-b"))


class Observe(Command[int]):
    """Journal executions as if they had just been run."""

    executions: tuple[ExecutionEntry, ...]


class Executions(Actor[None]):
    actor_type = "executions"

    async def execute(self, command: Observe) -> int:
        for entry in command.executions:
            await self.record(entry)
        return len(command.executions)


def executions(agent: str, *, count: int, latency_ms: float, failed: int = 0, **more: Any) -> list[ExecutionEntry]:
    return [
        ExecutionEntry(agent=agent, succeeded=number >= failed, latency_ms=latency_ms, cost_micro_usd=1_000, **more)
        for number in range(count)
    ]


async def observe(loom: Loom, *entries: ExecutionEntry) -> None:
    await loom.actor(Executions, "all").ask(Observe(executions=entries))
    await loom.reached()


async def history_for_b(loom: Loom, *, count: int = 50) -> None:
    """agent-a: 78 % at 340 ms; agent-b: 92 % at 120 ms."""
    slow = executions("agent-a", count=count, latency_ms=340, failed=round(count * 0.22))
    await observe(loom, *slow, *executions("agent-b", count=count, latency_ms=120, failed=round(count * 0.08)))


def config(path: Path, mode: Mode = "active", **more: Any) -> LoomConfig:
    written = {"enabled": mode != "disabled", "version": "v1.0"} | ({} if mode == "disabled" else {"mode": mode})
    return LoomConfig(
        data=path, sections={"care_optimization": CareOptimizationConfig.model_validate({**written, **more})}
    )


def routing(path: Path, mode: Mode = "active", **more: Any) -> Loom:
    """Return a loom that routes in a mode, to be entered."""
    return Loom.open(config(path, mode), by="mira", extensions=[extension], **more)


async def decisions(loom: Loom) -> list[Decision]:
    """Return what routing decided, oldest first."""
    found = await loom.traces.find(decision_type="care_routing_optimized", limit=10_000)
    return [(await loom.traces.get(each.decision_id)).decision for each in reversed(found)]


class Given:
    """A source of signals that gives what it was given, or raises it."""

    def __init__(self, values: Any, *, signals: Sequence[str] = ("success_rate", "latency_p50")) -> None:
        self.values = values
        self.signals = tuple(signals)
        self.asked = 0

    async def read(self, candidates: Sequence[Candidate]) -> Mapping[str, AgentSignals]:
        self.asked += 1
        if isinstance(self.values, Exception):
            raise self.values
        read: Mapping[str, AgentSignals] = self.values
        return read


async def router_of(loom: Loom, mode: Mode | None = None) -> Router:
    router = Router.of(loom)
    if mode is not None:
        await router.set_mode(mode, by="mira", reason="the story needs it")
    return router
