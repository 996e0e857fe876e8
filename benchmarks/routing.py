"""Routing: the same request with history off and on, the modes in turns, so that they share the noise."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from loom import Actor, Command, Loom, LoomConfig
from loom.routing import Candidate, ExecutionEntry, Mode, Router, RoutingRequest, extension

REQUEST = RoutingRequest(description="a question", domain="support", tasks=("answer",))
CANDIDATES = tuple(Candidate(agent=f"agent-{each}", domains=("support",), tasks=("answer",)) for each in "abcd")


class Observe(Command[None]):
    """Journal executions of every candidate."""


class Observer(Actor[None]):
    """Writes the history: `agent-d` is quick, the others are slow."""

    async def execute(self, command: Observe) -> None:
        """Journal 50 executions of each."""
        for candidate in CANDIDATES:
            for _ in range(50):
                slow = candidate.agent != "agent-d"
                await self.record(
                    ExecutionEntry(agent=candidate.agent, succeeded=True, latency_ms=300.0 if slow else 100.0)
                )


async def choices_s(path: Path, *, rounds: int, each: int) -> dict[Mode, list[float]]:
    """Return how long choices took, one after the other, in each mode; the modes take turns."""
    found: dict[Mode, list[float]] = {"disabled": [], "shadow": [], "active": []}
    async with Loom.open(LoomConfig(data=path), by="bench", extensions=[extension]) as loom:
        await loom.actor(Observer, "one").ask(Observe())
        await loom.reached()
        router = Router.of(loom)
        for number in range(rounds):
            for mode, times in found.items():
                await router.set_mode(mode, by="bench")
                for count in range(each):
                    began = time.perf_counter()
                    choice = await router.choose(REQUEST, CANDIDATES, request_id=f"{mode}-{number}-{count}")
                    times.append(time.perf_counter() - began)
                    assert (choice.agent == "agent-d") == (mode == "active")
                await router.settled()
                await asyncio.sleep(0)
    return found
