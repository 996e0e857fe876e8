"""Routing under rails, in four phases: history may first do nothing, then be compared, then be used, then be stopped.

    python examples/care_routing.py

Three seeded agents take requests of a help desk: `atlas`, whom the baseline prefers by its id, is slow and flaky;
`borea` is quick; `cumul` is cheap. Every run of an agent is journaled, and those journaled runs are all that the
optimiser may learn from. Offline, and prints the same every time.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from random import Random

from loom import Actor, Command, Loom, LoomConfig
from loom.routing import (
    AgentSignals,
    Candidate,
    Choice,
    ExecutionEntry,
    ForbiddenSignalError,
    Router,
    RoutingRequest,
    extension,
)

AGENTS = {"atlas": (340, 0.78, 9_000), "borea": (120, 0.94, 8_000), "cumul": (260, 0.85, 4_000)}
"""Latency in ms, how often a run comes to its end, and what it costs in millionths of a dollar."""

CANDIDATES = tuple(Candidate(agent=name, domains=("support",), tasks=("answer",)) for name in AGENTS)


class Handle(Command[bool]):
    """Have an agent take a request."""

    agent: str
    request_id: str


class HelpDesk(Actor[None]):
    """Runs the agent that was chosen, and journals how that went."""

    async def execute(self, command: Handle) -> bool:
        """Run the (simulated) agent once."""
        chance = Random(command.request_id + command.agent)  # noqa: S311 - a simulation, the same every time
        latency_ms, reliability, cost = AGENTS[command.agent]
        succeeded = chance.random() < reliability
        await self.record(
            ExecutionEntry(
                agent=command.agent,
                succeeded=succeeded,
                latency_ms=round(latency_ms * chance.uniform(0.8, 1.3)),
                cost_micro_usd=cost,
                recovered=not succeeded and chance.random() < 0.5,
            )
        )
        return succeeded


async def serve(loom: Loom, first: int, count: int) -> list[Choice]:
    """Route requests and run the agents that were chosen, one after the other."""
    choices = []
    for number in range(first, first + count):
        request = RoutingRequest(description=f"question {number}", domain="support", tasks=("answer",))
        choice = await Router.of(loom).choose(request, CANDIDATES, request_id=f"q-{number:03}")
        assert choice.agent is not None
        await loom.actor(HelpDesk, "desk").ask(Handle(agent=choice.agent, request_id=choice.request_id))
        choices.append(choice)
    await loom.reached()
    return choices


def told(choices: list[Choice]) -> str:
    """Return how often each agent was chosen."""
    agents = sorted({str(each.agent) for each in choices})
    return ", ".join(f"{agent} {sum(each.agent == agent for each in choices)} times" for agent in agents)


async def story(folder: Path) -> None:
    """Tell it."""
    config = LoomConfig(data=folder)
    async with Loom.open(config, by="mira", extensions=[extension]) as loom:
        router = Router.of(loom)

        print("Phase 0, disabled: the baseline alone, and nothing is decided")
        print(f"  30 requests: {told(await serve(loom, 0, 30))}")
        for agent in ("borea", "cumul"):  # each is tried beside the road, so that there is something to compare
            for number in range(30):
                await loom.actor(HelpDesk, "trial").ask(Handle(agent=agent, request_id=f"trial-{number}"))
        await loom.reached()

        print("\nPhase 1, shadow: compared, logged, and not used")
        await router.set_mode("shadow", by="mira", reason="to see what it would do")
        print(f"  20 requests: {told(await serve(loom, 30, 20))}")
        await router.settled()
        print(f"  the shadow log: {dict(router.shadow.counts)}")
        print(f"  on the timeline: {len(await router.timeline())} entries")

        print("\nPhase 2, active: used where it differs, and then decided")
        await router.set_mode("active", by="mira", reason="two weeks of shadow without a surprise")
        print(f"  20 requests: {told(await serve(loom, 50, 20))}")
        timeline = await router.timeline()
        print(f"  on the timeline: {len(timeline)} entries, of which the first is\n")
        print("    " + timeline[-1].text.replace("\n", "\n    "))

        print("\nA replay, on the snapshot that was journaled")
        replayed = await router.replay("q-050")
        print(f"  q-050: chosen was {replayed.recorded.agent}, now {replayed.agent}")
        worse = {name: AgentSignals(samples=50, values={"success_rate": 0.9, "latency_p50": 200.0}) for name in AGENTS}
        replayed = await router.replay("q-050", signals=worse)
        print(f"  … had all been alike: {replayed.agent}")
        try:
            await router.signals.read(CANDIDATES, ["user_feedback"])
        except ForbiddenSignalError as error:
            print(f"  {str(error).split(';')[0]}")

        print("\nThe kill switch: at once, and through a restart")
        await router.kill(by="jonas", reason="borea has an incident")
        print(f"  10 requests: {told(await serve(loom, 70, 10))}")

    async with Loom.open(config, by="mira", extensions=[extension]) as loom:
        router = Router.of(loom)
        status = await router.status()
        print(f"  after a restart: killed is {status.killed}, by {status.switch_by}: {status.switch_because}")
        print(f"  10 requests: {told(await serve(loom, 80, 10))}")

        print("\nPhase 3, stable: re-armed by a person, and the default from here on")
        await router.rearm(by="jonas", reason="the incident is over")
        await router.set_mode("stable", by="mira", reason="a quarter without a surprise")
        print(f"  20 requests: {told(await serve(loom, 90, 20))}")
        status = await router.status()
        print(f"  history chose {status.decisions} times, and each time there is a decision that says why")


def main() -> None:
    """Tell the story in a throw-away folder."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))


if __name__ == "__main__":
    main()
