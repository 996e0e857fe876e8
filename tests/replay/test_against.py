"""The rule against what was done, and judging over gaps: every figure checked against counting by hand."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from loom import Actor, Command, Loom
from loom.decisions import Decision, DecisionJournalEntry, PolicyReference
from loom.decisions.decision import ApprovalGiven
from loom.errors import AdmissionError, PolicyMismatchError
from loom.journal import Append, draft
from loom.policies import Facts, Params, policy
from loom.policies.evaluation import Evaluation
from loom.policies.tables import Table
from loom.replay import Selection
from tests.cli.support import CONFIG, invoke
from tests.observing import Seen, observe

TABLE = Table.of(
    {
        "format": "loom.table/1",
        "name": "credit",
        "facts": {"income": {"type": "integer"}, "ratio": {"type": "decimal"}, "known": {"type": "boolean"}},
        "rules": [
            {"name": "poor", "when": [["ratio", ">", "0.8"]], "effect": "deny", "why": "too much"},
            {"name": "rich", "when": [["income", ">=", 100]], "effect": "allow", "why": "enough"},
            {
                "name": "known",
                "when": [["known", "=", True]],
                "effect": "require_approval",
                "tier": "vp",
                "why": "we know them",
            },
        ],
        "otherwise": {"name": "else", "effect": "deny", "why": "no reason to"},
    }
)
MAPPING = {"granted:true": "allow", "granted:false": "deny"}


class Nothing(Command[None]):
    pass


class Clerk(Actor[None]):
    actor_type = "clerk"
    policy = TABLE

    async def execute(self, command: Nothing) -> None:
        raise NotImplementedError


class Case(NamedTuple):
    decision_id: str
    facts: dict[str, Any]
    granted: bool | None
    by: str | None


def generated(count: int, *, seed: int = 7) -> list[Case]:
    """Return cases some of whose facts are missing, and a few of whose outcomes say nothing of a grant."""
    draw = random.Random(seed)
    cases = []
    for number in range(count):
        facts: dict[str, Any] = {
            "income": draw.randrange(50, 150),
            "ratio": format(Decimal(draw.randrange(0, 120)) / 100, "f"),
            "known": draw.random() < 0.5,
        }
        for name in list(facts):
            if draw.random() < 0.15:
                del facts[name]
        if draw.random() < 0.05:
            facts["income"] = None
        granted = None if draw.random() < 0.05 else draw.random() < 0.5
        cases.append(Case(f"{number:064x}", facts, granted, draw.choice([None, "ann", "bob"])))
    return cases


async def laid_down(loom: Loom, cases: list[Case]) -> None:
    version = loom.policies.latest("credit")
    drafts = []
    for case in cases:
        evaluation = TABLE.evaluate(case.facts)
        reference = PolicyReference(name=version.name, version=version.version, hash=version.hash, rule=evaluation.rule)
        answer = ApprovalGiven(
            approval_id="a", approver="vp", granted=True, by=case.by, answered_at=datetime(2026, 1, 1, tzinfo=UTC)
        )
        decision = Decision(
            decision_id=case.decision_id,
            decision_type="loan",
            rationale="so",
            policy=reference,
            facts=case.facts,
            evaluation=evaluation,
            outcome={} if case.granted is None else {"granted": case.granted},
            approvals=() if case.by is None else (answer,),
        )
        drafts.append(draft(DecisionJournalEntry(decision=decision), policy_hash=version.hash_bytes))
    await loom.store.append(Append("clerk/one", 0, drafts))


CASES = generated(400)


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Loom]:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Clerk], by="robin") as opened:
        await laid_down(opened, CASES)
        yield opened


def filled(facts: dict[str, Any]) -> set[str]:
    """Return every effect that some way to fill the gaps has, with values of every kind."""
    values: dict[str, list[Any]] = {"income": [0, 100], "ratio": ["0", "0.8", "1"], "known": [False, True]}
    ways = [facts]
    for name, choices in values.items():
        if name not in facts:
            ways = [{**way, name: each} for way in ways for each in choices]
    return {said(way) for way in ways}


def said(facts: dict[str, Any]) -> str:
    evaluation = TABLE.evaluate_json(facts)
    return evaluation.effect if evaluation.tier is None else f"{evaluation.effect}:{evaluation.tier}"


def done(case: Case) -> str | None:
    return None if case.granted is None else "allow" if case.granted else "deny"


@pytest.mark.parametrize("reading", ["facts", "gaps"])
async def test_every_cell_is_what_counting_by_hand_gives(loom: Loom, reading: str) -> None:
    gaps = reading == "gaps"
    found = await loom.replay.judge(
        Selection(), against="outcome", mapping=MAPPING, gaps=gaps, per=("decider",), weigh="income"
    )

    expected: Counter[tuple[str, str | None]] = Counter()
    weights: Counter[tuple[str, str | None]] = Counter()
    people: Counter[tuple[str, str, str | None]] = Counter()
    open_, unweighed = 0, 0
    for case in CASES:
        effects = filled(case.facts) if gaps and None not in case.facts.values() else {said(case.facts)}
        if len({each.partition(":")[0] for each in effects}) > 1:
            open_ += 1
            continue
        [label] = effects
        key = ("indeterminate then and now" if label == "indeterminate" else label, done(case))
        expected[key] += 1
        weights[key] += case.facts.get("income") or 0
        unweighed += case.facts.get("income") is None
        people[(case.by or "(the rule alone)", *key)] += 1
    assert {(each.said, each.done): each.cases for each in found.cells} == expected
    assert {(each.said, each.done): each.weight for each in found.cells} == weights
    assert {
        (name, cell.said, cell.done): cell.cases for name, cells in found.groups["decider"].items() for cell in cells
    } == people
    assert (sum(found.open.values()), found.unweighed, found.cases) == (open_, unweighed, len(CASES))
    agrees = sum(count for (label, act), count in expected.items() if label == act)
    both = sum(count for (label, act), count in expected.items() if label in ("allow", "deny") and act is not None)
    consent = sum(count for (label, act), count in expected.items() if label.startswith("require") and act is not None)
    assert (found.agrees, found.differs, found.consent) == (agrees, both - agrees, consent)
    assert found.coverage == (both + consent) / len(CASES)
    assert found.differing == (both - agrees) / both
    assert bool(found.filled) is gaps


async def test_behind_each_cell_are_its_cases(loom: Loom) -> None:
    found = await loom.replay.judge(Selection(), against="outcome", mapping=MAPPING, gaps=True)
    cases = [each async for each in loom.replay.cases_against(Selection(), mapping=MAPPING, gaps=True)]

    for cell in found.cells:
        ids = [each.decision_id for each in cases if (each.said, each.done) == (cell.said, cell.done)]
        assert len(ids) == cell.cases
        assert cell.examples == tuple(ids[:5])
    assert [each.decision_id for each in cases] == [each.decision_id for each in CASES]


async def test_without_a_mapping_there_is_no_old_and_new(loom: Loom) -> None:
    found = await loom.replay.judge(Selection(), against="outcome", gaps=True)

    assert (found.agrees, found.differs, found.consent, found.differing) == (0, 0, 0, None)
    assert {each.done for each in found.cells} == {None}
    assert found.unmapped == sum(each.cases for each in found.cells if not each.said.startswith("indeterminate"))
    assert found.coverage == found.unmapped / len(CASES)


async def test_judging_over_gaps_fills_what_is_decided_whatever_it_is_and_is_no_defect(loom: Loom) -> None:
    plain = await loom.replay.judge(Selection(), under=TABLE)
    found = await loom.replay.judge(Selection(), under=TABLE, gaps=True)
    cases = {
        case.decision_id: case async for case in loom.replay.cases(Selection(), under=TABLE.version_hash, gaps=True)
    }

    assert plain.filled == 0
    assert plain.indeterminate > found.indeterminate > 0, "null stays unusable"
    gaps = [each for each in CASES if len(each.facts) < 3 and None not in each.facts.values()]
    decided = [each for each in gaps if len({one.partition(":")[0] for one in filled(each.facts)}) == 1]
    assert (found.filled, sum(found.open.values())) == (len(decided), len(gaps) - len(decided))
    assert found.defects == ()
    assert found.coverage is not None
    for case in decided:
        assert cases[case.decision_id].new in filled(case.facts)
        assert cases[case.decision_id].missing


async def test_what_makes_no_sense_is_refused(loom: Loom) -> None:
    with pytest.raises(AdmissionError, match="name:value"):
        await loom.replay.judge(Selection(), against="outcome", mapping={"granted": "allow"})
    with pytest.raises(AdmissionError, match=r"maps to \['grant'\]; expected one of"):
        await loom.replay.judge(Selection(), against="outcome", mapping={"granted:true": "grant"})
    with pytest.raises(AdmissionError, match="leave out keep or gaps"):
        await loom.replay.judge(Selection(), under=TABLE, gaps=True, keep=True)
    with pytest.raises(AdmissionError, match="only a table says what holds"):
        await loom.replay.judge(Selection(), under=in_python, gaps=True)
    with pytest.raises(PolicyMismatchError, match=r"none of the \[400\] decisions are"):
        await loom.replay.judge(Selection(), under=in_python, against="outcome")


class Size(Params):
    limit: int = 3


class Sized(Facts):
    size: int


@policy("by-size", Size())
def in_python(params: Size, facts: Sized) -> Evaluation:
    return Evaluation(effect="allow" if facts.size < params.limit else "deny", rule="size", why="so")


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    path = tmp_path / "loom.config.yaml"
    path.write_text(CONFIG.format(workspace="main", module="tests.replay.test_against:Clerk"))
    async with Loom.open(path, by="robin") as opened:
        await laid_down(opened, CASES)
    return path


def test_the_shell_shows_the_table_and_thresholds_decide_how_it_ends(config: Path) -> None:
    maps = ("--map", "granted:true=allow", "--map", "granted:false=deny")
    judge = ("replay", "judge", "--against", "outcome")
    shown = invoke(*judge, *maps, "--gaps", "--per", "month", "--per", "decider", "--weigh", "income", config=config)
    document = invoke(*judge, *maps, "--gaps", "--cell", "deny/allow", "--json", config=config).json
    [cell] = [each for each in document["cells"] if (each["said"], each["done"]) == ("deny", "allow")]

    assert shown.code == 1
    assert "by month" in shown.out
    assert "(the rule alone)" in shown.out
    assert "indeterminate then and now  deny" in shown.out
    assert len(document["listed"]) == cell["cases"]
    assert {each["verdict"] for each in document["listed"]} == {"differs"}
    lenient = invoke(*judge, *maps, "--gaps", "--max-differing", "99", config=config)
    assert lenient.code == 0
    unsure = invoke(*judge, *maps, "--max-differing", "99", "--min-coverage", "90", config=config)
    assert unsure.code == 3
    assert "at least 90 % was asked for" in unsure.err
    assert invoke(*judge, "--gaps", config=config).code == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--map", "granted:true"),
        ("--per", "year"),
        ("--keep", "--by", "robin"),
        ("--what-if", "income=5"),
    ],
)
def test_the_shell_refuses_what_makes_no_sense(config: Path, options: tuple[str, ...]) -> None:
    assert invoke("replay", "judge", "--against", "outcome", *options, config=config).code == 2


def test_what_tells_outcomes_apart_needs_an_outcome(config: Path) -> None:
    assert invoke("replay", "judge", "--gaps", "--weigh", "income", config=config).code == 2


async def test_what_people_decided_before_loom_was_there_is_compared_by_its_own_time(tmp_path: Path) -> None:
    draw = random.Random(11)
    times = [datetime(2014 + number % 3, 1 + number % 2, 3, tzinfo=UTC) for number in range(len(CASES))]
    seen = [
        Seen(each.facts, {"granted": each.granted}, at, draw.choice(["carol", "dan", None]))
        for each, at in zip(CASES, times, strict=True)
    ]
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Clerk], by="robin") as loom:
        await observe(loom, seen)
        await observe(loom, seen, journal="loan/unfinished", source="other", ends=False)
        found = await loom.replay.judge(
            Selection(), under=TABLE, against="outcome", mapping=MAPPING, gaps=True, per=("month", "decider")
        )
        late = await loom.replay.judge(
            Selection(since=datetime(2016, 1, 1, tzinfo=UTC)),
            under=TABLE,
            against="outcome",
            mapping=MAPPING,
            gaps=True,
        )
        own = await loom.replay.judge(Selection(), against="outcome", gaps=True)
        plain = await loom.replay.judge(Selection(origin="observed"), under=TABLE)

    months: Counter[str] = Counter()
    people: Counter[str] = Counter()
    usable = 0
    for each in seen:
        effects = set() if None in each.facts.values() else {one.partition(":")[0] for one in filled(each.facts)}
        if len(effects) == 1:
            months[f"{each.decided_at:%Y-%m}"] += 1
            people[each.decided_by or "(not named)"] += 1
            usable += 1
    assert {name: sum(each.cases for each in cells) for name, cells in found.groups["month"].items()} == months
    assert {name: sum(each.cases for each in cells) for name, cells in found.groups["decider"].items()} == people
    assert (found.cases, found.compared) == (len(seen), {"observed": len(seen)}), "the unfinished import is left out"
    assert sum(each.cases for each in found.cells) == usable
    assert late.cases == sum(each.decided_at.year == 2016 for each in seen)
    assert own.not_replayable == {"no_rule": len(seen)}, "nobody says under which rule"
    assert plain.not_replayable == {"no_evaluation": len(seen)}, "there is no old and new"
