"""Drift month by month, over decisions from before loom was there: planted in one month, and found in it alone."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loom import Actor, Command, Loom, Window
from loom.drift import OUTCOMES_ALONE
from loom.policies import Table
from loom.precedents import Bin, EquivalenceRule
from tests.cli.support import CONFIG, invoke
from tests.observing import Seen, observe

RULE = EquivalenceRule("loans", attributes=("purpose", Bin("ratio", at=[0.4, 0.8])), outcome=("granted",))
TABLE = Table.of(
    {
        "format": "loom.table/1",
        "name": "loans",
        "facts": {"ratio": {"type": "decimal"}, "income": {"type": "integer"}},
        "rules": [
            {"name": "low", "when": [["ratio", "<", "0.5"]], "effect": "allow", "why": "low"},
            {"name": "rich", "when": [["income", ">=", 90]], "effect": "allow", "why": "rich"},
        ],
        "otherwise": {"name": "else", "effect": "deny", "why": "high"},
    }
)
MONTHS = [f"2015-{month:02}" for month in range(1, 7)]
PLANTED = "2015-05"


class Nothing(Command[None]):
    pass


class Clerk(Actor[None]):
    actor_type = "clerk"
    policy = TABLE
    equivalence = RULE

    async def execute(self, command: Nothing) -> None:
        raise NotImplementedError


def decided(*, planted: bool, seed: int = 4) -> list[Seen]:
    """Return 90 decisions a month, whose income is not always recorded; planted, people get strict in one month."""
    draw = random.Random(seed)
    found = []
    for month in MONTHS:
        for _ in range(90):
            ratio = draw.randrange(0, 100) / 100
            facts: dict[str, Any] = {"purpose": draw.choice(["home", "car"]), "ratio": f"{ratio:.2f}"}
            if draw.random() < 0.7:
                facts["income"] = draw.randrange(20, 100)
            strict = planted and month >= PLANTED
            granted = draw.random() < (0.9 if ratio < 0.5 else 0.25) * (0.4 if strict else 1.0)
            at = datetime.fromisoformat(f"{month}-{draw.randrange(1, 28):02}").replace(tzinfo=UTC)
            found.append(Seen(facts, {"granted": granted}, at, draw.choice(["ann", "bob"])))
    return found


async def filled(path: Path, seen: list[Seen]) -> Path:
    config = path / "loom.config.yaml"
    config.write_text(CONFIG.format(workspace="main", module="tests.drift.test_by_month:Clerk"))
    async with Loom.open(config, by="robin") as loom:
        await observe(loom, seen, rule=RULE)
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the config of one workspace for all tests: nothing is decided in it."""
    return asyncio.run(filled(tmp_path_factory.mktemp("by-month"), decided(planted=True)))


async def test_what_people_changed_is_found_in_its_month_and_in_no_other(config: Path) -> None:
    async with Loom.open(config, by="robin") as loom:
        found = await loom.drift.by_month(under=TABLE)
        first = await loom.drift.by_month(under=TABLE, against="first")
        recorded = await loom.drift.by_month(Window(by_time="recorded"), under=TABLE)

    assert [(each.month, each.decisions) for each in found.months] == [(month, 90) for month in MONTHS]
    assert [(each.month, each.changed) for each in found.changed] == [(PLANTED, ("what people did",))]
    assert {each.month for each in first.changed} == {month for month in MONTHS if month >= PLANTED}
    assert {each.against for each in first.months} == {None, MONTHS[0]}
    assert len(recorded.months) == 1, "they were all recorded today"
    [planted] = found.changed
    assert planted.parts is not None
    assert {each.label for each in planted.parts.people_did.shifts} == {"granted yes", "granted no"}
    assert planted.parts.not_evaluated == 0


async def test_where_nothing_was_planted_no_month_changes(tmp_path: Path) -> None:
    config = await filled(tmp_path, decided(planted=False, seed=9))
    async with Loom.open(config, by="robin") as loom:
        found = await loom.drift.by_month(under=TABLE)

    assert found.changed == ()


async def test_the_parts_of_two_windows_are_those_of_counting_by_hand(config: Path) -> None:
    half = datetime(2015, 5, 1, tzinfo=UTC)
    async with Loom.open(config, by="robin") as loom:
        found = await loom.drift.parts(Window(until=half), Window(since=half), under=TABLE)
        bare = await loom.drift.parts(Window(until=half), Window(since=half))

    strata: Counter[tuple[str, str, bool]] = Counter()
    for each in decided(planted=True):
        said = TABLE.partial(each.facts)
        effect = str(said.effect) if said.state == "decided" else said.state
        strata[RULE.situation_key(each.facts), effect, each.decided_at >= half] += 1
    both = {key[:2] for key in strata if (*key[:2], True) in strata and (*key[:2], False) in strata}
    assert found.people_did.strata == len(both)
    assert found.people_did.decisions == (
        sum(strata[(*key, False)] for key in both),
        sum(strata[(*key, True)] for key in both),
    )
    assert [part.detected for part in found.all] == [False, False, True]
    assert (bare.not_evaluated, bare.rule_said.state) == (540, "insufficient_data"), "no rule was asked about them"


async def test_outcomes_alone_need_no_rule_and_no_facts(config: Path) -> None:
    half = datetime(2015, 5, 1, tzinfo=UTC)
    async with Loom.open(config, by="robin") as loom:
        report = await loom.drift.compare(Window(until=half), Window(since=half), rule=OUTCOMES_ALONE, split=False)
        known = [each.name for each in loom.precedents.rules()]

    counts: Counter[tuple[bool, bool]] = Counter(
        (each.outcome["granted"], each.decided_at >= half) for each in decided(planted=True)
    )
    assert sorted(report.counts.values()) == sorted((counts[way, False], counts[way, True]) for way in (True, False))
    assert report.detected
    assert {each.alike["outcome"] for each in (*report.rose, *report.fell)} == {"granted true", "granted false"}
    assert known == ["loans"], "it is registered nowhere"


def test_the_shell_compares_all_months_in_one_call(config: Path) -> None:
    said = invoke("drift", "--by", "month", "--under", TABLE.version_hash, config=config)
    document = invoke("drift", "--by", "month", "--in", "type:loan", "--first", "--json", config=config)
    both = ("drift", "-b", "2015-01-01..2015-05-01", "-n", "2015-05-01..2015-07-01")
    parts = invoke(*both, "--under", TABLE.version_hash, config=config)

    assert said.code == 1
    assert "granted yes -" in said.out
    assert [each["month"] for each in document.json["months"]] == MONTHS
    assert "In three parts" in parts.out
    assert invoke(*both, "--rule", "outcomes alone", "--json", config=config).json["parts"]["people_did"]
    assert invoke("drift", "--by", "month", "-b", "run:x", config=config).code == 2
    assert invoke("drift", config=config).code == 2
