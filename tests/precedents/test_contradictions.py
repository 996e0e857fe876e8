"""Contradictions: planted ones are found with what separates them, and none is found where none was planted."""

from __future__ import annotations

import json
import math
import random
from collections import Counter, defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom import Actor, Command, Loom
from loom.decisions import Decision, DecisionJournalEntry, PolicyReference
from loom.decisions.decision import ApprovalGiven
from loom.errors import AdmissionError, ContradictionNotFoundError
from loom.journal import Append, draft
from loom.precedents import Bin, EquivalenceRule
from loom.precedents.separating import best_separation, splits_of
from tests.cli.support import CONFIG, invoke
from tests.observing import Seen, observe

RULE = EquivalenceRule("credit", attributes=("purpose", Bin("income", at=[50, 100])), outcome=("granted",))
DECIDED = datetime(2026, 1, 1, tzinfo=UTC)


class Nothing(Command[None]):
    pass


class Clerk(Actor[None]):
    actor_type = "clerk"
    equivalence = RULE

    async def execute(self, command: Nothing) -> None:
        raise NotImplementedError


def cases(count: int, *, seed: int, planted: bool) -> list[tuple[dict[str, Any], bool, str]]:
    """Return facts, whether it was granted and by whom; planted, `home` depends on a ratio that no rule looks at."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        facts: dict[str, Any] = {
            "purpose": draw.choice(["home", "car"]),
            "income": draw.randrange(0, 150),
            "ratio": f"{draw.randrange(0, 100) / 100:.2f}",
            "noise": draw.randrange(1_000),
            "branch": draw.choice(["north", "south", "west"]),
        }
        granted = facts["income"] >= 50
        if planted and facts["purpose"] == "home":
            granted = float(facts["ratio"]) < 0.4
        found.append((facts, granted, draw.choice(["ann", "bob"])))
    return found


async def laid_down(loom: Loom, given: list[tuple[dict[str, Any], bool, str]]) -> None:
    version = loom.policies.latest("clerk")
    policy = PolicyReference(name=version.name, version=version.version, hash=version.hash)
    drafts = []
    for number, (facts, granted, by) in enumerate(given):
        answer = ApprovalGiven(approval_id="a", approver="vp", granted=granted, by=by, answered_at=DECIDED)
        outcome: dict[str, Any] = {"granted": granted}
        decision = Decision(
            decision_id=f"{number:064x}",
            decision_type="loan",
            rationale="so",
            policy=policy,
            facts=facts,
            outcome=outcome,
            approvals=(answer,),
            precedent_class=RULE.classify(facts, outcome),
        )
        drafts.append(draft(DecisionJournalEntry(decision=decision), policy_hash=version.hash_bytes))
    await loom.store.append(Append("clerk/one", 0, drafts))


GIVEN = cases(400, seed=3, planted=True)


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    path = tmp_path / "loom.config.yaml"
    path.write_text(CONFIG.format(workspace="main", module="tests.precedents.test_contradictions:Clerk"))
    async with Loom.open(path, by="robin") as loom:
        await laid_down(loom, GIVEN)
    return path


async def test_contradictions_are_those_that_counting_by_hand_gives(config: Path) -> None:
    async with Loom.open(config, by="robin") as loom:
        found = await loom.precedents.contradictions(limit=50)

    by_hand: dict[str, Counter[bool]] = defaultdict(Counter)
    people: dict[str, Counter[tuple[bool, str]]] = defaultdict(Counter)
    for facts, granted, by in GIVEN:
        key = RULE.situation_key(facts)
        by_hand[key][granted] += 1
        people[key][granted, by] += 1
    several = {key: counts for key, counts in by_hand.items() if len(counts) > 1}
    assert (found.situations, found.contradictory, found.cases) == (len(by_hand), len(several), len(GIVEN))
    assert found.others == sum(min(counts.values()) for counts in several.values())
    assert {each.situation for each in found.listed} == set(several)
    rest = [min(several[each.situation].values()) for each in found.listed]
    assert rest == sorted(rest, reverse=True)
    for each in found.listed:
        assert {one.words: one.cases for one in each.outcomes} == {
            f"granted {'yes' if granted else 'no'}": count for granted, count in several[each.situation].items()
        }
        assert {(one.words == "granted yes", who): n for one in each.outcomes for who, n in one.deciders.items()} == (
            people[each.situation]
        )
        assert each.cases == each.looked_at == several[each.situation].total()
        assert each.words.endswith("purpose home")


async def test_what_was_planted_separates_the_outcomes_and_is_said_in_plain_words(config: Path) -> None:
    async with Loom.open(config, by="robin") as loom:
        found = await loom.precedents.contradictions()

    for each in found.listed:
        assert each.separation is not None
        assert each.separation.fact == "ratio"
        assert each.separation.gain == pytest.approx(1.0)
        border = float(each.separation.words.removeprefix("ratio is ").removesuffix(" or more"))
        assert 0.4 <= border < 0.5
        assert each.separation.in_words.endswith("granted yes")


@pytest.mark.parametrize("seed", range(8))
def test_facts_that_have_nothing_to_do_with_it_separate_nothing(seed: int) -> None:
    draw = random.Random(seed)
    given = [(facts, draw.choice(["yes", "no"])) for facts, _, _ in cases(120, seed=seed, planted=False)]

    assert best_separation(given) is None


def test_an_id_that_is_different_in_every_case_separates_nothing() -> None:
    given: list[Any] = [
        ({"id": f"c{number}", "n": number * 7919 % 101}, "yes" if number % 2 else "no") for number in range(40)
    ]

    assert best_separation(given) is None


values = st.one_of(st.integers(0, 4), st.sampled_from(["a", "b", "0.5", True, None]))


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(["p", "q"]), values, max_size=2),
            st.sampled_from(["yes", "no", "maybe"]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_every_split_counts_the_cases_for_which_it_holds(given: list[Any]) -> None:
    for split, inside in splits_of(given):
        assert inside == Counter(kind for facts, kind in given if split.holds(facts))
        assert 0 < inside.total() < len(given)


def entropy(counts: Counter[str]) -> float:
    total = counts.total()
    return -sum(n / total * math.log2(n / total) for n in counts.values()) if total else 0.0


def test_the_gain_is_the_information_about_the_kind_and_the_best_one_is_taken() -> None:
    draw = random.Random(1)
    given: list[Any] = []
    for _ in range(60):
        risk, size = draw.random(), draw.randrange(10)
        given.append(({"risk": risk, "size": size}, "no" if (risk > 0.5) ^ (draw.random() < 0.1) else "yes"))

    found = best_separation(given)

    assert found is not None
    kinds = Counter(kind for _, kind in given)
    gains = []
    for split, inside in splits_of(given):
        outside = kinds - inside
        rest = (inside.total() * entropy(inside) + outside.total() * entropy(outside)) / len(given)
        gains.append((1 - rest / entropy(kinds), split, inside, outside))
    best = max(gain for gain, *_ in gains)
    assert found.gain == pytest.approx(best)
    _, _, inside, outside = next(each for each in gains if each[1] == found.split)
    n, m, yes = inside.total(), outside.total(), kinds["yes"]
    ways = [math.comb(n, k) * math.comb(m, yes - k) for k in range(max(0, yes - m), min(n, yes) + 1)]
    seen = math.comb(n, inside["yes"]) * math.comb(m, outside["yes"])
    p = sum(each for each in ways if each <= seen) / math.comb(n + m, yes)
    assert found.p_value == pytest.approx(p * len(gains), rel=1e-6)


def test_the_shell_lists_them_and_ends_with_one(config: Path) -> None:
    said = invoke("precedents", "contradictions", config=config)
    document = invoke("precedents", "contradictions", "--rule", "credit", "--json", config=config).json

    assert said.code == 1
    assert "were decided in more than one way" in said.out
    assert "separated best by ratio is" in said.out
    assert json.dumps(document["listed"][0]["outcomes"])
    assert document["contradictory"] == len(document["listed"])


async def test_where_every_situation_has_one_outcome_there_are_none(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Clerk], by="robin") as loom:
        await laid_down(loom, cases(100, seed=4, planted=False))
        found = await loom.precedents.contradictions()

    assert (found.contradictory, found.others, found.listed) == (0, 0, ())


async def test_observed_decisions_count_by_their_own_time_and_decider(tmp_path: Path) -> None:
    facts = {"purpose": "home", "income": 70}
    early, late = datetime(2012, 5, 1, tzinfo=UTC), datetime(2019, 5, 1, tzinfo=UTC)
    seen = [Seen(facts, {"granted": True}, late, "carol"), Seen(facts, {"granted": False}, early)]
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Clerk], by="robin") as loom:
        await observe(loom, seen, rule=RULE)
        [found] = (await loom.precedents.contradictions()).listed

    assert (found.first_at, found.last_at) == (early, late)
    assert {each.words: each.deciders for each in found.outcomes} == {
        "granted yes": {"carol": 1},
        "granted no": {"(not named)": 1},
    }
    assert found.separation is None, "two cases separate nothing"


async def test_a_contradiction_is_open_until_a_person_says_what_stands_and_again_after_another_outcome(
    tmp_path: Path,
) -> None:
    both = [({"purpose": "home", "income": 70}, granted, "carol") for granted in (True, True, False)]
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Clerk], by="robin") as loom:
        await laid_down(loom, both)
        [found] = (await loom.contradictions.list()).listed
        assert (found.status, found.resolution) == ("open", None)
        for stands, reason, error in (
            ("granted maybe", "so", "not one of this contradiction"),
            ("granted yes", " ", "no reason"),
        ):
            with pytest.raises(AdmissionError, match=error):
                await loom.contradictions.resolve(found.situation, stands=stands, by="mira", reason=reason)
        with pytest.raises(ContradictionNotFoundError):
            await loom.contradictions.resolve("f" * 64, stands="granted yes", by="mira", reason="so")
        resolved = await loom.contradictions.resolve(
            found.situation[:12], stands="granted yes", by="mira", reason="we pay"
        )
        assert (resolved.status, resolved.resolution and resolved.resolution.by) == ("resolved", "mira")
        listed = await loom.contradictions.list()
        assert (listed.contradictory, listed.resolved, listed.listed) == (1, 1, ())
        assert [each.status for each in (await loom.contradictions.list(status="resolved")).listed] == ["resolved"]
        await loom.outcomes.observe(f"{0:064x}", correct=True, by="mira")  # what is no decision opens nothing
        assert (await loom.contradictions.get(found.situation)).status == "resolved"
        await again(loom, granted=True)
        assert (await loom.contradictions.get(found.situation)).status == "resolved"
        await again(loom, granted=False)
        [reopened] = (await loom.contradictions.list()).listed
        assert (reopened.status, reopened.resolution and reopened.resolution.reason) == ("open", "we pay")


async def again(loom: Loom, *, granted: bool) -> None:
    """Decide the case of purpose home once more."""
    head = await loom.store.head("clerk/one")
    version = loom.policies.latest("clerk")
    facts: dict[str, Any] = {"purpose": "home", "income": 70}
    outcome: dict[str, Any] = {"granted": granted}
    decision = Decision(
        decision_id=f"{head.sequence:064x}",
        decision_type="loan",
        rationale="so",
        policy=PolicyReference(name=version.name, version=version.version, hash=version.hash),
        facts=facts,
        outcome=outcome,
        precedent_class=RULE.classify(facts, outcome),
    )
    entry = draft(DecisionJournalEntry(decision=decision), policy_hash=version.hash_bytes)
    await loom.store.append(Append("clerk/one", head.sequence, (entry,)))


def test_the_shell_resolves_a_contradiction_in_a_persons_name(config: Path) -> None:
    [first, *_] = invoke("contradictions", "--json", config=config).json["listed"]
    said = invoke(
        "contradictions",
        "resolve",
        first["situation"][:12],
        "--stands",
        "granted yes",
        "--by",
        "mira",
        "-m",
        "we pay",
        config=config,
    )
    assert (said.code, "granted yes stands, says mira" in said.out) == (0, True)
    assert invoke("contradictions", first["situation"], config=config).code == 0
    left = invoke("contradictions", "--json", config=config)
    assert left.code == (1 if left.json["listed"] else 0)
    assert first["situation"] not in {each["situation"] for each in left.json["listed"]}
    everything = invoke("contradictions", "--all", "--json", config=config).json
    assert {each["situation"]: each["status"] for each in everything["listed"]}[first["situation"]] == "resolved"
