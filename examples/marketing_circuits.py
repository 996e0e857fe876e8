"""Marketing without a frontline: circuits in chains, a strategy that declines and is rotated, an audit over HTTP.

    python examples/marketing_circuits.py

A campaign for a client runs through the core circuits; an e-mail agent and a content agent do the same with their own
inputs, and a publisher acts only on what the brand guard has let through. Then engagement falls: in the third cycle in
a row the strategy is rotated, and for a client without another strategy a person is asked. An auditor with a reader's
key sees all of it over HTTP. Offline (the server listens on the loopback), and prints the same every time.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn

from loom import Actor, Command, Loom, LoomConfig
from loom.circuits import ChainReply, Circuits, bound_to, extension
from loom.errors import ActorFailedError
from loom.web.app import create_app
from loom.web.extension import extension as web
from loom.web.keys import keys_of

WORKSPACE = "acme"
CLIENT = "client-123"
SEGMENT = "enterprise"

CAMPAIGN: list[tuple[str, dict[str, Any]]] = [
    ("CX01_INTENT_DETECTION", {"business_profile": "SaaS B2B", "campaign_goal": "Lead generation"}),
    ("CX02_AUDIENCE_CLASSIFICATION", {"location": "US", "industry": "Tech"}),
    ("CX04_CONTENT_STRATEGY_SELECTION", {}),
    ("CX05_BRAND_GUARD", {"draft_content": "A guaranteed win for your pipeline", "brand_rules": {"banned": []}}),
    ("CX06_GENERATION_EXECUTION", {}),
]


class Publish(Command[str]):
    """Publish what an execution came to."""

    client_id: str
    execution_id: str
    asset: str


@bound_to("CX05_BRAND_GUARD", "CX06_GENERATION_EXECUTION")
class Publisher(Actor[None]):
    """Publishes assets, and nothing that the brand guard has not seen."""

    def __init__(self, circuits: Circuits) -> None:
        self.circuits = circuits

    async def execute(self, command: Publish) -> str:
        """Publish it, once."""
        await self.record_decision(
            rationale="it went through the brand guard",
            outcome={"published": command.asset},
            context={"execution_id": command.execution_id},
        )
        return f"published: {command.asset}"


def told(reply: ChainReply) -> None:
    """Print the path of a chain, and how sure it is."""
    for step in reply.results:
        how = "" if step.error is None else f", {'substituted' if step.substituted else 'failed'}: {step.error}"
        print(f"  {step.circuit_id:<32} {step.confidence:.2f}{how}")
        for name, value in step.data.items():
            print(f"      {name}: {value}")


async def flows(loom: Loom) -> None:
    """Run the campaign, the e-mail flow and the content flow."""
    circuits = Circuits.of(loom)
    print("A campaign, as a chain: what an earlier circuit finds feeds the later ones")
    reply = await circuits.run(CLIENT, CAMPAIGN, execution_id="campaign-1")
    told(reply)
    print(f"  confidence of the chain: {reply.confidence:.2f}, the lowest of its steps")
    print(f"  where the segment came from: {reply.results[2].provenance['segment']}")

    print("\nAn e-mail comes in: the same circuits, its own inputs")
    email = {"sender": "Northwind Bank", "subject": "Can we see a demo?", "location": "UK", "industry": "Finance"}
    reply = await circuits.run(
        "client-456",
        [
            ("CX01_INTENT_DETECTION", {"business_profile": email["sender"], "campaign_goal": email["subject"]}),
            ("CX02_AUDIENCE_CLASSIFICATION", {"location": email["location"], "industry": email["industry"]}),
            ("CX04_CONTENT_STRATEGY_SELECTION", {}),
        ],
        execution_id="email-1",
    )
    print(f"  {' '.join(token for token in reply.total_decision_path if token.startswith('SUCCESS'))}")
    print(f"  strategy: {reply.final_output['content_strategy_id']}")

    print("\nA publisher that is bound to the brand guard")
    await loom.register(Publisher, lambda: Publisher(circuits))
    publisher = loom.actor(Publisher, "site")
    try:
        await publisher.ask(
            Publish(client_id="client-456", execution_id="email-1", asset="an asset that nobody looked at")
        )
    except ActorFailedError as error:
        print(f"  refused: {str(error).split('[CircuitDependencyError: ')[1].split(';')[0]}")
    asset = str((await circuits.run(CLIENT, CAMPAIGN, execution_id="campaign-1")).final_output["final_asset"])
    published = await publisher.ask(Publish(client_id=CLIENT, execution_id="campaign-1", asset=asset))
    print(f"  {published}")


async def autonomy(loom: Loom) -> None:
    """Let engagement fall, for a client with another strategy and for one without."""
    circuits = Circuits.of(loom)
    for strategy, rate in (("strategy-webinars", 0.61), ("strategy-case-studies", 0.74), ("strategy-memes", 0.22)):
        await circuits.add_strategy(CLIENT, SEGMENT, strategy, success_rate=rate, by="mira")
    await circuits.add_strategy("client-456", SEGMENT, "strategy-only-one", success_rate=0.5, by="mira")

    print("\nEngagement falls")
    for cycle, score in enumerate((0.70, 0.68, 0.66, 0.45, 0.43, 0.42), start=1):
        counted = await circuits.count_cycle(CLIENT, SEGMENT, engagement=score, conversion=0.18)
        said = f"declining for {counted.decline_cycles}" if counted.decline_cycles else "within its baseline"
        print(f"  cycle {cycle}: {score:.2f}, {said}", end="")
        print(f" → {counted.new_strategy_id}" if counted.new_strategy_id else "")
    print(f"  {counted.health.reason}; confidence {counted.health.confidence}")

    reply = await circuits.run(CLIENT, CAMPAIGN, execution_id="campaign-2")
    print(f"  the campaign again: {reply.final_output['final_asset']}")

    for score in (0.5, 0.5, 0.2, 0.2, 0.2):
        counted = await circuits.count_cycle("client-456", SEGMENT, engagement=score, conversion=0.05)
    print(f"  client-456 has no other strategy: {counted.health.action_type}")
    for open_one in circuits.escalations.open():
        print(f"  waits for a person: {open_one.cause}: {open_one.reason}")
        closed = await circuits.escalations.close(
            open_one.escalation_id, by="jonas", reason="a new strategy is drafted"
        )
        print(f"  closed by {closed.closer}: {closed.closed_because}")


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[Loom, int]]:
    """Serve the workspace on a free port of the loopback; yield its loom, and the port."""
    config = LoomConfig(data=folder)
    app = create_app(
        {WORKSPACE: lambda: Loom.open(config, workspace=WORKSPACE, by="mira", extensions=[extension, web])}
    )
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield app.state.api.loom(WORKSPACE), server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


def get(port: int, path: str, key: str) -> tuple[int, Any]:
    """Ask the API."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", f"{path}workspaceId={WORKSPACE}", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


async def audit(loom: Loom, port: int) -> None:
    """Read it all over HTTP, with a key that may only read."""
    print("\nThe audit, over HTTP")
    print(f"  without a key: {(await asyncio.to_thread(get, port, '/api/circuits/audit?', 'none'))[0]}")
    key = await keys_of(loom).issue("auditor", "reader", by="mira")
    _, said = await asyncio.to_thread(get, port, f"/api/circuits/audit?clientId={CLIENT}&", key)
    metrics = said["metrics"]
    print(
        f"  {CLIENT}: {metrics['total_executions']} executions, {metrics['success_rate']:.0%} succeeded, "
        f"{metrics['substituted_count']} more with what a failure mode put in"
    )
    for execution in reversed(said["execution_history"]):
        print(f"    {' '.join(execution['decision_path'])}")
    _, board = await asyncio.to_thread(get, port, "/api/circuits/autonomy?action=dashboard&", key)
    print(f"  dashboard: {board['summary']}")
    for state in board["strategy_states"]:
        print(f"    {state['client_id']} {state['audience_segment']}: {state['strategy_id']}")


async def story(folder: Path) -> None:
    """Tell it."""
    async with served(folder) as (loom, port):
        await flows(loom)
        await autonomy(loom)
        await audit(loom, port)


def main() -> None:
    """Tell the story in a throw-away folder."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))


if __name__ == "__main__":
    main()
