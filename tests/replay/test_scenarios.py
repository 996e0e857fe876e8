"""Scenarios: the same decisions on other facts, changed exactly, never made up, kept as simulations of real ones."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from loom import Loom
from loom.errors import AdmissionError, PolicyMismatchError
from loom.replay import Scenario, Selection
from tests.cli.support import RunningLoom, configured, invoke, run
from tests.replay.test_judging import CASES, V1, V2, Ask, Other, Seller, decided, opened, registered, rows


def made(what_if: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any] | None:
    scenario = Scenario.of(None, what_if)
    assert scenario is not None
    return scenario.facts(facts)


# --- what is changed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded", "change", "expected"),
    [
        (20, "-10 %", 18),
        (20, "-10%", 18),
        (15, "-10 %", 14),  # 13.5, half to even
        (25, "-10 %", 22),  # 22.5, half to even
        (20, "+2.5", 22),
        (0.3, "+0.1", 0.4),
        (0.1, "+200 %", 0.3),
        ("0.10", "+5 %", "0.105"),
        ("100", "-1", "99"),
        (-4, "+50 %", -6),
        (20, 7, 7),
        (20, "low", "low"),
        ("a", {"set": "-10 %"}, "-10 %"),
        (True, False, False),
        (None, 3, 3),
        ([1], [2, 3], [2, 3]),
    ],
)
def test_a_fact_is_changed_exactly_and_stays_what_it_was(recorded: object, change: object, expected: object) -> None:
    found = made({"x": change}, {"x": recorded, "y": 1})
    assert found == {"x": expected, "y": 1}
    assert type(found["x"]) is type(expected)


@pytest.mark.parametrize("recorded", [True, None, "many", [1], {"a": 1}])
def test_what_is_no_number_cannot_be_reckoned_with(recorded: object) -> None:
    assert made({"x": "-10 %"}, {"x": recorded}) is None


def test_a_fact_that_was_not_recorded_cannot_be_reckoned_with_and_can_be_given() -> None:
    assert made({"x": "-10 %"}, {"y": 1}) is None
    assert made({"x": 4}, {"y": 1}) == {"x": 4, "y": 1}
    assert made({"mind.risk": 4}, {"y": 1}) is None


def test_a_dot_reaches_into_an_object_unless_the_name_has_it() -> None:
    assert made({"mind.risk": "+1"}, {"mind": {"risk": 2, "energy": 3}}) == {"mind": {"risk": 3, "energy": 3}}
    assert made({"mind.risk": "+1"}, {"mind.risk": 2}) == {"mind.risk": 3}


@given(st.integers(-(2**40), 2**40), st.decimals(-99, 500, places=2))
def test_a_share_of_a_whole_number_is_the_nearest_whole_one(number: int, percent: Decimal) -> None:
    found = made({"x": f"{percent:+f} %"}, {"x": number})
    assert found is not None
    assert abs(Decimal(found["x"]) - number * (1 + percent / 100)) <= Decimal("0.5")


def test_what_was_recorded_stays_as_it_was_whatever_a_function_does() -> None:
    recorded: dict[str, JsonValue] = {"mind": {"risk": 2}}

    def change(facts: dict[str, Any]) -> dict[str, Any]:
        facts["mind"]["risk"] = 9
        return facts

    scenario = Scenario.of(change, None)
    assert scenario is not None
    assert scenario.facts(recorded) == {"mind": {"risk": 9}}
    assert recorded == {"mind": {"risk": 2}}


def test_a_scenario_is_said_once_and_changes_something() -> None:
    with pytest.raises(AdmissionError, match="leave out one"):
        Scenario.of(lambda facts: facts, {"x": 1})
    for nothing in ({}, {"": 1}, {str(number): 1 for number in range(65)}):
        with pytest.raises(AdmissionError, match="name what differs"):
            Scenario.of(None, nothing)
    with pytest.raises(AdmissionError):
        Scenario.of(None, {"x": float("nan")})
    assert Scenario.of(None, None) is None


# --- judging on other facts ----------------------------------------------------------------------


async def test_each_decision_is_judged_under_its_own_version_on_other_facts(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        first = await decided(loom, *CASES)
        [v2] = await registered(loom, V2)
        await loom.policies.adopt(v2, by="kim")
        later = await loom.actor(Seller, "two").ask(Ask(facts={"percent": 22, "industry": "retail"}))
        found = await loom.replay.judge(Selection(policy="discount"), what_if={"percent": "-40 %"})
        cases = {case.decision_id: case async for case in loom.replay.cases(Selection(), what_if={"percent": "-40 %"})}
    # 5 → 3, 15 → 9, 15 → 9, 30 → 18, 70 → 42 under a limit of 10; 22 → 13 under one of 20
    assert [cases[each].new for each in first] == ["allow", "allow", "allow", "deny", "require_approval:vp"]
    assert (cases[later].old, cases[later].new) == ("deny", "allow")
    assert (found.cases, found.unchanged, found.flipped, found.coverage) == (6, 2, 4, 1.0)
    assert (found.policy, found.under, found.hash) == ("discount", "the version of each", "")
    assert found.scenario == {"what_if": {"percent": "-40 %"}}
    assert found.defects == ()


async def test_a_function_may_make_the_facts_and_a_version_be_another_as_well(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await decided(loom, *CASES)
        found = await loom.replay.judge(Selection(), facts=lambda facts: {**facts, "industry": "health"}, under=V2)
        assert found.scenario is not None
        assert "lambda" in str(found.scenario["facts"])
        assert {(each.old, each.new): each.cases for each in found.transitions} == {
            ("deny", "allow"): 1,
            ("deny", "require_approval:vp"): 1,
            ("require_approval:vp", "allow"): 1,
        }
        assert found.untouched == 2


async def test_a_scenario_that_changes_nothing_finds_nothing_and_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await decided(loom, *CASES)
        found = await loom.replay.judge(Selection(), what_if={"percent": "+0"})
    assert (found.unchanged, found.flipped, found.untouched, found.defects) == (5, 0, 5, ())


async def test_what_cannot_be_changed_is_named_and_never_made_up(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await decided(loom, *CASES[:2])
        await loom.actor(Seller, "one").ask(Ask(facts={}, looks=False))
        missing = await loom.replay.judge(Selection(), what_if={"arr": "+10 %"})
        broken = await loom.replay.judge(Selection(), facts=lambda facts: {"percent": facts["nothing"]})
        ill_typed = await loom.replay.judge(Selection(), what_if={"percent": "many"})
        less = await loom.replay.judge(Selection(), facts=lambda facts: {"percent": facts["percent"]})
    for found in (missing, broken):
        assert found.not_replayable == {"no_facts": 1, "scenario_failed": 2}
        assert found.coverage == 0
    assert ill_typed.not_replayable == {"no_facts": 1, "unusable_facts": 2}
    assert less.not_replayable == {"no_facts": 1, "missing_facts": 2}


async def test_something_must_differ(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await decided(loom, *CASES[:1])
        with pytest.raises(AdmissionError, match="say what differs"):
            await loom.replay.judge(Selection())
        [v2] = await registered(loom, V2)
        await loom.actor(Other, "o").ask(Ask(facts={}))
        with pytest.raises(PolicyMismatchError):
            await loom.replay.judge(Selection(actor_type="other"), under=v2, what_if={"percent": 1})
        by_itself = await loom.replay.judge(Selection(actor_type="other"), what_if={"percent": 1})
        assert by_itself.not_replayable == {"no_rule": 1}


# --- kept ----------------------------------------------------------------------------------------


async def test_what_was_simulated_is_kept_as_such_with_its_lineage_and_touches_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        ids = await decided(loom, *CASES)
        before, classes = rows(tmp_path), await loom.precedents.classes()
        found = await loom.replay.judge(Selection(), what_if={"percent": "-40 %"}, keep=True, by="dana")
        assert found.run_id is not None
        kept = await loom.runs.get(found.run_id)
        assert (kept.kind, kept.by) == ("simulation", "dana")
        assert kept.parameters["what_if"] == {"percent": "-40 %"}
        simulated = await loom.traces.find(run_id=found.run_id)
        assert {each.replayed_from for each in simulated} == set(ids)
        assert {each.origin for each in simulated} == {"replayed"}
        [one] = [each for each in simulated if each.replayed_from == ids[1]]
        decision = (await loom.traces.get(one.decision_id)).decision
        assert decision.facts == {"percent": 9, "industry": "retail"}
        assert decision.evaluation is not None
        assert decision.evaluation.effect == "allow"
        assert decision.rationale.startswith(f"simulated under {decision.under.version}, what if percent -40 %: deny →")
        assert decision.under.hash == loom.policies.latest("discount").hash
        lineage = await loom.traces.lineage(ids[1])
        assert one.decision_id in {each.decision.decision_id for each in lineage.members}
        assert rows(tmp_path) == before
        assert await loom.precedents.classes() == classes  # what was simulated is no precedent
        again = await loom.replay.judge(Selection(run_id=found.run_id), what_if={"percent": "+100 %"}, keep=True)
        assert again.cases == 5
        audit = await loom.policies.audit(Selection(run_id=found.run_id))
        assert (audit.confirmed, audit.counts, audit.mixed_runs) == (5, {}, {})


async def test_versions_of_their_own_are_kept_each_with_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await decided(loom, CASES[1])
        [v2] = await registered(loom, V2)
        await loom.policies.adopt(v2, by="kim")
        await loom.actor(Seller, "two").ask(Ask(facts={"percent": 22, "industry": "retail"}))
        found = await loom.replay.judge(Selection(), what_if={"percent": "-2"}, keep=True)
        simulated = await loom.traces.find(run_id=found.run_id)
        assert {each.policy_version for each in simulated} == {v2, loom.policies.versions("discount")[0].version}


# --- from the shell ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import asyncio

    made_here = configured(tmp_path_factory.mktemp("scenarios"), module="tests.replay.test_judging")

    async def fill() -> None:
        async with Loom.open(made_here, by="robin") as loom:
            await decided(loom, *CASES)

    asyncio.run(fill())
    return made_here


def test_the_shell_judges_on_other_facts(config: Path) -> None:
    said = invoke("replay", "judge", "--what-if", "percent=-40%", "--cases", config=config)
    assert said.code == 1
    assert "what if: percent -40%" in said.out
    assert "deny" in said.out
    document = invoke(
        "replay", "judge", "--what-if", "percent=-40%", "--what-if", "industry=health", "--json", config=config
    ).json
    assert document["scenario"] == {"what_if": {"percent": "-40%", "industry": "health"}}
    assert invoke("replay", "judge", "--what-if", "percent=-3", "--json", config=config).json["scenario"] == {
        "what_if": {"percent": "-3"}
    }
    assert invoke("replay", "judge", "--what-if", "percent=5", "--json", config=config).json["scenario"] == {
        "what_if": {"percent": 5}
    }
    assert invoke("replay", "judge", "--what-if", "percent=+0", config=config).code == 0


def test_the_shell_says_what_is_missing(config: Path) -> None:
    assert invoke("replay", "judge", config=config).code == 2
    assert invoke("replay", "judge", "--what-if", "percent", config=config).code == 2
    unsure = invoke("replay", "judge", "--what-if", "arr=+10%", config=config)
    assert unsure.code == 3
    assert "scenario failed" in unsure.out


def test_the_shell_keeps_a_simulation_also_beside_a_running_loom(config: Path, tmp_path: Path) -> None:
    alone = invoke("replay", "judge", "--what-if", "percent=-40%", "--keep", "--by", "dana", "--json", config=config)
    assert alone.json["run_id"]
    with RunningLoom(config):
        beside = run(
            "replay",
            "judge",
            "--what-if",
            "percent=-40%",
            "--keep",
            "--by",
            "dana",
            "--json",
            "-c",
            str(config),
            cwd=tmp_path,
        )
    assert beside.json["run_id"] != alone.json["run_id"], beside.err
    assert beside.json["flipped"] == alone.json["flipped"]
    kinds = {each["kind"] for each in invoke("runs", "--json", config=config).json}
    assert kinds == {"simulation"}


def test_v1_is_what_the_numbers_above_are_about() -> None:
    assert V1.version_hash != V2.version_hash
