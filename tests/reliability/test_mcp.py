"""R31 for the tools of `loom mcp`: every tool with every role's key of every workspace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loom import Loom, LoomConfig
from loom.mcp import READING_ROLES, Opened, Tools
from loom.precedents import EquivalenceRegistry
from loom.web.extension import extension as web
from loom.web.keys import keys_of
from tests.reliability.board import Tally, row
from tests.reliability.test_api import CANARY
from tests.web.support import ROLES, Ask, Asker

pytest.importorskip("mcp", reason="the extra [mcp] is not installed")

from mcp import Client

from loom.mcp.server import create_server


def arguments(ids: list[str], approval: str) -> dict[str, list[dict[str, Any]]]:
    """What each tool is asked; a tool that is not here fails the row."""
    return {
        "list_decisions": [{}, {"actor": f"asker/{CANARY}"}, {"actor": "asker"}],
        "why": [{"decision_id": each} for each in ids],
        "find_precedents": [{"words": "canary"}, {"facts": {"why": CANARY}}, *({"decision_id": each} for each in ids)],
        "what_would_policy_say": [{"policy": "asker", "facts": {}}, {"policy": "web.permissions", "facts": {}}],
        "pending_approvals": [{}],
        "ask_person": [{"approval_id": approval}],
    }


def tools_of(loom: Loom, workspace: str) -> Tools:
    @asynccontextmanager
    async def opens() -> AsyncIterator[Opened]:
        alike = EquivalenceRegistry(loom.store)
        await alike.load()
        yield Opened(loom.store, loom.traces, loom.approvals, loom.precedents, loom.policies, alike.describe)  # type: ignore[arg-type]

    return Tools(opens, workspace=workspace, explorer="http://127.0.0.1:1")


@pytest.mark.seconds(60)
@row("R31")
async def test_no_tool_of_mcp_shows_another_workspace_or_takes_a_key_that_may_answer(
    tmp_path: Path, tally: Tally
) -> None:
    def opened(name: str) -> Loom:
        return Loom.open(LoomConfig(data=tmp_path), workspace=name, by="mira", extensions=[web], actors=[Asker])

    async with opened("one") as one, opened("two") as two:
        looms = {"one": one, "two": two}
        ids: list[str] = []
        approval = ""
        for number in range(2):
            await one.actor(Asker, CANARY).tell(Ask(why=f"canary {CANARY}"), id=f"c-{number}", by="mira")
            while not (pending := await one.approvals.pending()):
                await asyncio.sleep(0.01)
            approval = pending[0].approval_id
            if number == 0:
                await one.approvals.grant(approval, by="dana")
                while not (found := await one.traces.find()):
                    await asyncio.sleep(0.01)
                ids = [each.decision_id for each in found]
        keys = {
            (name, role): await keys_of(loom).issue(f"{role}@{name}", role, by="mira")
            for name, loom in looms.items()
            for role in ROLES
        }
        asked = arguments(ids, approval)
        seen_by_its_own = 0
        for name, loom in looms.items():
            for (of, role), key in keys.items():
                async with Client(create_server(tools_of(loom, name), key_of=lambda _, key=key: key)) as client:  # type: ignore[misc]
                    offered = {each.name for each in (await client.list_tools()).tools}
                    tally.check(offered == set(asked), f"a tool that nothing is said about: {offered ^ set(asked)}")
                    for tool, each in ((tool, each) for tool, every in asked.items() for each in every):
                        said = await client.call_tool(tool, each)
                        text = "".join(getattr(part, "text", "") for part in said.content)
                        for sent in (*each.values(), *(each.get("facts") or {}).values()):
                            text = text.replace(str(sent), "")
                        tally.tried()
                        may = of == name and role in READING_ROLES
                        tally.check(("KeyRefusedError" in text) == (not may), (name, of, role, tool, text))
                        tally.check(may or CANARY not in text, (name, of, role, tool, "sees it"))
                        tally.check(name == "one" or CANARY not in text, (name, of, role, tool, "sees the other"))
                        seen_by_its_own += may and CANARY in text
        tally.control(trials=1, found=seen_by_its_own > 0)
