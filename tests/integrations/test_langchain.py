"""An agent of LangChain in a turn: requests of its model and calls of its tools are steps, made once."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

pytest.importorskip("langchain", reason="langchain is not installed: make integrations")

from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, tool
from pydantic import BaseModel

from loom import Actor, Command
from loom.actors.entries import EffectIntendedEntry
from loom.decisions import ModelCalledEntry
from loom.decisions.entries import ApprovalRequestedEntry, ContextGatheredEntry
from loom.errors import ActorFailedError
from loom.integrations.langchain import LoomMiddleware, handled
from loom.sealing import MASTER_KEY, Sealed
from loom.testing import Scenario
from tests.integrations.support import sealing_loom

CALLS: Counter[str] = Counter()
SEEN: list[str] = []
"""What the model was sent."""


class Scripted(BaseChatModel):
    """Answers by how much was said before, so that the same question has the same answer."""

    answers: list[AIMessage]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _get_ls_params(self, stop: list[str] | None = None, **_: Any) -> LangSmithParams:
        return LangSmithParams(ls_provider="test", ls_model_name="scripted")  # a model of this provider is free

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        CALLS["model"] += 1
        SEEN.append(str(messages))
        said = sum(isinstance(each, AIMessage) for each in messages)
        return ChatResult(generations=[ChatGeneration(message=self.answers[said])])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        return self._generate(messages)


@tool
def order(order_id: str) -> dict[str, Any]:
    """Look an order up."""
    CALLS["order"] += 1
    return {"order_id": order_id, "paid_usd": 40}


@tool
def refund(order_id: str, usd: int) -> str:
    """Pay money back."""
    CALLS["refund"] += 1
    return f"{usd} $ paid back"


order.metadata = handled("look_up", system="shop", entity="order")
refund.metadata = handled("repeatable", approver="lead")


def calling(name: str, arguments: dict[str, Any], call_id: str) -> AIMessage:
    return AIMessage(
        content="",
        tool_calls=[{"name": name, "args": arguments, "id": call_id}],
        usage_metadata={"input_tokens": 20, "output_tokens": 5, "total_tokens": 25},
    )


ANSWERS = [
    calling("order", {"order_id": "o-1"}, "a"),
    calling("refund", {"order_id": "o-1", "usd": 40}, "b"),
    AIMessage(content="It was paid back."),
]


def agent(**given: Any) -> Any:
    tools: list[BaseTool] = [order, refund]
    return create_agent(Scripted(answers=ANSWERS), tools=tools, middleware=[LoomMiddleware()], **given)


class Ask(Command[Any]):
    command_type: ClassVar[str] = "langchain_ask"
    mail: str
    sync: bool = False


class Support(Actor):
    actor_type = "langchain-support"

    async def execute(self, command: Ask) -> str:
        said = {"messages": [{"role": "user", "content": command.mail}]}
        done = agent().invoke(said) if command.sync else await agent().ainvoke(said)
        refunds = [each for each in done["messages"] if isinstance(each, ToolMessage) and each.name == "refund"]
        return f"{refunds[0].content} {done['messages'][-1].content}"


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    CALLS.clear()
    SEEN.clear()


async def test_a_run_resumes_from_every_entry_with_its_models_tools_and_approval() -> None:
    happened = await Scenario(Support, always_resume=True).when(Ask(mail="The lamp is broken."))

    happened.then(reply="40 $ paid back It was paid back.")
    models = [each for each in happened.entries if isinstance(each, ModelCalledEntry)]
    assert [each.usage.input_tokens if each.usage else 0 for each in models] == [20, 20, 0]
    assert [each.tools for each in models] == [("order", "refund")] * 3
    [asked] = [each for each in happened.entries if isinstance(each, ApprovalRequestedEntry)]
    assert (asked.approver, asked.action, asked.arguments) == ("lead", "refund", {"order_id": "o-1", "usd": 40})
    [looked] = [each for each in happened.entries if isinstance(each, ContextGatheredEntry)]
    assert (looked.system, looked.entity, looked.query) == ("shop", "order", "o-1")
    [intended] = [each for each in happened.entries if isinstance(each, EffectIntendedEntry)]
    assert intended.arguments == {"order_id": "o-1", "usd": 40}


async def test_a_denied_tool_is_not_called_and_the_model_reads_why() -> None:
    happened = await Scenario(Support, answers={"lead": False}).when(Ask(mail="The lamp is broken."))

    assert "was denied by" in happened.reply
    assert "the scenario says so" in happened.reply
    assert CALLS["refund"] == 0


async def test_outside_a_turn_the_agent_runs_as_without_it() -> None:
    done = await agent().ainvoke({"messages": [{"role": "user", "content": "hello"}]})

    assert done["messages"][-1].content == "It was paid back."
    assert CALLS == {"model": 3, "order": 1, "refund": 1}


async def test_invoke_within_a_turn_is_refused_with_what_to_do() -> None:
    happened = await Scenario(Support).when(Ask(mail="hello", sync=True))

    assert isinstance(happened.error, ActorFailedError)
    assert "NoTurnError" in str(happened.error)
    assert "ainvoke" in str(happened.error)


class Verdict(BaseModel):
    broken: bool


async def test_a_structured_answer_comes_back_in_its_type() -> None:
    from langchain.agents.structured_output import ToolStrategy

    judge = create_agent(
        Scripted(answers=[calling("Verdict", {"broken": True}, "v")]),
        tools=[],
        middleware=[LoomMiddleware()],
        response_format=ToolStrategy(Verdict),
    )

    class Judge(Actor):
        actor_type = "langchain-judge"

        async def execute(self, command: Ask) -> bool:
            done = await judge.ainvoke({"messages": [{"role": "user", "content": command.mail}]})
            verdict = done["structured_response"]
            assert isinstance(verdict, Verdict)
            return verdict.broken

    happened = await Scenario(Judge, always_resume=True).when(Ask(mail="It is."))

    happened.then(reply=True)


class WriteTo(Command[str]):
    command_type = "langchain_write_to"
    subject_field = "customer_id"

    customer_id: str
    email: Annotated[str, Sealed()]


class Writer(Actor):
    actor_type = "langchain-writer"

    async def execute(self, command: WriteTo) -> str:
        done = await agent().ainvoke({"messages": [{"role": "user", "content": f"write to {command.email}"}]})
        return str(done["messages"][-1].content)


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


class LookFor(WriteTo):
    command_type = "langchain_look_for"


class Looking(Actor):
    actor_type = "langchain-looking"

    async def execute(self, command: LookFor) -> str:
        model = Scripted(answers=[calling("order", {"order_id": command.email}, "a"), AIMessage(content="found")])
        done = await create_agent(model, tools=[order], middleware=[LoomMiddleware()]).ainvoke(
            {"messages": [{"role": "user", "content": "find it"}]}
        )
        return str(done["messages"][-1].content)


async def test_what_is_sealed_is_not_in_the_query_of_a_look_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())
    async with sealing_loom(tmp_path, Looking) as loom:
        command = LookFor(customer_id="c-7", email="ada@example.org")
        assert await loom.actor(Looking, "one").ask(command, by="ada") == "found"
        entries = [recorded.entry async for recorded in loom.store.read("langchain-looking/one")]

    [looked] = [each for each in entries if isinstance(each, ContextGatheredEntry)]
    assert looked.query == "[sealed]"
