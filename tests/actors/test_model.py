"""The verb `call_model`: asked once, journaled, given back; what fails is on record as it failed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")

from pydantic import BaseModel
from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelRateLimitError,
    ModelRequestRejectedError,
)
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from loom.actors import Actor, Command
from loom.actors.retrying import Retry, exponential
from loom.actors.turn_context import current_turn
from loom.actors.verbs.model import model_step
from loom.errors import (
    ActorFailedError,
    AdmissionError,
    ModelBudgetError,
    ModelCallError,
    ModelOutputError,
    ModelRateLimitedError,
    ModelRefusedError,
    ModelTimedOutError,
    ModelTooLongError,
    ModelUnknownError,
)
from tests.actors.agents import Folding, World
from tests.actors.model_support import Script, calls_in, final, loom_with, said, text, tool
from tests.actors.support import entries, lay_down, opened


class Triage(BaseModel):
    severity: int
    team: str


class ReportFault(Command[Triage]):
    words: str = "the pump is loud"


SCRIPT = Script(text("no idea"), tool("look_up", part="pump"), final(severity=2, team="hydraulics"))
"""What is no triage, then a look-up, then the answer."""


class Dispatcher(Folding):
    async def execute(self, command: ReportFault) -> Triage:
        async def look_up(part: str) -> str:
            """Look a part up."""
            found = await self.gather_context(
                system="parts", entity="part", query=part, fetcher=lambda: self.world.call("looked up", f"{part} P-7")
            )
            return str(found)

        async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            self.world.calls["asked"] += 1
            return await SCRIPT(messages, info)

        return await self.call_model(
            model=FunctionModel(answer, model_name="triage"),
            prompt=command.words,
            instructions="Triage it.",
            output_type=Triage,
            tools=[look_up],
        )


async def test_a_turn_that_is_cut_after_any_entry_asks_only_for_what_is_not_on_record(tmp_path: Path) -> None:
    world = World()
    async with opened(tmp_path / "whole", world, agents=[Dispatcher]) as loom:
        assert await loom.actor(Dispatcher, "one").ask(ReportFault(), id="c") == Triage(severity=2, team="hydraulics")
        history = await entries(loom, "dispatcher/one")
        (verdict,) = [each async for each in loom.replay.verify("dispatcher/one")]
        assert verdict.verdict == "same"
    misfit, looked, last = calls_in(history)
    assert (misfit.problem, misfit.attempt, looked.attempt, last.problem) == ("misfit", 1, 2, None)
    assert misfit.output is not None, "an answer that does not fit was paid for, and is kept"
    assert (last.provider, last.model, last.answering_model, last.price) == ("function", "triage", "triage", "free")
    assert last.usage is not None
    assert (last.usage.input_tokens, last.cost_micro_usd) == (1_000, 0)
    assert last.tools == ("look_up", "final_result")
    assert world.calls["asked"] == 3
    for cut in range(1, len(history)):
        again = World()
        await lay_down(tmp_path / str(cut), history[:cut])
        async with opened(tmp_path / str(cut), again, agents=[Dispatcher]) as loom:
            assert await loom.actor(Dispatcher, "one").ask(ReportFault(), id="c") == Triage(
                severity=2, team="hydraulics"
            )
            assert again.calls["asked"] == 3 - len(calls_in(history[:cut]))


async def test_the_model_is_sent_what_its_tool_gave_and_what_did_not_fit() -> None:
    last = SCRIPT.seen[-1]
    assert isinstance(last[0], ModelRequest)
    assert last[0].instructions == "Triage it."
    sent = [part for each in last if isinstance(each, ModelRequest) for part in each.parts]
    assert any("fields do not fit" in str(part) or "Invalid JSON" in str(part) for part in sent)
    assert [part.content for part in sent if isinstance(part, ToolReturnPart)] == ["pump P-7"]


# --- what a model can do wrong --------------------------------------------------------------------


class AskModel(Command[str]):
    typed: bool = False
    timeout_s: float | None = None


class Asker(Actor):
    script: Script
    model: Any = None
    retries: int | None = None

    async def execute(self, command: AskModel) -> str:
        try:
            answer = await self.call_model(
                model=type(self).model or type(self).script.model(),
                prompt="why?",
                output_type=Triage if command.typed else str,
                timeout_s=command.timeout_s,
                output_retries=type(self).retries,
            )
        except ModelCallError as error:
            return f"{type(error).__name__} {error}"
        return str(answer)


def http(category: Any, status: int) -> ModelHTTPError:
    return ModelHTTPError.for_category(category, status_code=status, model_name="m", body="key sk-abcdef123456 is bad")


FAILURES: list[tuple[str, Any, type[ModelCallError], str]] = [
    ("rate limit", http(ModelRateLimitError, 429), ModelRateLimitedError, "rate_limited"),
    ("no such model", http(ModelNotFoundError, 404), ModelUnknownError, "unknown_model"),
    ("a wrong key", http(ModelAuthenticationError, 401), ModelRefusedError, "refused"),
    ("refused", http(ModelRequestRejectedError, 400), ModelRefusedError, "refused"),
    ("too long to read", http(ModelContextWindowExceededError, 400), ModelTooLongError, "too_long"),
    ("a broken connection", ModelAPIError("m", "connection lost"), ModelCallError, "failed"),
    ("a bug", ZeroDivisionError("oops"), ModelCallError, "failed"),
    ("cut off", text("and so on and", finish_reason="length"), ModelTooLongError, "too_long"),
    ("filtered", text("…", finish_reason="content_filter"), ModelRefusedError, "refused"),
    ("10 MB", text("x" * 10_000_000), ModelOutputError, "unkept"),
    ("nothing", said([]), ModelOutputError, "misfit"),
    ("blank", text("  \n"), ModelOutputError, "misfit"),
    ("no such tool", tool("delete_everything"), ModelOutputError, "misfit"),
    ("a lone surrogate", text("\ud800"), ModelOutputError, "unkept"),
    ("a number without end", said([TextPart("x")], provider_details={"n": 10**400}), ModelOutputError, "unkept"),
]


@pytest.mark.parametrize(("answer", "error", "problem"), [each[1:] for each in FAILURES], ids=[e[0] for e in FAILURES])
async def test_what_a_model_does_wrong_is_a_typed_error_on_record_live_and_resumed(
    tmp_path: Path, answer: Any, error: type[ModelCallError], problem: str
) -> None:
    Asker.script, Asker.model, Asker.retries = Script(answer), None, 0
    async with opened(tmp_path / "live", agents=[Asker]) as loom:
        live = await loom.actor(Asker, "one").ask(AskModel(), id="c")
        history = await entries(loom, "asker/one")
    assert live.split()[0] == error.__name__
    assert "sk-abcdef" not in live
    [call] = calls_in(history)
    assert (call.problem, call.failure is not None) == (problem, True)
    await lay_down(tmp_path / "resumed", history[:-1])
    async with opened(tmp_path / "resumed", agents=[Asker]) as loom:
        assert await loom.actor(Asker, "one").ask(AskModel(), id="c") == live
    assert Asker.script.asked == 1


NONSENSE: list[tuple[str, Any]] = [
    ("text", text("dunno")),
    ("no JSON", text("{severity: 2")),
    ("another shape", final(severity="high")),
    ("a list", text("[]")),
    ("nothing", said([])),
]


@pytest.mark.parametrize("answer", [each[1] for each in NONSENSE], ids=[each[0] for each in NONSENSE])
async def test_nonsense_is_asked_for_again_so_often_and_no_more_each_time_on_record(
    tmp_path: Path, answer: Any
) -> None:
    Asker.script, Asker.model, Asker.retries = Script(answer), None, 2
    async with opened(tmp_path, agents=[Asker]) as loom:
        assert (await loom.actor(Asker, "one").ask(AskModel(typed=True))).startswith("ModelOutputError")
        calls = calls_in(await entries(loom))
    assert [call.attempt for call in calls] == [1, 2, 3]
    assert {call.problem for call in calls} == {"misfit"}


@pytest.mark.parametrize(
    "name",
    ["", "nobody:at-all", "no-provider-named", "openai:"],
    ids=["empty", "unknown provider", "no provider", "no name"],
)
async def test_a_model_that_is_not_known_or_cannot_be_used_here_is_a_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    Asker.model = name or "x"
    async with opened(tmp_path, agents=[Asker]) as loom:
        assert (await loom.actor(Asker, "one").ask(AskModel())).startswith("ModelUnknownError")
        [call] = calls_in(await entries(loom))
    assert call.problem == "unknown_model"


async def test_a_model_that_does_not_answer_ends_at_its_time_limit_and_may_have_cost_something(tmp_path: Path) -> None:
    Asker.script, Asker.model = Script(text("late")), None
    Asker.script.gate = asyncio.Event()
    async with opened(tmp_path, agents=[Asker]) as loom:
        answer = await loom.actor(Asker, "one").ask(AskModel(timeout_s=0.01))
        [call] = calls_in(await entries(loom))
    assert answer == f"{ModelTimedOutError.__name__} TimeoutError: no answer within 0.01 s"
    assert (call.price, call.cost_micro_usd) == ("unknown", None)


class AskTwice(Command[str]):
    own: bool = False


class Persistent(Actor):
    script: Script

    async def execute(self, command: AskTwice) -> str:
        on: tuple[type[Exception], ...] = (ModelRateLimitedError,) if command.own else (ModelRateLimitError,)
        retry = Retry(attempts=3, backoff=exponential(0.0), on=on)
        return await self.call_model(model=type(self).script.model(priced=True), prompt="why?", retry=retry)


class Flaky(Script):
    """Refuses so many requests before it answers."""

    def __init__(self, *answers: ModelResponse | BaseException, failures: int) -> None:
        super().__init__(*answers)
        self.failures = failures

    async def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if self.asked < self.failures:
            self.seen.append(messages)
            raise http(ModelRateLimitError, 429)
        return await super().__call__(messages, info)


@pytest.mark.parametrize("own", [False, True], ids=["the client's error", "loom's error"])
async def test_a_request_that_failed_is_repeated_and_each_attempt_is_settled(tmp_path: Path, own: bool) -> None:  # noqa: FBT001
    Persistent.script = Flaky(text("because"), failures=2)
    async with loom_with(tmp_path / "live", Persistent) as loom:
        assert await loom.actor(Persistent, "one").ask(AskTwice(own=own), id="c") == "because"
        history = await entries(loom)
    [call] = calls_in(history)
    assert call.failed_attempts == ("ModelRateLimitError", "ModelRateLimitError")
    settled = [each.entry.cost_micro_usd for each in history if each.kind == "model_spend_settled"]  # type: ignore[attr-defined]
    assert settled == [0, 0, 210]
    own_entries = [each for each in history if each.journal == "persistent/one"]
    cut = next(number for number, each in enumerate(own_entries, 1) if each.kind == "attempt_failed")
    await lay_down(tmp_path / "cut", own_entries[:cut])
    Persistent.script = Flaky(text("because"), failures=1)
    async with loom_with(tmp_path / "cut", Persistent) as loom:
        assert await loom.actor(Persistent, "one").ask(AskTwice(own=own), id="c") == "because"
        [call] = calls_in(await entries(loom))
    assert len(call.failed_attempts) == 2
    assert Persistent.script.asked == 2, "the attempt that is on record was not made again"


class AskForEver(Command[str]):
    pass


class Looping(Actor):
    script: Script

    async def execute(self, command: AskForEver) -> str:
        def again() -> str:
            """Look once more."""
            return "nothing yet"

        return await self.call_model(model=type(self).script.model(), prompt="find it", tools=[again])


async def test_a_model_that_calls_its_tool_for_ever_is_stopped(tmp_path: Path) -> None:
    Looping.script = Script(tool("again"))
    async with loom_with(tmp_path, Looping, models={"max_calls_per_turn": 4}) as loom:
        with pytest.raises(ActorFailedError, match="called models \\[4\\] times"):
            await loom.actor(Looping, "one").ask(AskForEver())
        calls = calls_in(await entries(loom))
    assert Looping.script.asked == 4
    assert [call.problem for call in calls] == [None] * 4 + ["budget"]


class AskWrongly(Command[str]):
    given: dict[str, Any]


class Mistaken(Actor):
    async def execute(self, command: AskWrongly) -> str:
        try:
            return await self.call_model(model=Script(text("x")).model(), **command.given)
        except AdmissionError as error:
            return str(error)


@pytest.mark.parametrize(
    "given", [{}, {"prompt": "a", "messages": []}, {"messages": []}], ids=["neither", "both", "none"]
)
async def test_a_call_that_asks_nothing_is_refused_before_it_is_journaled(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    async with opened(tmp_path, agents=[Mistaken]) as loom:
        assert "expected" in await loom.actor(Mistaken, "one").ask(AskWrongly(given=given))
        assert not calls_in(await entries(loom))


class AskAndLook(Command[list[str]]):
    pass


class Looker(Folding):
    async def execute(self, command: AskAndLook) -> list[str]:
        await self.call_model(model=Script(text("so")).model(), prompt="hi")
        turn = current_turn(self, "call_model")
        return [recorded.kind async for recorded in turn.services.store.read(turn.host.journal)]


async def test_an_answer_is_durable_before_the_code_has_it(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Looker]) as loom:
        assert await loom.actor(Looker, "one").ask(AskAndLook()) == ["command_received", "model_called"]


# --- the step that adapters use -------------------------------------------------------------------


class AskByAdapter(Command[str]):
    pass


class Adapter(Folding):
    async def execute(self, command: AskByAdapter) -> str:
        async def request(_: Sequence[ModelMessage]) -> ModelResponse:
            self.world.calls["requested"] += 1
            return text("by the adapter", provider_response_id="r-1", finish_reason="stop")

        turn = current_turn(self, "call_model")
        model = Script(text("never")).model()
        response = await model_step(
            turn, model, [ModelRequest.user_text_prompt("hi")], key="run/request 1", request=request
        )
        return f"{response.provider_response_id} {response.finish_reason} {response.parts[0].content}"  # type: ignore[union-attr]


async def test_a_request_that_an_adapter_makes_is_a_step_and_its_whole_response_comes_back(tmp_path: Path) -> None:
    world = World()
    async with opened(tmp_path / "live", world, agents=[Adapter]) as loom:
        assert await loom.actor(Adapter, "one").ask(AskByAdapter(), id="c") == "r-1 stop by the adapter"
        history = await entries(loom, "adapter/one")
    await lay_down(tmp_path / "resumed", history[:-1])
    async with opened(tmp_path / "resumed", world, agents=[Adapter]) as loom:
        assert await loom.actor(Adapter, "one").ask(AskByAdapter(), id="c") == "r-1 stop by the adapter"
    assert world.calls["requested"] == 1


class AskByKey(Command[str]):
    pass


class Changed(Actor):
    prompt = "the old question"

    async def execute(self, command: AskByKey) -> str:
        return await self.call_model(model=Script(text("because")).model(), prompt=type(self).prompt, key="why")


async def test_a_replay_says_where_changed_code_asks_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path, agents=[Changed]) as loom:
        await loom.actor(Changed, "one").ask(AskByKey())
        (same,) = [each async for each in loom.replay.verify("changed/one")]
        monkeypatch.setattr(Changed, "prompt", "a new question")
        (changed,) = [each async for each in loom.replay.verify("changed/one")]
    assert (same.verdict, changed.verdict) == ("same", "diverged")
    assert "model_called" in str(changed.reason)


def test_an_error_about_the_budget_says_that_it_may_not_be_done() -> None:
    assert ModelBudgetError("a", "b").kind == "refused"
