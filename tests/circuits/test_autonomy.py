"""Autonomy: when a strategy counts as declining, what is done by how sure that is, and whose figures are shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom import Loom
from loom.circuits import Circuits, Counted, strategy_decline
from loom.circuits.decline import DeclineParams
from loom.circuits.earlier import EARLIER
from loom.circuits.entries import CorrectionEntry, CycleCountedEntry
from loom.circuits.strategies import StrategyState
from loom.journal.entry import KINDS
from tests.circuits.support import wired
from tests.golden.reading import HERE, copied

AT_BB54F79 = "79906d8aaf178c34b6dd81940d9ea7cb50fc255bd9a42fb0651e79f0f994ce3c"


async def counted(
    loom: Loom, scores: Sequence[float], *, client: str = "c", confidence: float | None = None
) -> list[Counted]:
    circuits = Circuits.of(loom)
    return [
        await circuits.count_cycle(client, "s", engagement=score, conversion=0.1, confidence=confidence)
        for score in scores
    ]


async def known(loom: Loom, *names: str, client: str = "c") -> None:
    for place, name in enumerate(names):
        await Circuits.of(loom).add_strategy(client, "s", name, success_rate=0.9 - place / 10, by="mira")


# --- the baseline ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lasting", [0.78, 0.7, 0.5, 0.1])
async def test_a_lasting_fall_is_corrected_at_the_third_cycle_however_small_it_is(
    tmp_path: Path, lasting: float
) -> None:
    async with wired(tmp_path) as loom:
        await known(loom, "s-1", "s-2")
        found = await counted(loom, [0.7] * 10 + [round(0.7 * lasting, 4)] * 3)
    assert [each.decline_cycles for each in found[10:]] == [1, 2, 3]
    assert {each.baseline for each in found[10:]} == {0.7}, "it is frozen at the first declining cycle"
    assert found[-1].new_strategy_id == "s-2"


async def test_a_recovery_lets_the_baseline_go_and_the_next_decline_is_held_against_its_own(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        await known(loom, "s-1", "s-2")
        found = await counted(loom, [0.7, 0.7, 0.5, 0.5, 0.6, 0.4])
    assert [each.baseline for each in found] == [None, 0.7, 0.7, 0.7, 0.7, 0.6]
    assert [each.decline_cycles for each in found] == [0, 0, 1, 2, 0, 1]


async def test_the_baseline_stays_frozen_after_an_escalation_and_a_strategy_that_is_added_then_is_rotated_to(
    tmp_path: Path,
) -> None:
    async with wired(tmp_path) as loom:
        await known(loom, "s-1")
        found = await counted(loom, [0.7] * 10 + [0.5] * 5)
        assert [each.health.action_type for each in found[12:]] == ["escalate_to_admin"] * 3
        assert [each.decline_cycles for each in found[10:]] == [1, 2, 3, 4, 5]
        [asked] = Circuits.of(loom).escalations.open()
        assert asked.repeats == 2, "what comes of the same cause attaches to it"
        await known(loom, "s-1", "s-2")
        [rotated] = await counted(loom, [0.5])
        assert (rotated.baseline, rotated.new_strategy_id) == (0.7, "s-2")


@given(st.lists(st.floats(0, 1), max_size=30))
def test_a_baseline_never_moves_while_a_strategy_declines(scores: list[float]) -> None:
    state = StrategyState.initial()
    before: tuple[float | None, int] = (None, 0)
    for cycle, score in enumerate(scores, start=1):
        baseline = state.baseline(10)
        if before[1]:
            assert baseline == before[0]
        said = strategy_decline.evaluate_json(
            {"engagement": score, "baseline": baseline, "declines_before": state.decline_cycles, "has_other": False}
        )
        declining = bool(said.details["declining"])
        declines = state.decline_cycles + 1 if declining else 0
        state.fold(
            CycleCountedEntry(
                strategy_id=state.current,
                cycle=cycle,
                engagement=score,
                conversion=0.0,
                baseline=baseline,
                declining=declining,
                decline_cycles=declines,
                frozen_baseline=baseline if declining else None,
            )
        )
        before = (baseline, declines)
        assert said.denied == (declines >= 3)


# --- how sure it is --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("confidence", "action", "sure"),
    [
        (None, "rotate_strategy", 0.95),
        (1.0, "rotate_strategy", 0.95),
        (0.86, "rotate_strategy", 0.86),
        (0.85, "log_and_monitor", 0.85),
        (0.5, "log_and_monitor", 0.5),
        (0.49, "escalate_to_admin", 0.49),
        (0.0, "escalate_to_admin", 0.0),
    ],
)
async def test_a_correction_is_acted_on_watched_or_escalated_by_how_sure_the_figures_are(
    tmp_path: Path, confidence: float | None, action: str, sure: float
) -> None:
    async with wired(tmp_path) as loom:
        await known(loom, "s-1", "s-2")
        await counted(loom, [0.7] * 3)
        *_, last = await counted(loom, [0.4] * 3, confidence=confidence)
        health, state, correction = await Circuits.of(loom).health("c", "s")
        shown = await Circuits.of(loom).view.dashboard()
        opened = Circuits.of(loom).escalations.open()
    assert (last.health.action_type, last.health.confidence) == (action, sure)
    assert (health.needs_correction, health.action_type) == (True, action)
    rotated = action == "rotate_strategy"
    assert last.new_strategy_id == ("s-2" if rotated else None)
    assert state is not None
    assert state["strategy_id"] == ("s-2" if rotated else "s-1"), "nothing else is rotated"
    assert correction is not None
    assert correction["decline_cycles"] == 3
    watched = action == "log_and_monitor"
    assert (shown["monitored"], shown["summary"]["total_corrections"]) == (int(watched), int(not watched))
    assert len(opened) == (action == "escalate_to_admin")


async def test_a_decline_is_as_sure_as_the_least_sure_of_its_cycles_and_a_recovery_forgets_it(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        await known(loom, "s-1", "s-2")
        await counted(loom, [0.7] * 3)
        await counted(loom, [0.4], confidence=0.6)
        *_, watched = await counted(loom, [0.4] * 2)
        assert (watched.health.action_type, watched.health.confidence) == ("log_and_monitor", 0.6)
        await counted(loom, [0.7])
        *_, rotated = await counted(loom, [0.3] * 3)
        assert (rotated.health.action_type, rotated.health.confidence) == ("rotate_strategy", 0.95)


async def test_thresholds_that_a_person_adopts_for_corrections_are_used(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        await known(loom, "s-1", "s-2")
        strict = strategy_decline.with_params(DeclineParams(act_above=0.97))
        version = await loom.policies.register(strict, by="mira", reason="nothing rotates by itself this quarter")
        await loom.policies.adopt(version.hash, by="vera", reason="agreed")
        *_, last = await counted(loom, [0.7] * 3 + [0.4] * 3)
        assert (last.health.action_type, last.new_strategy_id) == ("log_and_monitor", None)


# --- whose figures they are ------------------------------------------------------------------------


async def test_after_a_rotation_the_new_strategy_starts_with_its_own_figures(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        await known(loom, "s-1", "s-2")
        await counted(loom, [0.7] * 3 + [0.4] * 3)
        [state] = (await Circuits.of(loom).view.dashboard())["strategy_states"]
        figures = ("strategy_id", "engagement_score", "conversion_score", "cycle_count", "decline_cycles")
        assert [state[name] for name in figures] == ["s-2", None, None, 0, 0]
        assert state["last_rotated_at"] is not None
        _, metrics, _ = await Circuits.of(loom).health("c", "s")
        assert metrics is not None
        assert [metrics[name] for name in figures] == ["s-2", 0.4, 0.1, 6, 3], "what led to it, until a cycle comes"
        [first] = await counted(loom, [0.8])
        assert (first.cycle_count, first.baseline) == (1, None)
        await counted(loom, [0.8] * 2 + [0.2] * 3)
        [state] = (await Circuits.of(loom).view.dashboard())["strategy_states"]
        assert [state[name] for name in figures] == ["s-1", 0.4, 0.1, 6, 0], "it comes back with what it had"
        await loom.rebuild()
        assert [state] == (await Circuits.of(loom).view.dashboard())["strategy_states"]


# --- what was there before -------------------------------------------------------------------------


def test_the_earlier_rule_gives_the_version_that_it_gave() -> None:
    assert [each.version_hash for each in EARLIER] == [AT_BB54F79]
    assert strategy_decline.version_hash != AT_BB54F79


def test_earlier_entries_of_cycles_and_corrections_are_read_as_they_were_meant() -> None:
    cycle = KINDS.decode(
        "circuit.cycle_counted",
        1,
        b'{"step":null,"strategy_id":"s","cycle":3,"engagement":0.4,"conversion":0.1,"baseline":0.7,"declining":true,'
        b'"decline_cycles":1}',
    )
    correction = KINDS.decode(
        "circuit.corrected",
        1,
        b'{"step":null,"log_id":"l","action":"escalate_to_admin","previous_strategy_id":"s","new_strategy_id":null,'
        b'"reason":"r","confidence":0.5}',
    )
    assert isinstance(cycle, CycleCountedEntry)
    assert isinstance(correction, CorrectionEntry)
    assert (cycle.measured, cycle.frozen_baseline, correction.decline_cycles) == (1.0, None, 0)


async def goes_on(loom: Loom, client: str, score: float) -> Counted:
    return await Circuits.of(loom).count_cycle(client, "enterprise", engagement=score, conversion=0.1)


async def test_a_journal_from_before_goes_on_where_it_was(tmp_path: Path) -> None:
    copied(HERE / "corrections", tmp_path)
    async with wired(tmp_path) as loom:
        rotated, asked, declining = [
            await goes_on(loom, client, 0.3) for client in ("rotated", "escalated", "declining")
        ]
        assert (rotated.strategy_id, rotated.baseline, rotated.decline_cycles) == ("s-2", 0.9, 1)
        assert (asked.strategy_id, asked.decline_cycles) == ("s-1", 1), "an escalation began the count again then"
        assert (declining.decline_cycles, declining.new_strategy_id) == (3, "s-2")
        adopted = loom.policies.adopted("strategy-decline")
        assert adopted is not None
        assert (adopted.document["rule"], adopted.reason) == (EARLIER[0].document["rule"], "a lenient ratio")
        decided = [each async for each in loom.store.read("strategy/declining:enterprise") if each.kind == "decision"]
        assert [each.policy for each in decided] == [adopted.hash], "what a person adopted stays adopted"
        found = await loom.policies.audit()
        assert (found.confirmed, found.counts.get("code_changed")) == (found.decisions, None)


async def test_a_turn_of_the_earlier_rule_runs_under_it_again(tmp_path: Path) -> None:
    async with wired(tmp_path) as loom:
        version = await loom.policies.register(EARLIER[0], by="mira", reason="as it was")
        await loom.policies.adopt(version.hash, by="vera", reason="until the new one was looked at")
        await known(loom, "s-1", "s-2")
        *_, last = await counted(loom, [0.7] * 3 + [0.4] * 3, confidence=0.6)
        assert (last.new_strategy_id, last.health.confidence) == ("s-2", 0.95), "it knows nothing of bands"
        [correction] = await loom.traces.find(decision_type="strategy_correction")
        decision = (await loom.traces.get(correction.decision_id)).decision
        assert decision.under.hash == AT_BB54F79
        assert set(decision.facts or {}) == {"engagement", "baseline", "declines_before"}
        driven: list[Any] = [each async for each in loom.replay.verify("strategy/c:s")]
        assert {each.verdict for each in driven} == {"same"}
