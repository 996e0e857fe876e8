"""Population against policy: the parts add up, each is nothing where nothing of its kind changed, and gaps are told."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.decisions import PolicyReference
from loom.drift import DriftParams, PolicySplit
from loom.drift.reading import Case
from loom.drift.split import Rejudging
from loom.policies import allow, first_match, otherwise, policy
from loom.policies.evaluation import Evaluation
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.policies.tables import Table
from loom.sealing import Erased, SealedValue
from tests.drift.windows import RULE, Bench, Given, LimitFacts, LimitParams, bench, even, limit, other
from tests.projections.journals import open_store

PARAMS = DriftParams(permutations=99)
FEW = even(count=120)

givens = st.lists(st.tuples(st.sampled_from(["bank", "health", "retail"]), st.integers(0, 39)), min_size=1, max_size=40)
limits = st.sampled_from([5, 10, 20])


@cache
def known() -> tuple[PolicyRegistry, dict[int, PolicyVersion]]:
    """Return a registry that holds the limit policy with each of three limits; it needs no store any more."""

    async def register() -> tuple[PolicyRegistry, dict[int, PolicyVersion]]:
        with tempfile.TemporaryDirectory() as directory:
            store = await open_store(Path(directory))
            policies = PolicyRegistry(store)
            await policies.load()
            versions = {
                each: await policies.register(limit.with_params(LimitParams(percent=each)), by="robin")
                for each in (5, 10, 20)
            }
            await store.close()
            return policies, versions

    return asyncio.run(register())


def reference(version: PolicyVersion) -> PolicyReference:
    return PolicyReference(name=version.name, version=version.version, hash=version.hash)


def decided(cases: Sequence[Given], percent: int) -> list[Case]:
    """Return cases as they are decided with a limit, the facts of which make their situation."""
    return [
        Case(
            position=at + 1,
            policy="limit",
            effect="allow" if asked <= percent else "deny",
            situation=RULE.situation_key({"industry": industry, "percent": asked}),
            precedent="",
            facts={"industry": industry, "percent": asked},
            erased=False,
        )
        for at, (industry, asked) in enumerate(cases)
    ]


def split(before: Sequence[Case], now: Sequence[Case], weights: dict[int, int], **params: Any) -> PolicySplit:
    """Return the split where the baseline was decided under some limits, so many decisions each."""
    policies, versions = known()
    answers = Counter((each.situation or "", each.effect, each.precedent or "") for each in before)
    rejudging = Rejudging(answers, [(reference(versions[each]), n) for each, n in weights.items()], policies)
    rejudging.feed(now[: len(now) // 2])
    rejudging.feed(now[len(now) // 2 :])
    assert rejudging.seen == len(now)
    return rejudging.split(PARAMS.model_copy(update=params))


@given(givens, givens, limits, limits)
def test_the_parts_add_up_to_the_whole_and_none_of_the_first_two_is_negative(
    before: list[Given], now: list[Given], old: int, new: int
) -> None:
    found = split(decided(before, old), decided(now, new), {old: len(before)})
    assert found.total is not None
    assert found.population is not None
    assert found.policy is not None
    assert found.interaction is not None
    assert found.population + found.policy + found.interaction == pytest.approx(found.total, abs=1e-12)
    assert min(found.total, found.population, found.policy) >= 0
    assert found.population >= found.situations - 1e-12
    assert found.coverage == 1


@given(givens, givens, limits)
def test_under_one_version_all_of_a_change_is_who_came(before: list[Given], now: list[Given], percent: int) -> None:
    found = split(decided(before, percent), decided(now, percent), {percent: len(before)})
    assert (found.policy, found.interaction, found.answered_otherwise) == (0, 0, 0)
    assert found.population == found.total
    assert found.transitions == {}


@given(givens, limits, limits, st.randoms(use_true_random=False))
def test_where_the_same_came_all_of_a_change_is_how_they_were_answered(
    cases: list[Given], old: int, new: int, order: Any
) -> None:
    now = order.sample(cases, len(cases)) * 3
    found = split(decided(cases, old), decided(now, new), {old: len(cases)})
    assert (found.population, found.situations, found.interaction) == (0, 0, 0)
    assert found.policy == found.total
    otherwise = sum(min(old, new) < asked <= max(old, new) for _, asked in now)
    assert found.answered_otherwise == otherwise
    assert sum(found.transitions.values()) == otherwise


@given(givens, givens, st.integers(1, 9), st.integers(1, 9))
def test_several_versions_of_the_baseline_weigh_as_much_as_they_decided(
    before: list[Given], now: list[Given], ones: int, others: int
) -> None:
    mixed = [*decided(before, 5) * ones, *decided(before, 20) * others]
    found = split(mixed, decided(now, 5), {5: ones * len(before), 20: others * len(before)})
    between = sum(5 < asked <= 20 for _, asked in now)
    assert found.answered_otherwise == pytest.approx(between * others / (ones + others))
    assert set(found.transitions) <= {"allow → deny"}
    assert found.rejudged == len(now)


def test_decisions_whose_facts_are_sealed_are_counted_and_not_judged() -> None:
    before = decided([("bank", 3)] * 4, 10)
    sealed = SealedValue(subject="c-7", generation=1, about="/facts/percent", nonce="n", data="d").as_json()
    now = [
        *before,
        dataclasses.replace(before[0], facts={"industry": "bank", "percent": sealed}),
        dataclasses.replace(before[0], facts={"industry": Erased().as_json(), "percent": 3}),
    ]
    found = split(before, now, {10: len(before)}, minimum_coverage=0.5)
    assert found.rejudged == len(before)
    assert found.not_rejudged == {"sealed": 1, "erased": 1}


@given(givens, st.integers(0, 40), st.integers(0, 40))
def test_every_current_decision_is_judged_again_or_has_its_reason(
    now: list[Given], without_facts: int, of_another: int
) -> None:
    cases: list[Case] = []
    for at, each in enumerate(decided(now, 10)):
        facts = None if at < without_facts else each.facts
        policy_name = "other" if at >= len(now) - of_another else "limit"
        cases.append(dataclasses.replace(each, policy=policy_name, facts=facts, erased=at % 2 == 0))
    found = split(decided(FEW, 10), cases, {10: len(FEW)})
    assert found.rejudged + sum(found.not_rejudged.values()) == found.current_decisions == len(now)
    assert set(found.not_rejudged) <= {"other_policy", "erased", "no_facts"}
    assert found.coverage == found.rejudged / len(now)
    assert (found.total is None) == (found.reason is not None)
    assert (found.reason is None) == (found.coverage >= 0.5)


def test_a_decision_without_a_class_is_no_part_of_the_pattern() -> None:
    (one,) = decided([("bank", 5)], 10)
    without = dataclasses.replace(one, position=2, situation=None, precedent=None)
    policies, versions = known()
    rejudging = Rejudging({(one.situation or "", "allow", ""): 1}, [(reference(versions[10]), 1)], policies)
    rejudging.feed([one, without])
    assert rejudging.split(PARAMS).current_decisions == 1


@settings(max_examples=20)
@given(givens)
def test_facts_that_the_baseline_asks_for_and_nobody_recorded_are_missing_and_never_made_up(now: list[Given]) -> None:
    bare = [dataclasses.replace(each, facts={"industry": "bank"}) for each in decided(now, 10)]
    found = split(decided(FEW, 10), bare, {10: len(FEW)})
    assert found.not_rejudged == {"missing_facts": len(now)}
    assert found.total is None
    assert found.reason == "no current decision could be judged again"


@settings(max_examples=20)
@given(givens, givens)
def test_who_came_is_told_even_where_nothing_can_be_judged_again(before: list[Given], now: list[Given]) -> None:
    elsewhere = decided([(f"other {industry}", asked) for industry, asked in now], 10)
    unread = [
        Case(each.position, each.policy, None, each.situation, "", each.facts, erased=False) for each in elsewhere
    ]
    found = split(decided(before, 10), unread, {10: len(before)})
    assert found.situations == pytest.approx(1)
    assert found.not_rejudged == {"not_evaluated": len(now)}
    assert found.population is None


# --- out of journals ---------------------------------------------------------------------------


@pytest.fixture
async def work(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path) as opened:
        yield opened


async def told(work: Bench, **options: Any) -> PolicySplit:
    report = await work.compare("one", "two", **options)
    assert report.split is not None
    return report.split


async def test_a_new_limit_for_the_same_people_is_all_policy(work: Bench) -> None:
    await work.decide(FEW, run="one", percent=10)
    await work.decide(FEW, run="two", percent=20)
    report = await work.compare("one", "two")
    assert report.split is not None
    assert report.split.population == 0
    assert report.split.policy == report.split.total
    assert report.split.answered_otherwise == sum(10 < asked <= 20 for _, asked in FEW)
    assert report.split.transitions == {"deny → allow": report.split.answered_otherwise}
    assert report.split.versions == {(await work.version(10)).version: 120}
    words = "\n".join(report.explanation)
    assert "All of it is how they were answered" in words
    assert "would have answered 30 of 120 cases otherwise: deny → allow 30." in words
    assert "120 of 120 current decisions could be judged again." in words


async def test_other_people_under_the_same_limit_are_all_population(work: Bench) -> None:
    await work.decide(even(count=120, industries=("bank",)), run="one")
    await work.decide(FEW, run="two")
    report = await work.compare("one", "two")
    assert report.split is not None
    assert report.split.policy == 0
    assert report.split.population == report.split.total
    assert report.split.situations_p < 0.05
    words = "\n".join(report.explanation)
    assert "All of it is who came" in words
    assert "would have answered all 120 cases the same." in words


async def test_without_a_split_nothing_is_judged_again(work: Bench) -> None:
    await work.decide(FEW, run="one")
    await work.decide(FEW, run="two", percent=20)
    report = await work.compare("one", "two", split=False)
    assert report.split is None
    assert report.detected


async def test_progress_is_told_up_to_the_last_decision(work: Bench) -> None:
    await work.decide(even(count=40), run="one")
    await work.decide(even(count=2_050), run="two")
    seen: list[tuple[int, int]] = []
    await work.compare("one", "two", tell=lambda done, of: seen.append((done, of)))
    assert seen == [(1_000, 2_050), (2_000, 2_050), (2_050, 2_050)]


async def test_code_that_is_gone_is_named_and_never_replaced(work: Bench) -> None:
    @policy("limit", LimitParams(), examples=[LimitFacts(industry="bank", percent=3)])
    def changed(params: LimitParams, facts: LimitFacts) -> Evaluation:
        return first_match(otherwise("always", allow(), why=f"whatever {params.percent} and {facts.percent} are"))

    elsewhere = PolicyRegistry(work.asked.store)
    old = await elsewhere.register(changed, by="robin")
    await work.policies.load()
    await work.decide(FEW, run="one", version=old)
    await work.decide(FEW, run="two")
    found = await told(work)
    assert found.not_rejudged == {"code_changed": 120}
    assert found.total is None


async def test_an_actor_without_a_policy_has_no_rule_to_be_judged_under(work: Bench) -> None:
    implicit = await work.policies.register_implicit("limit-agent", by="robin")
    for run in ("one", "two"):
        await work.decide(FEW, run=run, version=implicit, evaluation=None)
    found = await told(work)
    assert found.not_rejudged == {"no_rule": 120}
    assert found.reason == "no decision of the baseline was evaluated by a policy"
    assert (found.baseline_decisions, found.baseline_evaluated) == (120, 0)


async def test_a_decision_of_another_policy_than_the_baselines_is_not_judged_by_it(work: Bench) -> None:
    await work.decide(FEW, run="one")
    await work.decide(FEW, run="two", version=await work.policies.register(other, by="robin"))
    assert (await told(work)).not_rejudged == {"other_policy": 120}


async def test_policies_of_which_one_decides_more_often_weigh_the_same_for_each_case(work: Bench) -> None:
    always = await work.policies.register(other, by="robin")
    for run, times in (("one", 1), ("two", 2)):
        for _ in range(times):
            await work.decide(FEW[:35], run=run)
            await work.decide(FEW, run=run, version=always, percent=100)
    found = await told(work)
    assert (found.total, found.population, found.policy, found.interaction) == (0, 0, 0, 0)
    assert found.rejudged == 310


async def test_too_little_coverage_is_told_and_the_parts_are_not(work: Bench) -> None:
    await work.decide(FEW, run="one")
    await work.decide(FEW[:40], run="two")
    await work.decide(FEW[40:], run="two", version=await work.policies.register(other, by="robin"))
    report = await work.compare("one", "two")
    assert report.split is not None
    assert (report.split.rejudged, report.split.not_rejudged) == (40, {"other_policy": 80})
    assert report.split.total is report.split.population is report.split.policy is report.split.interaction is None
    assert report.split.reason is not None
    assert "only 33.3%" in report.split.reason


async def test_a_table_is_judged_again_from_its_document_alone(work: Bench) -> None:
    table = Table.of(
        {
            "format": "loom.table/1",
            "name": "limit",
            "facts": {"industry": {"type": "string"}, "percent": {"type": "integer"}},
            "rules": [{"name": "within", "when": [["percent", "<=", 20]], "effect": "allow", "why": "it is within"}],
            "otherwise": {"name": "beyond", "effect": "deny", "why": "it is beyond"},
        }
    )
    version = await work.policies.register(table, by="robin")
    await work.decide(FEW, run="one", version=version, percent=20)
    await work.decide(FEW, run="two", percent=10)
    found = await told(work)
    assert found.coverage == 1
    assert found.transitions == {"allow → deny": 30}
