"""What calls of models may cost: reserved before, settled after, and what happens at the limit."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")

from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.test import TestModel as Free

from loom import Loom
from loom.actors import Actor, Command
from loom.errors import DiskFullError, ModelBudgetError
from loom.journal.sqlite import SqliteStore
from loom.spend.config import ModelBudgetConfig
from loom.spend.entries import ModelSpendReservedEntry, ModelSpendSettledEntry
from loom.spend.guard import Reservation
from loom.spend.models import ModelSpend, NotReserved
from loom.spend.prices import Tokens, model_price_micro_usd, worst_micro_usd
from tests.actors.model_support import Script, calls_in, loom_with, text
from tests.actors.support import entries, lay_down, until

COST = 210
"""What 1,000 tokens in and 100 out of gpt-4o-mini cost, in millionths of a dollar."""


class SpendOnce(Command[str]):
    pass


class Spender(Actor):
    model: Any

    async def execute(self, command: SpendOnce) -> str:
        try:
            return await self.call_model(model=type(self).model, prompt="why?", settings={"max_tokens": 100})
        except ModelBudgetError as error:
            return f"refused: {error.message}"


async def spent(loom: Loom) -> tuple[int, int]:
    assert loom.actors.services.spend is not None
    today = await loom.actors.services.spend.today()
    return today.spent_micro_usd, today.reserved_micro_usd


async def test_a_settlement_that_cannot_be_journaled_fails_no_turn_and_counts_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(self: ModelSpend, *_: object, **__: object) -> int:
        raise DiskFullError("the disk is full; expected room: make some")

    Spender.model = Script(text("because")).model(priced=True)
    async with loom_with(tmp_path, Spender) as loom:
        monkeypatch.setattr(ModelSpend, "settle", full)
        assert await loom.actor(Spender, "one").ask(SpendOnce(), id="c") == "because"
        [call] = calls_in(await entries(loom))
        assert await spent(loom) == (0, call.reserved_micro_usd)
        assert [each.verdict async for each in loom.replay.verify("spender/one")] == ["same"]


async def test_a_call_reserves_its_maximum_and_settles_its_cost(tmp_path: Path) -> None:
    script = Script(text("because"))
    Spender.model = script.model(priced=True)
    async with loom_with(tmp_path, Spender) as loom:
        assert await loom.actor(Spender, "one").ask(SpendOnce()) == "because"
        history = await entries(loom)
        assert await spent(loom) == (COST, 0)
    [call] = calls_in(history)
    [reserved] = [each for each in history if isinstance(each.entry, ModelSpendReservedEntry)]
    [settled] = [each for each in history if isinstance(each.entry, ModelSpendSettledEntry)]
    at = next(each.position for each in history if each.kind == "model_called")
    assert reserved.position < at < settled.position
    assert (call.price, call.cost_micro_usd) == ("known", COST)
    assert call.price_list is not None
    assert call.price_list.startswith("genai-prices ")
    assert isinstance(reserved.entry, ModelSpendReservedEntry)
    assert (reserved.entry.journal, reserved.entry.model) == ("spender/one", "openai:gpt-4o-mini")
    assert reserved.entry.worst_case_micro_usd == call.reserved_micro_usd
    # Its output at most, and every byte of its messages as a token.
    assert call.reserved_micro_usd is not None
    assert call.reserved_micro_usd >= 60 + 2


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"max_usd_per_day": 0.000_1}, "of all actors are left"),
        ({"max_usd_per_actor_per_day": 0.000_1}, "of this actor are left"),
    ],
)
async def test_a_call_over_a_limit_is_not_made_and_its_refusal_is_on_record(
    tmp_path: Path, budget: dict[str, Any], words: str
) -> None:
    script = Script(text("because"))
    Spender.model = script.model("gpt-4o", priced=True)
    async with loom_with(tmp_path, Spender, **budget) as loom:
        assert words in await loom.actor(Spender, "one").ask(SpendOnce())
        [call] = calls_in(await entries(loom))
    assert script.asked == 0
    assert (call.problem, call.at_limit, call.cost_micro_usd, call.reservation_id) == ("budget", "refused", 0, None)
    assert call.limit_detail is not None
    assert words in call.limit_detail


async def test_the_limit_of_one_actor_is_not_that_of_another(tmp_path: Path) -> None:
    Spender.model = Script(text("because")).model(priced=True)
    async with loom_with(tmp_path, Spender, max_usd_per_actor_per_day=0.000_25) as loom:
        answers = [await loom.actor(Spender, key).ask(SpendOnce()) for key in ("a", "a", "b")]
    assert [each.split(":")[0] for each in answers] == ["because", "refused", "because"]


async def test_a_price_that_nobody_knows_is_refused_or_counts_as_the_config_says(tmp_path: Path) -> None:
    script = Script(text("because"))
    Spender.model = script.model("a-model-of-my-own", priced=True)
    async with loom_with(tmp_path / "a", Spender) as loom:
        assert "set budgets.models.unknown_price_usd" in await loom.actor(Spender, "one").ask(SpendOnce())
    assert script.asked == 0
    async with loom_with(tmp_path / "b", Spender, unknown_price_usd=0.5) as loom:
        assert await loom.actor(Spender, "one").ask(SpendOnce()) == "because"
        [call] = calls_in(await entries(loom))
        assert (call.price, call.cost_micro_usd, call.reserved_micro_usd) == ("unknown", None, 500_000)
        assert await spent(loom) == (500_000, 0)


async def test_a_model_of_this_process_costs_nothing_and_reserves_nothing(tmp_path: Path) -> None:
    Spender.model = FallbackModel(Free(custom_output_text="free"), Script(text("free")).model())
    async with loom_with(tmp_path, Spender, max_usd_per_day=0) as loom:
        assert await loom.actor(Spender, "one").ask(SpendOnce()) == "free"
        history = await entries(loom)
    assert [call.price for call in calls_in(history)] == ["free"]
    assert not any(each.kind == "model_spend_reserved" for each in history)


async def test_a_router_reserves_for_every_model_that_it_may_ask(tmp_path: Path) -> None:
    script = Script(text("because"))
    Spender.model = FallbackModel(script.model(priced=True), script.model("gpt-4o", priced=True))
    async with loom_with(tmp_path, Spender) as loom:
        await loom.actor(Spender, "one").ask(SpendOnce())
        [call] = calls_in(await entries(loom))
    assert call.reserved_micro_usd is not None
    assert call.reserved_micro_usd > 1_000, "gpt-4o alone is 1,000 for its output"


async def test_two_at_once_cannot_both_spend_what_is_left(tmp_path: Path) -> None:
    script = Script(text("because"))
    script.gate = asyncio.Event()
    Spender.model = script.model(priced=True)
    async with loom_with(tmp_path, Spender, max_usd_per_day=0.000_15) as loom:
        asking = [asyncio.create_task(loom.actor(Spender, key).ask(SpendOnce())) for key in "ab"]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        script.gate.set()
        answers = await asyncio.gather(*asking)
    assert sorted(each.split(":")[0] for each in answers) == ["because", "refused"]
    assert script.asked == 1


async def test_what_a_process_reserved_and_never_settled_counts_in_full(tmp_path: Path) -> None:
    Spender.model = Script(text("because")).model(priced=True)
    async with loom_with(tmp_path / "whole", Spender) as loom:
        await loom.actor(Spender, "one").ask(SpendOnce(), id="c")
        history = await entries(loom)
        [call] = calls_in(history)
    assert call.reserved_micro_usd is not None
    cut = next(each.position for each in history if each.kind == "model_spend_reserved")
    await lay_down(tmp_path / "cut", history[:cut])  # it died during the call
    async with loom_with(tmp_path / "cut", Spender) as loom:
        assert await loom.actor(Spender, "one").ask(SpendOnce(), id="c") == "because"
        assert await spent(loom) == (call.reserved_micro_usd + COST, 0)
        settled = [each.entry for each in await entries(loom) if isinstance(each.entry, ModelSpendSettledEntry)]
        assert [each.settlement for each in settled] == ["lost", "known"]


async def test_at_the_limit_a_person_can_be_asked_and_the_turn_goes_on_after_any_cut(tmp_path: Path) -> None:
    script = Script(text("because"))
    Spender.model = script.model(priced=True)
    budget: dict[str, Any] = {"max_usd_per_day": 0, "at_limit": "ask", "approver": "cfo"}
    async with loom_with(tmp_path / "whole", Spender, **budget) as loom:
        asking = asyncio.create_task(loom.actor(Spender, "one").ask(SpendOnce(), id="c"))
        [request] = await until(loom.approvals.pending)
        assert request.approver == "cfo"
        assert script.asked == 0
        await loom.approvals.grant(request.approval_id, by="carol")
        assert await asking == "because"
        history = await entries(loom, "spender/one")
    waiting, made = calls_in(history)
    assert (waiting.at_limit, waiting.problem, waiting.approver) == ("asked", "budget", "cfo")
    assert (made.at_limit, made.problem, made.cost_micro_usd) == ("asked", None, COST)
    for cut in range(2, len(history)):
        await lay_down(tmp_path / str(cut), history[:cut])
        before = script.asked
        async with loom_with(tmp_path / str(cut), Spender, **budget) as loom:
            asking = asyncio.create_task(loom.actor(Spender, "one").ask(SpendOnce(), id="c"))
            while not asking.done():
                for each in await loom.approvals.pending():
                    await loom.approvals.grant(each.approval_id, by="carol")
                await asyncio.wait([asking], timeout=0.01)
            assert await asking == "because"
        assert script.asked - before == (0 if len(calls_in(history[:cut])) == 2 else 1)


async def test_a_person_who_denies_refuses_the_call(tmp_path: Path) -> None:
    script = Script(text("because"))
    Spender.model = script.model(priced=True)
    async with loom_with(tmp_path, Spender, max_usd_per_day=0, at_limit="ask", approver="cfo") as loom:
        asking = asyncio.create_task(loom.actor(Spender, "one").ask(SpendOnce()))
        [request] = await until(loom.approvals.pending)
        await loom.approvals.deny(request.approval_id, by="carol", comment="no")
        assert "[carol] denied it" in await asking
    assert script.asked == 0


async def test_at_the_limit_a_cheaper_model_can_be_asked_and_the_entry_says_so(tmp_path: Path) -> None:
    script = Script(text("because"))
    Spender.model = script.model("gpt-4o", priced=True)
    budget: dict[str, Any] = {"max_usd_per_day": 0.000_5, "at_limit": "fallback_model", "fallback_model": "test"}
    async with loom_with(tmp_path, Spender, **budget) as loom:
        assert await loom.actor(Spender, "one").ask(SpendOnce()) == "success (no tool calls)"
        [call] = calls_in(await entries(loom))
    assert script.asked == 0
    assert (call.at_limit, call.model, call.instead_of) == ("fallback", "test", "openai:gpt-4o")


@pytest.mark.parametrize("missing", [{"at_limit": "ask"}, {"at_limit": "fallback_model"}, {"max_usd_per_day": -1}])
def test_a_budget_that_cannot_be_kept_is_refused(missing: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"approver|fallback_model|greater"):
        ModelBudgetConfig(**missing)


async def test_many_at_once_never_reserve_more_than_the_day_has(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    now = datetime(2026, 3, 1, tzinfo=UTC)
    spend = ModelSpend(store, ModelBudgetConfig(max_usd_per_day=0.000_1), now=lambda: now)
    made = await asyncio.gather(
        *(spend.reserve(f"a/{number}", model="m", worst_case_micro_usd=30) for number in range(20))
    )
    assert sum(isinstance(each, Reservation) for each in made) == 3
    assert all(isinstance(each, Reservation | NotReserved) for each in made)
    await store.close()


async def test_each_day_has_a_limit_and_a_journal_of_its_own_and_a_late_settlement_counts_on_the_day_of_its_call(
    tmp_path: Path,
) -> None:
    store = await SqliteStore.open(tmp_path / "j.db")
    at = [datetime(2026, 3, 1, 22, 59, tzinfo=UTC)]
    config = ModelBudgetConfig(max_usd_per_day=0.000_1, time_zone="Europe/Zurich")
    spend = ModelSpend(store, config, now=lambda: at[0])
    first = await spend.reserve("a/1", model="m", worst_case_micro_usd=90)
    assert isinstance(first, Reservation)
    assert isinstance(await spend.reserve("a/1", model="m", worst_case_micro_usd=90), NotReserved)
    at[0] = datetime(2026, 3, 1, 23, 1, tzinfo=UTC)  # one minute past midnight in Zurich
    second = await spend.reserve("a/1", model="m", worst_case_micro_usd=90)
    assert isinstance(second, Reservation)
    await spend.settle(first, 5, settlement="known")
    assert await spend.settle(first, 7, settlement="known") == 7
    assert (await spend.today("a/1"))[1:] == (1, 0, 90), "what the call of yesterday cost is not of today"
    names = {each.journal async for each in store.read_all()}
    assert names == {"loom/model-budget-2026-03-01", "loom/model-budget-2026-03-02"}
    again = ModelSpend(store, config, now=lambda: at[0])
    assert isinstance(await again.reserve("a/1", model="m", worst_case_micro_usd=20), NotReserved)
    assert (await again.today()).spent_micro_usd == 90, "what was lost counts in full"
    await store.close()


def test_an_endpoint_that_the_list_does_not_know_has_no_price_whatever_its_model_is_called() -> None:
    known = {"model": "gpt-4o-mini", "provider": "openai"}
    assert model_price_micro_usd(Tokens(1_000, 100), base_url=None, **known) == COST
    assert model_price_micro_usd(Tokens(1_000, 100), base_url="https://api.openai.com/v1/", **known) == COST
    assert model_price_micro_usd(Tokens(1_000, 100), base_url="http://127.0.0.1:8000/v1", **known) is None


def test_the_worst_case_of_a_model_whose_cache_costs_more_to_write_is_that() -> None:
    claude = {"model": "claude-sonnet-4-5", "provider": "anthropic", "base_url": None}
    plain = model_price_micro_usd(Tokens(1_000, 100), **claude)  # type: ignore[arg-type]
    assert plain is not None
    assert worst_micro_usd(input_tokens=1_000, output_tokens=100, **claude) == 5_250 > plain  # type: ignore[arg-type]
