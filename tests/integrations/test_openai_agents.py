"""An agent of the OpenAI Agents SDK in a turn: requests of models and calls of tools are steps, made once."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import pytest

pytest.importorskip("agents", reason="openai-agents is not installed: make integrations")

from agents import Agent, Model, ModelResponse, Usage, function_tool, set_tracing_disabled
from agents.testing import ModelStep, ScriptedModel
from agents.testing.model import assistant_message, function_call

from loom import Actor, Command
from loom.actors.entries import EffectIntendedEntry
from loom.decisions import ModelCalledEntry
from loom.decisions.entries import ApprovalRequestedEntry, ContextGatheredEntry
from loom.integrations.openai_agents import handled, run
from loom.sealing import MASTER_KEY, Sealed
from loom.testing import Scenario
from tests.integrations.support import sealing_loom

CALLS: Counter[str] = Counter()
SEEN: list[str] = []
"""What the model was sent."""
ANSWERS: list[Any] = [
    function_call("order", {"order_id": "o-1"}, call_id="a"),
    function_call("refund", {"order_id": "o-1", "usd": 40}, call_id="b"),
    assistant_message("It was paid back."),
]


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    set_tracing_disabled(True)
    CALLS.clear()
    SEEN.clear()


@function_tool
def order(order_id: str) -> dict[str, Any]:
    """Look an order up."""
    CALLS["order"] += 1
    return {"order_id": order_id, "paid_usd": 40}


@function_tool(needs_approval=True)
def refund(order_id: str, usd: int) -> str:
    """Pay money back."""
    CALLS["refund"] += 1
    return f"{usd} $ paid back"


class Scripted(ScriptedModel):
    """Answers by how much was said before, so that the same question has the same answer."""

    async def get_response(self, system_instructions: Any, input: Any, *rest: Any, **options: Any) -> ModelResponse:
        CALLS["model"] += 1
        SEEN.append(f"{system_instructions} {input}")
        said = 0 if isinstance(input, str) else sum(item.get("type") == "function_call" for item in input)
        return ModelResponse(output=[ANSWERS[said]], usage=Usage(requests=1, input_tokens=20), response_id=f"r{said}")


def agent(model: Model | None = None) -> Agent[Any]:
    return Agent(name="support", instructions="Be kind.", model=model or Scripted(), tools=[order, refund])


class Ask(Command[str]):
    command_type = "openai_agents_ask"

    mail: str


class Support(Actor):
    actor_type = "openai-agents-support"

    async def execute(self, command: Ask) -> str:
        handling = {"order": handled("look_up", system="shop", entity="order"), "refund": handled("repeatable")}
        done = await run(agent(), command.mail, approver="lead", handling=handling)
        said = [item.output for item in done.new_items if item.type == "tool_call_output_item"]
        return f"{said} {done.final_output}"


async def test_a_run_resumes_from_every_entry_with_its_models_tools_and_approval() -> None:
    happened = await Scenario(Support, always_resume=True).when(Ask(mail="The lamp is broken."))

    assert happened.error is None
    assert "40 $ paid back" in happened.reply
    assert happened.reply.endswith("It was paid back.")
    models = [each for each in happened.entries if isinstance(each, ModelCalledEntry)]
    assert [each.response_id for each in models] == ["r0", "r1", "r2"]
    assert [each.tools for each in models] == [("order", "refund")] * 3
    [asked] = [each for each in happened.entries if isinstance(each, ApprovalRequestedEntry)]
    assert (asked.approver, asked.action, asked.arguments) == ("lead", "refund", {"order_id": "o-1", "usd": 40})
    [looked] = [each for each in happened.entries if isinstance(each, ContextGatheredEntry)]
    assert (looked.system, looked.entity, looked.query) == ("shop", "order", "o-1")
    [intended] = [each for each in happened.entries if isinstance(each, EffectIntendedEntry)]
    assert intended.arguments == {"order_id": "o-1", "usd": 40}


async def test_a_denied_tool_is_not_called_and_the_model_reads_why() -> None:
    happened = await Scenario(Support, answers={"lead": False}).when(Ask(mail="The lamp is broken."))

    assert "the scenario says so" in happened.reply
    assert CALLS["refund"] == 0


async def test_outside_a_turn_it_is_the_run_of_the_sdk() -> None:
    model = ScriptedModel([ModelStep(output=[assistant_message("Hello.")])])

    done = await run(agent(model), "hello")

    assert done.final_output == "Hello."
    assert len(model.calls) == 1


async def test_an_agent_that_is_handed_over_to_makes_steps_too() -> None:
    class Handing(Scripted):
        async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
            call = function_call("transfer_to_support", {}, call_id="h")
            return ModelResponse(output=[call], usage=Usage(), response_id="h")

    class Plain(Scripted):
        async def get_response(self, *_: Any, **__: Any) -> ModelResponse:
            return ModelResponse(output=[assistant_message("Here.")], usage=Usage(), response_id="p")

    first: Agent[Any] = Agent(name="first", model=Handing(), handoffs=[Agent(name="support", model=Plain())])

    class Desk(Actor):
        actor_type = "openai-agents-desk"

        async def execute(self, command: Ask) -> str:
            return str((await run(first, command.mail)).final_output)

    happened = await Scenario(Desk, always_resume=True).when(Ask(mail="hello"))

    happened.then(reply="Here.")
    assert [each.response_id for each in happened.entries if isinstance(each, ModelCalledEntry)] == ["h", "p"]


class WriteTo(Command[str]):
    command_type = "openai_write_to"
    subject_field = "customer_id"

    customer_id: str
    email: Annotated[str, Sealed()]


class Writer(Actor):
    actor_type = "openai-writer"

    async def execute(self, command: WriteTo) -> str:
        return str((await run(agent(), f"write to {command.email}", approver="lead")).final_output)


async def test_what_is_sealed_is_sent_as_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())
    async with sealing_loom(tmp_path, Writer) as loom:
        asked = asyncio.create_task(
            loom.actor(Writer, "one").ask(WriteTo(customer_id="c-7", email="ada@example.org"), by="ada")
        )
        while not (requests := await loom.approvals.pending()):
            await asyncio.sleep(0)
        await loom.approvals.grant(requests[0].approval_id, by="mira")
        assert await asked == "It was paid back."

    assert len(SEEN) == 3
    assert all("write to [sealed]" in each and "ada@" not in each for each in SEEN)
