"""Facet counts: out of sums or read, they are what counting every decision by hand gives; and no value is invented."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.decisions import Decision, DecisionJournalEntry, PolicyReference
from loom.errors import AdmissionError
from loom.journal import Append, CommandReceivedEntry, TurnFailedEntry, draft
from loom.policies.evaluation import Evaluation
from loom.precedents import Bin, EquivalenceRule, FacetCounts, FromContext, SetOf, facets, sums
from loom.projections.verifying import verify_views
from loom.testing import FixedClock
from loom.workspace import own_projections
from tests.observing import Seen, observe
from tests.projections.tampering import tamper

BEGIN = datetime(2014, 11, 3, 7, 30, tzinfo=UTC)
TOWNS = ["Kiel", "Ulm", "Jena"]
AMOUNT = Bin("amount", at=[10, 20])
TOWN = EquivalenceRule("towns", attributes=["town", FromContext("channel")], outcome=["granted"])
PARTS = EquivalenceRule("amounts", attributes=[AMOUNT, "town", SetOf("tags")], outcome=["granted"])


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Loom]:
    from loom.actors import Sources

    clock = FixedClock(datetime(2016, 5, 17, 13, 5, tzinfo=UTC))
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", by="robin", sources=Sources(clock=clock)) as opened:
        yield opened


def seen(count: int, draw: random.Random) -> list[Seen]:
    found = []
    for _ in range(count):
        given: dict[str, Any] = {"amount": draw.randrange(30), "town": draw.choice(TOWNS), "tags": ["a"]}
        if draw.random() < 0.2:
            del given[draw.choice(["amount", "town"])]
        at = BEGIN + timedelta(hours=draw.randrange(24 * 120))
        found.append(Seen(given, {"granted": draw.random() < 0.5}, at, context={"channel": draw.choice("xy")}))
    return found


async def decide(loom: Loom, count: int, draw: random.Random, *, journal: str = "seller/one") -> None:
    """Write decisions of turns, one of which failed, and of replays."""
    reference = PolicyReference(name="discount", version="policy_v1_aaaaaaaa", hash="a" * 64)
    sequence = (await loom.store.head(journal)).sequence
    for number in range(sequence, sequence + count):
        evaluation = Evaluation(effect=draw.choice(["allow", "deny"]), rule="r", why="so")
        entry = DecisionJournalEntry(
            decision=Decision(
                decision_id=f"{journal} {number}".encode().hex().zfill(64),
                decision_type=draw.choice(["a", "b"]),
                rationale="so",
                policy=reference,
                facts={"town": draw.choice(TOWNS), "amount": draw.randrange(30)},
                evaluation=evaluation,
                is_exception=draw.random() < 0.3,
                context={"town": "Kiel"},
                origin="replayed" if number % 5 == 0 else "original",
            )
        )
        await loom.store.append(Append(journal, number, [draft(entry, policy_hash=b"\xaa" * 32)]))
    received = CommandReceivedEntry(command_type="c", payload={}, by="ana", correlation_id="c")
    failed = TurnFailedEntry(type_name="E", message="no")
    of_turn = DecisionJournalEntry(
        decision=Decision(
            decision_id=f"{journal} f {count}".encode().hex().zfill(64),
            decision_type="a",
            rationale="so",
            policy=reference,
            facts={"town": "Ulm", "amount": 3},
        )
    )
    drafts = [draft(each, command_id=f"t{count}") for each in (received, of_turn, failed)]
    await loom.store.append(Append(f"{journal}-failed", 0, drafts))


async def by_hand(loom: Loom, name: str, **given: Any) -> tuple[int, dict[Any, tuple[int, int, int, int]]]:
    """Count what `find` finds."""
    total, found = 0, Counter[Any]()
    for each in await loom.traces.find(**given, limit=10_000, with_body=True):
        if each.origin == "replayed" or (each.origin == "observed" and each.status != "settled"):
            continue
        total += 1
        decision = getattr(each, "decision")  # noqa: B009 - a `DecisionWithBody`
        said = {decision.facts.get(name), decision.context.get(name)} - {None}
        for value in {AMOUNT.part(one) for one in said} if name == "amount" else said:
            about = ("decisions", each.verdict, each.is_exception and "exceptions")
            found.update((value, one) for one in about)
    names = ("decisions", "granted", "denied", "exceptions")
    values = {value for value, _ in found}
    return total, {value: tuple(found[value, one] for one in names) for value in values}  # type: ignore[misc]


def plain(found: FacetCounts) -> tuple[int, dict[Any, tuple[int, int, int, int]]]:
    values = {each.value: (each.decisions, each.granted, each.denied, each.exceptions) for each in found.values}
    return found.decisions, values


def windows(draw: random.Random) -> dict[str, Any]:
    """Return filters by which sums are kept, over a window that mostly is no whole days."""
    given: dict[str, Any] = {}
    for end, day in (("since", 0), ("until", 60)):
        if draw.random() < 0.8:
            at = BEGIN + timedelta(days=day, hours=draw.randrange(24 * 60))
            given[end] = at if draw.random() < 0.6 else at.replace(hour=0, minute=0)
    choices: list[tuple[str, list[Any]]] = [
        ("by_time", ["recorded"]),
        ("origin", ["original", "observed"]),
        ("decision_type", ["a", "loan"]),
        ("actor_type", ["seller"]),
        ("policy", ["discount"]),
        ("is_exception", [True, False]),
    ]
    name, some = draw.choice(choices)
    return {**given, name: draw.choice(some)} if draw.random() < 0.5 else given


async def test_sums_are_what_counting_each_decision_by_hand_gives(loom: Loom, tmp_path: Path) -> None:
    draw = random.Random(5)
    await observe(loom, seen(40, draw), source="early")
    await decide(loom, 15, draw)
    await loom.precedents.register(TOWN, by="vera")  # what is there is counted, what comes is counted, too
    await observe(loom, seen(60, draw), journal="loan/two", source="late")
    await observe(loom, seen(9, draw), journal="loan/three", source="open", ends=False)
    await decide(loom, 20, draw, journal="seller/two")
    await loom.precedents.register(PARTS, by="vera")
    [run] = [each for each in await loom.runs.find() if each.status == "open"]
    asked = [windows(draw) for _ in range(16)]
    asked.append({"since": datetime(2014, 11, 4, 5, tzinfo=UTC), "until": datetime(2016, 5, 17, 4, tzinfo=UTC)})
    read = set()
    for ended in (False, True):
        for given in asked:
            for name in ("town", "amount", "channel"):
                found = await loom.precedents.facets(name, **given)
                assert plain(found) == await by_hand(loom, name, **given), (name, given)
                assert found.rule is not None
                assert found.complete
                read.add(found.read > 0)
        if not ended:
            await loom.runs.end(run.run_id, by="robin", importing=True)
    assert read == {True, False}  # ends of windows alone
    everything = await loom.precedents.facets("town")
    assert (everything.read, everything.decisions) == (0, (await by_hand(loom, "town"))[0])
    await loom.reached()
    verified = await verify_views(loom.files, own_projections())
    assert (verified.findings, verified.compared["precedent_sums"] > 100) == ([], True)
    assert verified.compared["precedent_sums_waiting"] == 0


async def test_what_no_rule_declares_is_read_and_says_whether_all_of_it_was(
    loom: Loom, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(6)
    await observe(loom, seen(40, draw))
    await observe(loom, seen(9, draw), journal="loan/open", source="open", ends=False)
    found = await loom.precedents.facets("amount")
    assert (found.rule, found.read, found.complete) == (None, 40, True)
    assert sum(each.decisions for each in found.values) == sum(
        "amount" in (each.decision.facts or {}) for each in await bodies(loom)
    )
    monkeypatch.setattr(facets, "_PAGE", 10)
    cut = await loom.precedents.facets("amount", within_s=0.0)
    assert (cut.read, cut.complete) == (1, False)  # nine of the ten newest are of an import that has not ended
    await loom.precedents.register(TOWN, by="vera")
    sums_have_no_actor = await loom.precedents.facets("town", actor_key="all")
    assert (sums_have_no_actor.read, sums_have_no_actor.decisions) == (40, 40)


async def bodies(loom: Loom) -> list[Any]:
    return [each for each in await loom.traces.find(limit=100, with_body=True) if each.status == "settled"]


async def test_a_view_invents_no_value_and_verifying_finds_a_forged_sum(loom: Loom) -> None:
    await loom.precedents.register(PARTS, by="vera")
    await observe(loom, seen(12, random.Random(7)))
    true = {name: await loom.precedents.facets(name) for name in ("town", "amount")}
    views = loom.files.views
    forged = "UPDATE precedent_sum_values SET value = '\"forged\"' WHERE value = '\"Ulm\"'"
    for change in (forged, "UPDATE precedent_facets SET value = '\"forged\"' WHERE value = '\"Ulm\"'"):
        assert tamper(views, change) > 0
        assert {each.value for each in (await loom.precedents.facets("town")).values} == {"Kiel", "Jena"}
    assert tamper(views, "UPDATE precedent_sum_values SET value = 'below 99' WHERE value = 'below 10'") == 1
    parts = {each.value for each in (await loom.precedents.facets("amount")).values}
    assert parts < {each.value for each in true["amount"].values}
    assert loom.queries.differences.count >= 1
    assert tamper(views, "UPDATE precedent_sums SET decisions = decisions + 1 WHERE span = 1 AND facet = 1") > 0
    found = await verify_views(loom.files, own_projections())
    assert {"precedent_sums", "precedent_sum_values"} <= {each.table for each in found.findings}


async def test_the_last_version_of_a_rule_declares_and_values_are_bounded(
    loom: Loom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "_MOST_VALUES", 2)
    await loom.precedents.register(PARTS, by="vera")
    await observe(loom, seen(30, random.Random(8)))
    found = await loom.precedents.facets("town")
    assert len(found.values) == 2
    assert sum(each.decisions for each in found.values) + found.others == 30 - await without(loom, "town")
    assert (found.others > 0, loom.queries.differences.count) == (True, 0)
    assert (await loom.precedents.facets("town", limit=1)).left_out == 1
    await loom.precedents.register(TOWN, by="vera")
    assert (await loom.precedents.facets("amount", rule="amounts")).read == 0
    await loom.precedents.register(EquivalenceRule("amounts", attributes=["rate"], outcome=["granted"]), by="vera")
    assert (await loom.precedents.facets("town")).rule == loom.precedents.rules("towns")[0].version
    now = await loom.precedents.facets("amount")
    assert (now.rule, now.read) == (None, 30)
    with pytest.raises(AdmissionError, match="is no attribute of rule"):
        await loom.precedents.facets("amount", rule="amounts")
    with pytest.raises(AdmissionError, match="unknown filter"):
        await loom.precedents.facets("amount", colour="red")


async def without(loom: Loom, name: str) -> int:
    return sum(name not in (each.decision.facts or {}) for each in await bodies(loom))
