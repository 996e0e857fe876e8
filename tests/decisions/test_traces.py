"""Traces: one decision with everything joined to it, those that match, and how they hang together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loom.clock import datetime_from_us
from loom.decisions import DecisionJournalEntry, OutcomeObservedEntry, PolicyReference, PrecedentReference
from loom.errors import AdmissionError, DecisionNotFoundError
from loom.identity import derived_id
from loom.journal import CommandReceivedEntry, TurnAbandonedEntry, TurnCompletedEntry, TurnFailedEntry
from tests.projections.journals import MOMENT, answer, command, decision, request, whole_turn
from tests.projections.reading import Asked, asked

JOURNAL = "discount-agent/acme"


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Asked]:
    async with asked(tmp_path) as loom:
        yield loom


def decided(name: str, **changes: object) -> DecisionJournalEntry:
    return DecisionJournalEntry(decision=decision(name, **changes))


def id_of(name: str) -> str:
    return derived_id("test", name)


async def test_a_trace_joins_everything_that_is_known_of_a_decision(loom: Asked) -> None:
    receipt = await loom.write(JOURNAL, *whole_turn("acme"), turn="t")
    made = decision(
        "later",
        parent_decision_id=id_of("acme"),
        precedents=(
            PrecedentReference(decision_id=id_of("acme"), relation="distinguished"),
            PrecedentReference(decision_id=id_of("elsewhere")),
        ),
    )
    await loom.write(JOURNAL, command(by=None), DecisionJournalEntry(decision=made), turn="u")
    await loom.write(
        "loom/outcomes",
        OutcomeObservedEntry(
            decision_id=id_of("acme"),
            correct=True,
            actual={"renewed": True},
            feedback="They stayed.",
            observed_by="rosa",
            observed_at=MOMENT,
        ),
    )
    trace = await loom.traces.get(id_of("acme"))
    assert trace.decision == whole_turn("acme")[-2].decision  # type: ignore[attr-defined]
    assert (trace.by, trace.command_type, trace.correlation_id) == ("ana", "request_discount", "c-1")
    assert (trace.journal, trace.sequence, trace.position, trace.command_id) == (JOURNAL, 7, 7, "t")
    assert trace.recorded_at == datetime_from_us(receipt.recorded_at_us)
    assert len(trace.entry_hash) == 64
    assert trace.status == "settled"
    assert [look_up.system for look_up in trace.context] == ["crm"]
    assert [(each.status, each.answered_by) for each in trace.approvals] == [("granted", "maria")]
    assert [(each.correct, each.actual, each.observed_by) for each in trace.outcomes] == [
        (True, {"renewed": True}, "rosa")
    ]
    assert trace.children == (id_of("later"),)

    later = await loom.traces.get(id_of("later"))
    assert later.by is None
    assert later.status == "open"
    assert [(each.relation, each.decision and each.decision.decision_id) for each in later.precedents] == [
        ("distinguished", id_of("acme")),
        ("followed", None),
    ]


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (TurnCompletedEntry(reply=None), "settled"),
        (TurnFailedEntry(type_name="ValueError", message="no"), "failed"),
        (TurnAbandonedEntry(by="ana", reason="enough"), "abandoned"),
    ],
    ids=lambda each: each if isinstance(each, str) else each.kind,
)
async def test_the_end_of_a_turn_marks_its_decisions_and_no_others(
    loom: Asked, end: TurnCompletedEntry, status: str
) -> None:
    await loom.write(JOURNAL, command(), decided("one"), decided("two"), turn="t")
    await loom.write(JOURNAL, command(), decided("three"), turn="u")
    await loom.write("discount-agent/beta", command(), decided("four"), turn="t")
    await loom.write(JOURNAL, end, turn="t")
    statuses = {each.decision_id: each.status for each in await loom.traces.find()}
    assert statuses == {id_of("one"): status, id_of("two"): status, id_of("three"): "open", id_of("four"): "open"}


async def test_a_decision_outside_of_any_turn_is_settled(loom: Asked) -> None:
    await loom.write("replay/one", decided("one", origin="replayed", replayed_from=id_of("zero"), run_id="r1"))
    (found,) = await loom.traces.find(run_id="r1", origin="replayed")
    assert found.status == "settled"


async def test_a_decision_that_is_there_twice_is_the_first_one(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("one"), decided("one", rationale="Something else."))
    (found,) = await loom.traces.find()
    assert found.position == 1


async def test_an_outcome_may_be_reported_before_the_decision_is_known(loom: Asked) -> None:
    seen = OutcomeObservedEntry(decision_id=id_of("one"), correct=None, observed_by="rosa", observed_at=MOMENT)
    await loom.write("loom/outcomes", seen)
    await loom.write(JOURNAL, decided("one"))
    assert len((await loom.traces.get(id_of("one"))).outcomes) == 1


async def test_filters_narrow_what_is_found_before_the_limit(loom: Asked) -> None:
    newer = PolicyReference(name="discount", version="policy_v2_aaaaaaaa", hash="a" * 64)
    await loom.write(JOURNAL, command(), decided("exception"), turn="t")
    await loom.write("discount-agent/beta", decided("plain", facts={"industry": "retail", "percent": 5}))
    await loom.write("router/one", decided("routed", policy=newer, decision_type="routing"))
    for number in range(3):
        await loom.write(JOURNAL, decided(f"noise{number}", decision_type="noise"))

    async def found(**filters: object) -> list[str]:
        names = {id_of(name): name for name in ("exception", "plain", "routed", "noise0", "noise1", "noise2")}
        return [names[each.decision_id] for each in await loom.traces.find(**filters)]  # type: ignore[arg-type]

    assert await found(decision_type="exception", limit=1) == ["exception"]
    assert await found(is_exception=False) == ["plain"]
    assert await found(actor_type="router") == ["routed"]
    assert await found(actor_type="discount-agent", actor_key="beta") == ["plain"]
    assert await found(policy="discount", policy_version="policy_v2_aaaaaaaa") == ["routed"]
    assert await found(policy_version="a" * 64) == ["routed"]
    assert await found(status="open") == ["exception"]
    assert await found(decision_type="noise", limit=2) == ["noise2", "noise1"]
    assert await found(decision_type="nothing") == []
    assert await found(decision_type="' OR 1=1 --") == []
    with pytest.raises(AdmissionError, match="that UTF-8 can encode"):
        await found(decision_type="\ud800")


async def test_time_bounds_take_the_beginning_in_and_leave_the_end_out(loom: Asked) -> None:
    receipts = [await loom.write(JOURNAL, decided(f"n{number}")) for number in range(3)]
    first, second, third = (datetime_from_us(receipt.recorded_at_us) for receipt in receipts)
    found = await loom.traces.find(since=second, until=third)
    assert [each.decision_id for each in found] == [id_of("n1")]
    assert len(await loom.traces.find(since=first)) == 3
    assert await loom.traces.find(until=datetime(2000, 1, 1, tzinfo=UTC)) == ()


async def test_pages_are_newest_first_and_go_on_after_the_last_one_seen(loom: Asked) -> None:
    for number in range(5):
        await loom.write(JOURNAL, decided(f"n{number}"))
    first = await loom.traces.find(limit=2)
    await loom.write(JOURNAL, decided("new"))
    rest = await loom.traces.find(after=first[-1].position)
    assert [each.position for each in (*first, *rest)] == [5, 4, 3, 2, 1]


async def test_a_chain_goes_both_ways_to_any_depth(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("0"))
    for number in range(1, 6):
        await loom.write(JOURNAL, decided(str(number), parent_decision_id=id_of(str(number - 1))))
    await loom.write(JOURNAL, decided("3b", parent_decision_id=id_of("2")))
    chain = await loom.traces.chain(id_of("2"))
    assert [(each.depth, each.decision.decision_id) for each in chain.ancestors] == [(2, id_of("0")), (1, id_of("1"))]
    assert [(each.depth, each.decision.decision_id) for each in chain.descendants] == [
        (1, id_of("3")),
        (1, id_of("3b")),
        (2, id_of("4")),
        (3, id_of("5")),
    ]
    assert not chain.cut


async def test_a_circle_or_an_unknown_parent_does_not_hold_a_chain_up(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("a", parent_decision_id=id_of("b")))
    await loom.write(JOURNAL, decided("b", parent_decision_id=id_of("a")))
    await loom.write(JOURNAL, decided("c", parent_decision_id=id_of("nowhere")))
    assert (await loom.traces.chain(id_of("c"))).ancestors == ()
    chain = await loom.traces.chain(id_of("a"))
    assert [each.decision.decision_id for each in chain.ancestors] == [id_of("a"), id_of("b")]


async def test_a_long_line_is_cut_and_says_so(loom: Asked) -> None:
    line = [decided("0"), *(decided(str(n), parent_decision_id=id_of(str(n - 1))) for n in range(1, 230))]
    await loom.write(JOURNAL, *line)
    assert (await loom.traces.chain(id_of("0"))).cut
    above = await loom.traces.chain(id_of("229"))
    assert above.cut
    assert (len(above.ancestors), above.ancestors[0].depth) == (200, 200)
    assert not (await loom.traces.chain(id_of("115"))).cut


async def test_replays_of_a_decision_are_found_from_it(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("one"))
    await loom.write("replay/r", decided("again", origin="replayed", replayed_from=id_of("one")))
    assert (await loom.traces.get(id_of("one"))).replays == (id_of("again"),)


async def test_an_id_may_be_cut_short_while_it_is_unambiguous(loom: Asked) -> None:
    await loom.write(JOURNAL, decided("one", decision_id="ab12"), decided("two", decision_id="ab13"))
    assert (await loom.traces.get("ab12")).decision_id == "ab12"
    with pytest.raises(DecisionNotFoundError, match=r"\['ab'\] is ambiguous \[ab12, ab13, …\]"):
        await loom.traces.get("ab")
    for unknown in ("", "zz", "%", "ab\x00", "\ud800"):
        with pytest.raises(DecisionNotFoundError, match="is not known"):
            await loom.traces.chain(unknown)


async def test_what_was_asked_for_is_forgotten_by_the_view_once_the_turn_has_ended(loom: Asked) -> None:
    await loom.write(JOURNAL, *whole_turn("acme"), turn="t")
    assert await loom.queries.fetch("SELECT * FROM trace_turns", names=("traces",)) == []


async def test_requests_of_the_same_turn_belong_to_the_trace(loom: Asked) -> None:
    received = CommandReceivedEntry(command_type="x", payload=None, correlation_id="c")
    await loom.write(JOURNAL, received, request("one"), answer("one", granted=False), turn="t")
    await loom.write(JOURNAL, request("two"), decided("one"), turn="t")
    trace = await loom.traces.get(id_of("one"))
    assert [each.status for each in trace.approvals] == ["denied", "pending"]
