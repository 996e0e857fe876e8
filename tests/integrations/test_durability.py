"""An agent of pydantic-ai in a turn: each request of a model and each tool is a step, made once and given back."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")

from pydantic_ai import Agent, Tool

from loom import effect_key
from loom.actors.entries import EffectIntendedEntry, EffectPerformedEntry
from loom.decisions.entries import ApprovalRequestedEntry, ContextGatheredEntry
from loom.integrations.pydantic_ai import AgentActor, LoomDurability, RunAgent, handled
from loom.testing import Scenario
from tests.integrations.support import CALLS, scripted

KEYS: list[str] = []


def order(order_id: str) -> dict[str, Any]:
    CALLS["order"] += 1
    return {"order": order_id, "paid_usd": 40}


def refund(order_id: str, amount_usd: int, note: str = "") -> str:
    CALLS["refund"] += 1
    KEYS.append(effect_key())
    return f"refunded {amount_usd}"


class Support(AgentActor):
    agent = Agent(
        scripted([("order", {"order_id": "o-1"})], [("refund", {"order_id": "o-1", "amount_usd": 40})], "It was {1}."),
        name="support",
        tools=[
            Tool(order, metadata=handled("look_up", system="shop", entity="order")),
            Tool(refund, requires_approval=True, metadata=handled("repeatable", approver="lead")),
        ],
        capabilities=[LoomDurability()],
    )


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    CALLS.clear()
    KEYS.clear()


async def test_a_run_with_tools_and_an_approval_resumes_from_every_entry() -> None:
    happened = await Scenario(Support, always_resume=True).when(RunAgent(prompt="My order o-1 is broken."))

    happened.then(reply="It was refunded 40.", decisions=1)
    [asked] = [each for each in happened.entries if isinstance(each, ApprovalRequestedEntry)]
    [looked] = [each for each in happened.entries if isinstance(each, ContextGatheredEntry)]
    [intent] = [each for each in happened.entries if isinstance(each, EffectIntendedEntry)]
    [done] = [each for each in happened.entries if isinstance(each, EffectPerformedEntry)]
    assert (looked.system, looked.entity, looked.query) == ("shop", "order", "o-1")
    assert looked.result == {"order": "o-1", "paid_usd": 40}
    assert (asked.approver, asked.action, asked.arguments) == ("lead", "refund", intent.arguments)
    assert intent.arguments == {"order_id": "o-1", "amount_usd": 40}
    assert (intent.under, intent.repeatable, done.result) == (asked.approval_id, True, "refunded 40")
    assert set(KEYS) == {intent.key}
    [decision] = happened.decisions
    assert decision.outcome == {"output": "It was refunded 40."}
    assert [each.entity for each in decision.inputs] == ["order"]
    assert [each.by for each in decision.approvals] == ["the answerer of the scenario"]
