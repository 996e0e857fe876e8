"""The scenarios that pydantic-ai tests its own engines with, in turns: what is made in a run is made once.

Each run is cut short after every entry and resumed. What does not apply to loom is in docs/integrations.md.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterable, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest

pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")

from pydantic import BaseModel
from pydantic_ai import Agent, ModelRetry, RunContext, Tool
from pydantic_ai.capabilities import AbstractCapability, ModelFallback
from pydantic_ai.exceptions import ApprovalRequired, ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.tools import DeferredToolRequests
from pydantic_ai.toolsets import DynamicToolset, FunctionToolset

from loom import Command, Loom, LoomConfig
from loom.actors import Replied, TextDelta
from loom.actors.entries import EffectIntendedEntry, EffectPerformedEntry
from loom.decisions.entries import ApprovalRequestedEntry, ContextGatheredEntry
from loom.decisions.model_calls import ModelCalledEntry
from loom.errors import EffectFailedError
from loom.integrations.pydantic_ai import AgentActor, LoomDurability, RunAgent, handled
from loom.sealing import MASTER_KEY, Sealed, SealingConfig
from loom.testing import Scenario, ScenarioResult
from tests.actors.support import Granting
from tests.integrations.support import CALLS, scripted


class Answer(BaseModel):
    text: str
    number: int


@pytest.fixture(autouse=True)
def nothing_called() -> None:
    CALLS.clear()


def add(first: int, second: int) -> int:
    CALLS["add"] += 1
    return first + second


def actor(agent: Agent[Any, Any], *, deps: Any = None) -> type[AgentActor]:
    """Return an actor class for an agent of one test."""
    return type("Tested", (AgentActor,), {"agent": agent, "deps": lambda self, command: deps})


async def run(agent: Agent[Any, Any], *, answers: dict[str, bool] | None = None, resume: bool = True) -> ScenarioResult:
    """Run an agent as a turn, and again from every entry on."""
    return await Scenario(actor(agent), answers=answers, always_resume=resume).when(RunAgent(prompt="go"))


def of(happened: ScenarioResult, cls: type[Any]) -> list[Any]:
    return [each for each in happened.entries if isinstance(each, cls)]


TWO = [("add", {"first": 1, "second": 2}), ("add", {"first": 3, "second": 4})]


async def test_tool_calls_of_one_answer_are_made_one_after_the_other_each_with_a_key_of_its_own() -> None:
    happened = await run(
        Agent(scripted(TWO, "{0} and {1}"), name="a", tools=[add], capabilities=[LoomDurability()]), resume=False
    )
    happened.then(reply="3 and 7")
    assert CALLS == {"model": 2, "add": 2}
    intents = of(happened, EffectIntendedEntry)
    assert [each.arguments for each in intents] == [arguments for _, arguments in TWO]
    assert len({each.key for each in intents}) == 2
    assert [each.kind for each in happened.entries if "effect" in each.kind] == [
        "effect_intended",
        "effect_performed",
    ] * 2


@pytest.mark.parametrize("calls", ["repeatable", "look_up"])
async def test_tool_calls_resume_from_every_entry(calls: Any) -> None:
    tools = [Tool(add, metadata=handled(calls))]
    happened = await run(Agent(scripted(TWO, "{0} and {1}"), name="a", tools=tools, capabilities=[LoomDurability()]))
    happened.then(reply="3 and 7")


async def test_a_tool_that_asks_the_model_to_try_again_is_called_again_as_another_step() -> None:
    def picky(number: int) -> int:
        CALLS["picky"] += 1
        if number < 2:
            raise ModelRetry("too small")
        return number

    model = scripted([("picky", {"number": 1})], [("picky", {"number": 2})], "{0}")
    happened = await run(
        Agent(model, name="a", tools=[Tool(picky, metadata=handled("repeatable"))], capabilities=[LoomDurability()])
    )
    assert [each.result for each in of(happened, EffectPerformedEntry)] == [
        {"$tool": {"message": "too small", "kind": "model_retry"}},
        2,
    ]


async def test_an_output_validator_that_refuses_has_the_model_asked_again() -> None:
    agent: Agent[None, str] = Agent(scripted("no", "yes"), name="a", capabilities=[LoomDurability()], retries=2)

    @agent.output_validator
    def check(output: str) -> str:
        if output == "no":
            raise ModelRetry("say yes")
        return output

    happened = await run(agent)
    happened.then(reply="yes")
    assert len(of(happened, ModelCalledEntry)) == 2


async def test_an_output_that_is_a_model_is_the_outcome_and_the_reply() -> None:
    model = scripted([("final_result", {"text": "t", "number": 1})])
    happened = await run(Agent(model, name="a", output_type=Answer, capabilities=[LoomDurability()]))
    happened.then(reply={"text": "t", "number": 1})
    assert happened.decisions[0].outcome == {"output": {"text": "t", "number": 1}}


async def test_a_streamed_run_reports_its_progress_and_is_journaled_as_one_that_is_not() -> None:
    events: list[str] = []

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Any:
        CALLS["model"] += 1
        for word in ("to", "gether"):
            yield word

    async def handler(ctx: RunContext[None], stream: AsyncIterable[Any]) -> None:
        events.extend([type(event).__name__ async for event in stream])

    agent = Agent(
        FunctionModel(stream_function=stream, model_name="s"),
        name="a",
        capabilities=[LoomDurability(event_stream_handler=handler)],
    )
    happened = await run(agent)
    happened.then(reply="together", kinds=("command_received", "model_called", "decision", "turn_completed"))
    assert "PartDeltaEvent" in events


async def test_an_agent_in_a_tool_that_is_no_step_has_steps_of_its_own_and_else_is_part_of_the_tools_step() -> None:
    inner = Agent(scripted("inner"), name="inner", capabilities=[LoomDurability()])

    async def delegate() -> str:
        return (await inner.run("go")).output

    for metadata, called in (({"loom": False}, 3), (handled("repeatable"), 2)):
        agent = Agent(
            scripted([("delegate", {})], "outer {0}"),
            name="outer",
            tools=[Tool(delegate, metadata=metadata)],
            capabilities=[LoomDurability()],
        )
        happened = await run(agent)
        happened.then(reply="outer inner")
        assert len(of(happened, ModelCalledEntry)) == called


async def test_two_runs_at_once_in_one_turn_are_told_apart() -> None:
    agent = Agent(
        scripted(TWO, "{0} and {1}"),
        name="a",
        tools=[Tool(add, metadata=handled("repeatable"))],
        capabilities=[LoomDurability()],
    )

    class Twice(AgentActor):
        async def execute(self, command: RunAgent) -> Any:
            results = await asyncio.gather(agent.run("one"), agent.run("two"))
            assert results[0].run_id != results[1].run_id
            return [each.output for each in results]

    happened = await Scenario(Twice, always_resume=True).when(RunAgent(prompt="go"))
    happened.then(reply=["3 and 7"] * 2)
    assert len({each.key for each in of(happened, EffectIntendedEntry)}) == 4


ASKING = [Tool(add, requires_approval=True, metadata=handled("repeatable", approver="lead"))]


async def test_a_denied_call_is_not_made_and_the_model_is_given_the_reason() -> None:
    model = scripted(TWO[:1], "so: {0}")
    happened = await run(Agent(model, name="a", tools=ASKING, capabilities=[LoomDurability()]), answers={"lead": False})
    happened.then(reply="so: The call was denied by the answerer of the scenario: the scenario says so")
    assert CALLS["add"] == 0
    assert of(happened, EffectIntendedEntry) == []


async def test_several_approvals_are_asked_for_at_once_and_each_binds_its_own_call() -> None:
    happened = await run(Agent(scripted(TWO, "{0} and {1}"), name="a", tools=ASKING, capabilities=[LoomDurability()]))
    happened.then(reply="3 and 7")
    asked, done = of(happened, ApprovalRequestedEntry), of(happened, EffectIntendedEntry)
    kinds = [each.kind for each in happened.entries]
    assert kinds.index("approval_answered") > max(i for i, kind in enumerate(kinds) if kind == "approval_requested")
    assert {(each.approval_id, str(each.arguments)) for each in asked} == {
        (each.under, str(each.arguments)) for each in done
    }


async def test_a_tool_that_asks_for_an_approval_itself_is_called_again_when_it_is_granted() -> None:
    def pay(ctx: RunContext[None], amount: int) -> str:
        if not ctx.tool_call_approved:
            raise ApprovalRequired
        CALLS["paid"] += 1
        return "paid"

    tools = [Tool(pay, metadata=handled("repeatable", approver="lead"))]
    model = scripted([("pay", {"amount": 3})], "{0}")
    happened = await run(Agent(model, name="a", tools=tools, capabilities=[LoomDurability()]))
    happened.then(reply="paid")
    [first, second] = of(happened, EffectIntendedEntry)
    assert (first.under, second.under) == (None, of(happened, ApprovalRequestedEntry)[0].approval_id)


async def test_without_an_approver_the_call_is_the_output_of_the_run() -> None:
    agent = Agent(
        scripted(TWO[:1]),
        name="a",
        tools=[Tool(add, requires_approval=True)],
        output_type=[str, DeferredToolRequests],
        capabilities=[LoomDurability()],
    )
    happened = await run(agent, resume=False)
    [call] = happened.reply["approvals"]
    assert (call["tool_name"], CALLS["add"]) == ("add", 0)


class Doubling(AbstractCapability[Any]):
    """Changes the arguments of a call after it was approved."""

    async def before_tool_execute(self, ctx: RunContext[Any], *, call: Any, tool_def: Any, args: Any) -> Any:
        return {**args, "second": args["second"] * 2}


async def test_arguments_that_change_after_the_approval_are_refused_and_nothing_is_done() -> None:
    agent = Agent(scripted(TWO[:1], "{0}"), name="a", tools=ASKING, capabilities=[Doubling(), LoomDurability()])
    happened = await run(agent, resume=False)
    happened.then(raises="ApprovalMismatchError")
    assert (CALLS["add"], of(happened, EffectIntendedEntry)) == (0, [])


class NoJson:
    pass


@pytest.mark.parametrize(
    ("tool", "raised"),
    [
        (lambda: 1 / 0, EffectFailedError.__name__),
        (NoJson, "AdmissionError"),
        (lambda: float("nan"), "AdmissionError"),
        (lambda: "x" * 3_000_000, "AdmissionError"),
        (lambda: "\ud800", "AdmissionError"),
    ],
    ids=["raises", "no-json", "nan", "too-large", "surrogate"],
)
async def test_a_tool_that_raises_or_returns_no_json_fails_the_turn_and_is_on_record(
    tool: Callable[[], Any], raised: str
) -> None:
    def bad() -> Any:
        CALLS["bad"] += 1
        return tool()

    tools = [Tool(bad, metadata=handled("repeatable"))]
    agent = Agent(scripted([("bad", {})], "{0}"), name="a", tools=tools, capabilities=[LoomDurability()])
    happened = await run(agent, resume=False)
    happened.then(raises=raised)
    [performed] = of(happened, EffectPerformedEntry)
    assert performed.failure is not None


async def test_a_model_that_fails_is_on_record_and_the_next_one_is_asked() -> None:
    def broken(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        CALLS["broken"] += 1
        raise ModelHTTPError(503, "broken")

    second = scripted("from the second", name="second")
    agent = Agent(
        FunctionModel(broken, model_name="broken"),
        name="a",
        capabilities=[ModelFallback("second"), LoomDurability(models={"second": second})],
    )
    happened = await run(agent)
    happened.then(reply="from the second")
    assert [each.problem is None for each in of(happened, ModelCalledEntry)] == [False, True]


async def test_a_dynamic_toolset_is_asked_once_a_step_for_what_it_offers() -> None:
    def offer(ctx: RunContext[None]) -> FunctionToolset[None]:
        return FunctionToolset([add], id="inner")

    agent = Agent(
        scripted(TWO[:1], "{0}"),
        name="a",
        toolsets=[DynamicToolset(offer, id="dynamic")],
        capabilities=[LoomDurability()],
    )
    happened = await run(agent, resume=False)
    happened.then(reply="3")
    assert [each.entity for each in of(happened, ContextGatheredEntry)] == ["tools", "tools"]


async def test_a_validator_of_arguments_is_a_look_up() -> None:
    def check(ctx: RunContext[None], first: int, second: int) -> None:
        CALLS["checked"] += 1

    tools = [Tool(add, args_validator=check, metadata=handled("repeatable"))]
    happened = await run(Agent(scripted(TWO[:1], "{0}"), name="a", tools=tools, capabilities=[LoomDurability()]))
    happened.then(reply="3")
    assert [each.entity for each in of(happened, ContextGatheredEntry)] == ["arguments of add"]


async def test_a_run_with_a_timeout_counts_from_when_it_first_began() -> None:
    agent = Agent(scripted("done"), name="a", capabilities=[LoomDurability()])

    class Timed(AgentActor):
        async def execute(self, command: RunAgent) -> str:
            return (await agent.run("go", timeout=60)).output

    happened = await Scenario(Timed, always_resume=True).when(RunAgent(prompt="go"))
    happened.then(reply="done")
    assert happened.kinds[1] == "value_drawn"


async def test_a_toolset_that_is_added_to_a_run_is_refused_in_a_turn() -> None:
    agent = Agent(scripted(TWO[:1], "{0}"), name="a", capabilities=[LoomDurability()])

    class Adding(AgentActor):
        async def execute(self, command: RunAgent) -> str:
            return (await agent.run("go", toolsets=[FunctionToolset([add], id="late")])).output

    (await Scenario(Adding).when(RunAgent(prompt="go"))).then(raises="UserError")


async def test_outside_a_turn_the_agent_runs_as_it_would_without() -> None:
    agent = Agent(scripted(TWO, "{0} and {1}"), name="a", tools=[add], capabilities=[LoomDurability()])
    assert (await agent.run("go")).output == "3 and 7"


async def test_a_command_of_ones_own_has_its_own_reply_and_words() -> None:
    class Ask(Command[Answer]):
        command_type = "scenario_ask"

        about: str

    class Own(AgentActor):
        agent = Agent(
            scripted([("final_result", {"text": "t", "number": 1})]),
            name="own",
            output_type=Answer,
            deps_type=str,
            capabilities=[LoomDurability()],
        )

        async def execute(self, command: Ask) -> Answer:
            answer: Answer = await self.run_agent(f"about {command.about}", deps="d", rationale="as it was asked")
            return answer

    happened = await Scenario(Own, always_resume=True).when(Ask(about="it"))
    happened.then(reply=Answer(text="t", number=1))
    assert (happened.decisions[0].rationale, happened.decisions[0].rationale_author) == ("as it was asked", "developer")


def test_an_agent_without_the_capability_is_refused_as_an_actor() -> None:
    with pytest.raises(Exception, match="lacks the capability"):
        actor(Agent(scripted("x"), name="a"))


async def test_a_run_that_is_read_as_a_stream_is_one_step_of_a_model() -> None:
    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Any:
        for word in ("to", "gether"):
            yield word

    agent = Agent(FunctionModel(stream_function=stream, model_name="s"), name="a", capabilities=[LoomDurability()])

    class Streamed(AgentActor):
        async def execute(self, command: RunAgent) -> str:
            async with agent.run_stream("go") as result:
                return await result.get_output()

    happened = await Scenario(Streamed, always_resume=True).when(RunAgent(prompt="go"))
    happened.then(reply="together", kinds=("command_received", "model_called", "turn_completed"))


async def test_those_who_watch_a_turn_read_the_text_of_a_streamed_run_as_it_comes(tmp_path: Path) -> None:
    async def stream(messages: list[ModelMessage], info: AgentInfo) -> Any:
        for word in ("to", "gether"):
            yield word

    async def handler(ctx: RunContext[None], events: AsyncIterable[Any]) -> None:
        """Read nothing."""

    model = FunctionModel(stream_function=stream, model_name="s")
    cls = actor(Agent(model, name="a", capabilities=[LoomDurability(event_stream_handler=handler)]))
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[cls], by="the tester") as loom:
        seen = [each async for each in loom.actor(cls, "one").stream(RunAgent(prompt="go"))]
    assert "".join(each.text for each in seen if isinstance(each, TextDelta)) == "together"
    assert seen[-1] == Replied("together")


MAIL = "ada@example.org"


class Ask(Command[str]):
    subject_field = "customer"

    customer: str
    mail: Annotated[str, Sealed()]


class Clerk(AgentActor):
    """Hands a protected value to a model, which hands it on to its tools."""

    agent = Agent(
        scripted([("find", {"mail": MAIL}), ("write", {"mail": MAIL})], f"wrote to {MAIL}"),
        name="clerk",
        tools=[
            Tool(lambda mail: "found", name="find", metadata=handled("look_up")),
            Tool(lambda mail: "written", name="write", requires_approval=True),
        ],
        capabilities=[LoomDurability(approver="lead")],
    )

    async def execute(self, command: Ask) -> str:
        await self.run_agent(f"answer {command.mail}")
        return "done"


async def test_protected_values_that_a_model_hands_on_are_in_no_entry_of_its_tools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(32)).decode())
    config = LoomConfig(data=tmp_path, sections={"sealing": SealingConfig(enabled=True)})
    granting = Granting()
    async with Loom.open(config, actors=[Clerk], by="the tester", approver=granting) as loom:
        granting.loom = loom
        assert await loom.actor(Clerk, "one").ask(Ask(customer="c-7", mail=MAIL)) == "done"
        entries = [each async for each in loom.store.read("clerk/one")]
    assert [each.kind for each in entries if MAIL.encode() in (each.body or b"")] == []
    assert "context_gathered" in {each.kind for each in entries}
