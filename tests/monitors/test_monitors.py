"""Monitors: a window for each subject, right again after a restart, and a suspension that is never one late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom import Extension, Loom, LoomConfig
from loom.gate import Gate, extension, profitability_monitor
from loom.journal.kinds import CommandReceivedEntry
from loom.monitors import (
    MonitorTickEntry,
    ObservedEntry,
    RollingMeanParams,
    full_window,
    full_window_without_credit,
    rolling_mean,
    rolling_mean_of,
)
from tests.gate.support import AGENT, CONTRACT, Desk, gated

SMALL = RollingMeanParams(window=3, threshold=10.0)


@asynccontextmanager
async def watched(path: Path) -> AsyncIterator[Loom]:
    """Open a loom with a gate whose monitor has a small window."""
    own = Extension(
        name="gate",
        projections=extension.projections,
        start=lambda loom: Gate.open(loom, monitors=[profitability_monitor(loom.standings, params=SMALL)]),
    )
    async with Loom.open(LoomConfig(data=path), by="operations", extensions=[own]) as loom:
        yield loom


async def ticks(loom: Loom, agent: str = AGENT) -> list[MonitorTickEntry]:
    journal = f"monitor-profitability/{agent}"
    return [each.entry async for each in loom.store.read(journal) if isinstance(each.entry, MonitorTickEntry)]


async def test_a_tick_comes_only_with_a_full_window_and_over_the_threshold_suspends(tmp_path: Path) -> None:
    async with watched(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        for number, offer in enumerate((10, 10, 10, 10.1)):
            assert (await desk.offer(f"i-{number}", offer)).code == "VALIDATION_PASSED"
        # Nobody waits here: the next proposal itself waits until the monitor has seen the last execution.
        assert (await desk.offer("late", 1)).code == "RBAC_DENIED"
        found = await ticks(loom)
        assert [(each.rule, each.facts["observed"]) for each in found] == [("within", 3), ("drift", 3)]
        assert found[0].facts["mean"] == 10.0
        standing = loom.standings.of(AGENT)
        assert (standing.standing, standing.by, standing.trigger, standing.reason) == (
            "SUSPENDED",
            "monitor profitability",
            "system",
            "PROFITABILITY_DRIFT",
        )
        cause = (await loom.traces.get(str(standing.cause))).decision
        assert cause.outcome == {"intervention": "suspend", "subject": AGENT}
        assert cause.under.name == "monitor-profitability"


async def test_two_agents_never_share_a_window(tmp_path: Path) -> None:
    async with watched(tmp_path) as loom:
        calm, wild = await Desk(loom, agent="calm").arrive(), await Desk(loom, agent="wild").arrive()
        for number in range(3):
            await asyncio.gather(calm.offer(f"c-{number}", 1), wild.offer(f"w-{number}", 15))
        await loom.reactors.reached()
        assert loom.standings.of("calm").standing == "ACTIVE"
        assert loom.standings.of("wild").standing == "SUSPENDED"
        assert [each.facts["mean"] for each in await ticks(loom, "calm")] == [1.0]


async def test_a_window_is_right_again_after_a_restart_and_nothing_counts_twice(tmp_path: Path) -> None:
    for number, offer in enumerate((4, 5, 6, 7)):
        async with watched(tmp_path) as loom:
            await (await Desk(loom).arrive()).offer(f"i-{number}", offer)
    async with watched(tmp_path) as loom:
        await loom.reactors.reached()
        assert [each.facts["mean"] for each in await ticks(loom)] == [5.0, 6.0]
        observed = [
            each.command_id
            async for each in loom.store.read(f"monitor-profitability/{AGENT}")
            if isinstance(each.entry, CommandReceivedEntry)
        ]
        assert len(observed) == len(set(observed)) == 4


async def test_a_reinstated_agent_begins_with_an_empty_window(tmp_path: Path) -> None:
    async with watched(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        for number in range(3):
            await desk.offer(f"i-{number}", 15)
        await loom.reactors.reached()
        await loom.standings.reinstate(AGENT, by="mira", reason="it was asked to")
        assert (await desk.offer("i-3", 15)).code == "VALIDATION_PASSED"
        assert (await desk.offer("i-4", 15)).code == "VALIDATION_PASSED"
        assert (await desk.offer("i-5", 15)).code == "VALIDATION_PASSED", "the third fills the window anew"
        assert (await desk.offer("i-6", 1)).code == "RBAC_DENIED"


async def test_another_version_of_the_monitors_policy_counts_once_a_person_adopts_it(tmp_path: Path) -> None:
    async with watched(tmp_path) as loom:
        desk = await Desk(loom).arrive()
        for number in range(2):
            await desk.offer(f"i-{number}", 4)
        await loom.reactors.reached()
        strict = rolling_mean_of("monitor-profitability", RollingMeanParams(window=2, threshold=3.0))
        version = await loom.policies.register(strict, by="mira")
        await loom.policies.adopt(version.hash, by="vera", reason="be stricter")
        await desk.offer("i-2", 4)
        await loom.reactors.reached()
        assert loom.standings.of(AGENT).standing == "SUSPENDED"
        [tick] = await ticks(loom)
        assert tick.parameters == {"window": 2, "threshold": 3.0}


async def test_what_was_executed_while_no_monitor_ran_is_caught_up_with(tmp_path: Path) -> None:
    async with gated(tmp_path, monitors=[]) as loom:
        desk = await Desk(loom).arrive()
        for number in range(3):
            await desk.offer(f"i-{number}", 15)
    async with watched(tmp_path) as loom:
        assert (await (await Desk(loom).arrive()).offer("next", 1)).code == "RBAC_DENIED"


async def test_credit_does_not_pull_down_what_was_given_away(tmp_path: Path) -> None:
    allowing = CONTRACT.model_copy(update={"version": "1.3.0", "floors": {"discount_offered": -1_000.0}})
    async with watched(tmp_path) as loom:
        desk = await Desk(loom).arrive(allowing)
        for number, offer in enumerate((-1_000, 15, 15, 15)):
            assert (await desk.offer(f"i-{number}", offer)).code == "VALIDATION_PASSED"
        assert (await desk.offer("late", 1)).code == "RBAC_DENIED"
        assert [each.facts["mean"] for each in await ticks(loom)] == [10.0, 15.0]
        assert await observed(loom) == [-1_000, 15, 15, 15], "what happened is written down as it was"


async def test_numbers_at_the_end_of_what_a_float_holds_lose_no_observation(tmp_path: Path) -> None:
    wide = CONTRACT.model_copy(update={"limits": {"discount_offered": 1.7e308}, "version": "1.3.0"})
    async with watched(tmp_path) as loom:
        desk = await Desk(loom).arrive(wide)
        for number in range(3):
            assert (await desk.offer(f"i-{number}", 1.7e308)).code == "VALIDATION_PASSED"
        assert (await desk.offer("late", 1)).code == "RBAC_DENIED"
        assert await observed(loom) == [1.7e308] * 3
        [tick] = await ticks(loom)
        assert (tick.facts["mean"], tick.rule) == (1.7e308, "drift")


async def test_what_is_no_number_is_no_observation_and_holds_nobody_up(tmp_path: Path) -> None:
    unlimited = CONTRACT.model_copy(update={"limits": {}, "version": "1.3.0"})
    async with watched(tmp_path) as loom:
        desk = await Desk(loom).arrive(unlimited)
        given: list[object] = ["plenty", "12.5", True, None, [1], "inf", "nan", 4]
        for number, offer in enumerate(given):
            assert (await desk.offer(f"i-{number}", offer)).code == "VALIDATION_PASSED"
        await loom.reactors.reached()
        assert await observed(loom) == [12.5, 4], "a number that is written as text is given away all the same"


async def observed(loom: Loom, agent: str = AGENT) -> list[float]:
    journal = f"monitor-profitability/{agent}"
    return [each.entry.value async for each in loom.store.read(journal) if isinstance(each.entry, ObservedEntry)]


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, min_size=1, max_size=40))
def test_finite_numbers_always_have_the_mean_that_fractions_give(values: list[float]) -> None:
    facts = full_window(values, {"window": len(values)})
    assert facts is not None
    exact = float(sum(map(Fraction, values)) / len(values))
    assert facts["mean"] == pytest.approx(exact, rel=1e-15, abs=1e-320)


@given(st.lists(finite, min_size=1, max_size=40), st.integers(1, 20))
def test_credit_never_lowers_a_mean(values: list[float], window: int) -> None:
    without = full_window_without_credit(values, {"window": window})
    assert without == full_window([max(value, 0.0) for value in values], {"window": window})
    if without is not None:
        mean = full_window(values, {"window": window})
        assert mean is not None
        assert without["mean"] >= max(mean["mean"], 0.0)


@given(st.lists(st.floats(0, 100), min_size=0, max_size=40), st.integers(1, 20))
def test_a_window_is_the_mean_of_its_last_values(values: list[float], window: int) -> None:
    facts = full_window(values, {"window": window, "threshold": 0.0})
    if len(values) < window:
        assert facts is None
    else:
        last = values[-window:]
        assert facts is not None
        assert facts["mean"] == pytest.approx(sum(last) / window)
        assert min(last) - 1e-9 <= facts["mean"] <= max(last) + 1e-9


def test_a_mean_at_the_threshold_is_within() -> None:
    assert rolling_mean.evaluate_json({"observed": 20, "mean": 10.0}).rule == "within"
    assert rolling_mean.evaluate_json({"observed": 20, "mean": 10.000001}).rule == "drift"
