"""An agent of pydantic-ai in a turn: each request of a model and each tool is a step, made once and given back."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import pytest

pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")

from pydantic_ai import Agent, Tool
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from loom import Actor, Command, effect_key
from loom.actors.entries import EffectIntendedEntry, EffectPerformedEntry
from loom.decisions.entries import ApprovalRequestedEntry, ContextGatheredEntry
from loom.errors import TurnStuckError
from loom.integrations.pydantic_ai import AgentActor, LoomDurability, RunAgent, handled
from loom.sealing import MASTER_KEY, Sealed
from loom.testing import Scenario
from tests.actors.support import entries, lay_down, opened
from tests.integrations.support import CALLS, scripted, sealing_loom

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


NAMES = [
    ("call_model", "support__model.request", 0),
    ("gather_context", "support__function_toolset__<agent>.call_tool:order#1", 0),
    ("call_model", "support__model.request", 1),
    ("request_approval", "support__approval:refund#1", 0),
    ("perform", "support__function_toolset__<agent>.call_tool:refund/bbf78eefd3bbbc83", 0),
    ("call_model", "support__model.request", 2),
    ("record_decision", "agent_run", 0),
]


async def test_the_names_of_steps_are_those_of_journals_that_exist() -> None:
    """A journal of a turn in flight has these keys: under other names it would not be resumed."""
    happened = await Scenario(Support).when(RunAgent(prompt="go"))
    found = list(dict.fromkeys(entry.step for entry in happened.entries if entry.step is not None))
    assert [(step.verb, step.key, step.occurrence) for step in found] == NAMES


async def test_an_effect_that_was_cut_short_waits_for_a_person_unless_it_may_be_repeated(tmp_path: Path) -> None:
    class Once(AgentActor):
        agent = Agent(
            scripted([("refund", {"order_id": "o-1", "amount_usd": 40})], "{0}"),
            name="once",
            tools=[refund],
            capabilities=[LoomDurability()],
        )

    async with opened(tmp_path / "whole", agents=[Once]) as loom:
        assert await loom.actor(Once, "one").ask(RunAgent(prompt="go"), id="c") == "refunded 40"
        history = await entries(loom, "once/one")
    cut = next(at for at, each in enumerate(history, 1) if each.kind == "effect_intended")
    CALLS.clear()
    await lay_down(tmp_path / "cut", history[:cut])
    async with opened(tmp_path / "cut", agents=[Once]) as loom:
        with pytest.raises(TurnStuckError, match=r"performed .refund., which is not repeatable"):
            await loom.actor(Once, "one").ask(RunAgent(prompt="go"), id="c")
    assert not CALLS


# --- protected values ----------------------------------------------------------------------------

SENT: list[str] = []


def hears(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    SENT.append(str(messages))
    return ModelResponse(parts=[TextPart("dear")])


class WriteTo(Command[str]):
    command_type = "durability_write_to"
    subject_field = "customer_id"

    customer_id: str
    email: Annotated[str, Sealed()]


class Hearing(Actor):
    actor_type = "durability-hearing"
    agent = Agent(FunctionModel(hears, model_name="hears"), name="hearing", capabilities=[LoomDurability()])

    async def execute(self, command: WriteTo) -> str:
        return str((await type(self).agent.run(f"write to {command.email}")).output)


async def test_what_is_sealed_is_sent_to_the_model_as_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())
    async with sealing_loom(tmp_path, Hearing) as loom:
        command = WriteTo(customer_id="c-7", email="ada@example.org")
        assert await loom.actor(Hearing, "one").ask(command, by="ada") == "dear"

    [sent] = SENT
    assert "write to [sealed]" in sent
    assert "ada@" not in sent
