"""Calls of models read back: told by `loom why`, summed by `loom costs`, and never more than their entries say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.sqlite_files import connected

pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")

from pydantic_ai.exceptions import ModelAPIError

from loom import Loom
from loom.actors import Actor, Command
from loom.errors import ModelCallError
from tests.actors.model_support import Script, loom_with, text
from tests.cli.support import invoke


class Settle(Command[str]):
    fails: bool = False
    decides: bool = True


class Settler(Actor):
    scripts: dict[str, Script]

    async def execute(self, command: Settle) -> str:
        script = type(self).scripts["fails" if command.fails else "answers"]
        with contextlib.suppress(ModelCallError):
            await self.call_model(model=script.model(priced=True), prompt="pay it?", settings={"max_tokens": 100})
        return await self.record_decision(rationale="so it is") if command.decides else ""


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Loom]:
    Settler.scripts = {"answers": Script(text("pay \x1b[31mit")), "fails": Script(ModelAPIError("m", "line is down"))}
    async with loom_with(tmp_path, Settler, max_usd_per_day=0.001) as loom:
        yield loom


async def test_why_tells_each_call_with_tokens_cost_time_and_answer(loom: Loom) -> None:
    paid = await loom.actor(Settler, "a").ask(Settle())
    failed = await loom.actor(Settler, "a").ask(Settle(fails=True))
    why = (await loom.traces.explain(paid)).text()
    assert "Which models were asked?" in why
    assert "openai:gpt-4o-mini (1,100 tokens, $0.0002, " in why
    assert "pay \\u001b[31mit" in why, "an answer is text of others: it must not reach the terminal as it is"
    assert "failed: ModelAPIError: line is down" in " ".join((await loom.traces.explain(failed)).text().split())
    refused = await loom.actor(Settler, "a").ask(Settle(decides=False))
    assert refused == ""


async def test_costs_are_summed_by_each_group_and_agree_with_the_entries(loom: Loom) -> None:
    first = await loom.actor(Settler, "a").ask(Settle())
    for key, command in (("a", Settle(decides=False)), ("b", Settle()), ("b", Settle(fails=True, decides=False))):
        await loom.actor(Settler, key).ask(command)
    by_actor = {each.name: each for each in await loom.costs.by("actor")}
    assert (by_actor["settler/a"].calls, by_actor["settler/a"].cost_usd) == (2, 0.00042)
    assert (by_actor["settler/b"].calls, by_actor["settler/b"].failed, by_actor["settler/b"].unknown) == (2, 1, 1)
    [model] = await loom.costs.by("model")
    assert (model.name, model.calls, model.input_tokens, model.output_tokens) == ("openai:gpt-4o-mini", 4, 3_000, 300)
    [day] = await loom.costs.by("day")
    assert day.cost_usd == pytest.approx(0.00063)
    assert {each.name: each.calls for each in await loom.costs.by("decision")}[first] == 1
    assert await loom.costs.by("day", since=loom.now()) == ()


async def test_a_row_that_no_entry_gives_costs_nothing(loom: Loom) -> None:
    await loom.actor(Settler, "a").ask(Settle())
    before = await loom.costs.by("actor")
    with connected(loom.files.views, timeout=10) as views:
        views.execute("UPDATE model_calls SET cost_micro_usd = 1000000")
    assert await loom.costs.by("actor") == ()
    assert before
    await loom.rebuild()
    assert await loom.costs.by("actor") == before


async def test_the_shell_shows_costs_and_what_is_left_today(loom: Loom, tmp_path: Path) -> None:
    await loom.actor(Settler, "a").ask(Settle())
    await loom.reached()
    config = tmp_path / "loom.config.yaml"
    config.write_text(f"data: {tmp_path}\nbudgets: {{models: {{max_usd_per_day: 0.001}}}}\n")
    said: Any = (await asyncio.to_thread(invoke, "costs", "--by", "model", "--json", config=config)).json
    assert said["costs"][0]["name"] == "openai:gpt-4o-mini"
    assert said["costs"][0]["cost_usd"] == 0.00021
    assert said["today"]["spent_usd"] == 0.00021
    assert said["today"]["left_usd"] == pytest.approx(0.00079)
    shown = await asyncio.to_thread(invoke, "costs", config=config)
    assert shown.code == 0
    assert "settler/a" in shown.out
    assert "$0.0002 spent" in shown.out
    [decision] = await loom.traces.find()
    by_decision = await asyncio.to_thread(invoke, "costs", "--by", "decision", config=config)
    assert decision.decision_id[:12] in by_decision.out
    assert "openai:gpt-4o-mini" not in by_decision.out
    listed = await asyncio.to_thread(invoke, "journal", "settler/a", config=config)
    assert "gpt-4o-mini, $0.000210: pay " in listed.out
