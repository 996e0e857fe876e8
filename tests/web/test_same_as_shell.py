"""What the API answers with is what the shell prints with `--json`, word for word."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loom.circuits import Circuits
from tests.cli.support import invoke
from tests.web.support import Ask, Asker, Client, served

pytestmark = pytest.mark.slow

EXECUTE = {"circuitId": "CX01_INTENT_DETECTION", "clientId": "c-1", "inputs": {"business_profile": "SaaS"}}


async def filled(client: Client) -> None:
    """Leave something of everything: a run, a request, an escalation, a strategy."""
    loom = client.loom()
    async with loom.runs.run(run_id="season"):
        await Circuits.of(loom).run("c-1", [("CX01_INTENT_DETECTION", {"business_profile": "SaaS"})])
    await client.call("POST", "/api/circuits/execute", EXECUTE)
    broken = {**EXECUTE, "circuitId": "CX08_SELF_CORRECTION", "inputs": {"engagement_score": "x", "baseline": 1}}
    await client.call("POST", "/api/circuits/execute", broken)
    await Circuits.of(loom).count_cycle("c-1", "s", engagement=0.5, conversion=0.1)
    asked = asyncio.ensure_future(loom.actor(Asker, "a").ask(Ask()))
    while not (pending := await loom.approvals.list(status="pending")):
        await asyncio.sleep(0.005)
    await loom.approvals.grant(pending[0].approval_id, by="vera")
    assert await asked


async def test_the_api_and_the_shell_say_the_same(tmp_path: Path) -> None:
    config = tmp_path / "loom.config.yaml"
    config.write_text("data: data\nworkspace: one\n")
    async with served(tmp_path / "data") as client:
        await filled(client)
        loom = client.loom()
        [*_, oldest] = await loom.traces.find()
        version = (await loom.traces.get(oldest.decision_id)).decision.under.version
        [approval] = await loom.approvals.list()
        pairs: list[tuple[str, tuple[str, ...]]] = [
            ("/api/decisions", ("decisions",)),
            (
                "/api/facets?name=business_profile&since=2020-01-01T00:00:00Z",
                ("decisions", "--facets", "business_profile"),
            ),
            (f"/api/decisions/{oldest.decision_id}", ("why", oldest.decision_id)),
            ("/api/approvals?status=all", ("approvals", "--all")),
            (f"/api/approvals/{approval.approval_id}", ("approvals", approval.approval_id)),
            ("/api/policies", ("policies",)),
            (f"/api/policies/{version}", ("policies", "show", version)),
            ("/api/runs", ("runs",)),
            ("/api/runs/season", ("runs", "show", "season")),
            ("/api/journals", ("journal",)),
            ("/api/journals/circuits/c-1", ("journal", "circuits/c-1")),
            ("/api/circuits/audit", ("circuits", "audit", "-n", "100")),
            ("/api/circuits/autonomy", ("circuits", "strategies")),
            ("/api/circuits/escalations", ("circuits", "escalations")),
        ]
        for path, command in pairs:
            said = await client.call("GET", path, role="admin")
            assert said.status == 200, (path, said)
            answer = await asyncio.to_thread(invoke, *command, "--json", config=config)
            assert answer.code == 0, (command, answer)
            api: Any = said.json.get("items", said.json)
            shell: Any = answer.lines if command[0] == "journal" and len(command) > 1 else answer.json
            assert api == shell, path
        judging = {"under": version, "ids": [oldest.decision_id]}
        judged = (await client.call("POST", "/api/replay/judge", judging)).json
        answer = await asyncio.to_thread(
            invoke, "replay", "judge", "--under", version, "--decision", oldest.decision_id, "--json", config=config
        )
        assert answer.json == judged
