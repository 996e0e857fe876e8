"""Tools of an MCP server in a turn: what it offers is a look-up, and its hints count where they are trusted."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("fastmcp.server", reason="fastmcp is not installed: see `make integrations`")

from fastmcp import FastMCP
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset

from loom.actors.entries import EffectIntendedEntry
from loom.decisions.entries import ContextGatheredEntry
from loom.integrations.pydantic_ai import AgentActor, LoomDurability, RunAgent
from loom.testing import Scenario
from tests.integrations.support import CALLS, scripted


def server() -> FastMCP[Any]:
    made: FastMCP[Any] = FastMCP("shop")

    def order(order_id: str) -> str:
        """Look an order up."""
        CALLS["order"] += 1
        return f"order {order_id}"

    made.tool(order, annotations={"readOnlyHint": True})
    return made


@pytest.mark.parametrize("trusts_hints", [False, True])
async def test_a_tool_of_a_server_is_an_effect_unless_its_hints_are_trusted(*, trusts_hints: bool) -> None:
    CALLS.clear()
    toolset: Any = MCPToolset(server(), id="shop")

    class Desk(AgentActor):
        agent = Agent(
            scripted([("order", {"order_id": "o-1"})], "{0}"),
            name="desk",
            toolsets=[toolset],
            capabilities=[LoomDurability(trusts_hints=trusts_hints)],
        )

    happened = await Scenario(Desk, always_resume=trusts_hints).when(RunAgent(prompt="go"))
    happened.then(reply="order o-1")
    looked = [each.entity for each in happened.entries if isinstance(each, ContextGatheredEntry)]
    assert looked.count("tools") >= 1
    assert ("order" in looked) == trusts_hints
    assert any(isinstance(each, EffectIntendedEntry) for each in happened.entries) != trusts_hints
