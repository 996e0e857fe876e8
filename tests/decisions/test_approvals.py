"""Approval chains: what was asked of whom, what they answered, and what still waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from loom.clock import us_from_datetime
from loom.decisions import ApprovalEscalatedEntry
from loom.errors import ApprovalNotFoundError, ViewsDifferError
from loom.identity import derived_id
from loom.journal import TurnAbandonedEntry, TurnCompletedEntry, TurnFailedEntry
from tests.projections.journals import MOMENT, answer, command, evaluation, request
from tests.projections.reading import Asked, asked
from tests.projections.tampering import tamper

JOURNAL = "discount-agent/acme"


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Asked]:
    async with asked(tmp_path) as loom:
        yield loom


async def test_a_request_is_pending_until_it_is_answered(loom: Asked) -> None:
    asked_for = request("one", facts={"percent": 15}, evaluation=evaluation())
    await loom.write(JOURNAL, command(), asked_for, turn="t")
    (pending,) = await loom.approvals.pending()
    assert (pending.approver, pending.reason, pending.requested_by) == ("vp_sales", "over policy, 2 precedents", "ana")
    assert (pending.facts, pending.evaluation) == ({"percent": 15}, evaluation())
    assert pending.pending
    await loom.write(JOURNAL, answer("one", role="VP Sales", comment="They are worth it."), turn="t")
    assert await loom.approvals.pending() == ()
    granted = await loom.approvals.get(asked_for.approval_id)
    assert (granted.status, granted.answered_by, granted.role) == ("granted", "maria", "VP Sales")
    assert [event.event for event in granted.events] == ["requested", "granted"]


async def test_the_first_answer_in_sequence_wins_and_later_ones_are_kept_as_history(loom: Asked) -> None:
    await loom.write(JOURNAL, command(), request("one"), turn="t")
    await loom.write(
        JOURNAL, answer("one", granted=False, comment="no"), answer("one", by="rosa", comment="yes"), turn="t"
    )
    approval = await loom.approvals.get(derived_id("approval", "one"))
    assert (approval.status, approval.answered_by, approval.comment) == ("denied", "maria", "no")
    assert [(event.event, event.by, event.counts) for event in approval.events[1:]] == [
        ("denied", "maria", True),
        ("granted", "rosa", False),
    ]


async def test_an_escalation_passes_the_request_on_with_a_new_deadline(loom: Asked) -> None:
    first = request("one", deadline=MOMENT, on_deadline="escalate", escalate_to=("cfo", "ceo"))
    await loom.write(JOURNAL, command(), first, turn="t")
    passed_on = ApprovalEscalatedEntry(
        approval_id=first.approval_id, approver="cfo", passed_over="vp_sales", deadline=MOMENT + timedelta(hours=1)
    )
    await loom.write(JOURNAL, passed_on, turn="t")
    (approval,) = await loom.approvals.pending("cfo")
    assert (approval.deadline, approval.escalate_to) == (MOMENT + timedelta(hours=1), ("ceo",))
    assert await loom.approvals.pending("vp_sales") == ()
    assert [(event.event, event.approver, event.by) for event in approval.events] == [
        ("requested", "vp_sales", "ana"),
        ("escalated", "cfo", "vp_sales"),
    ]


async def test_an_escalation_after_the_answer_changes_nothing(loom: Asked) -> None:
    first = request("one", deadline=MOMENT, escalate_to=("cfo",))
    late = ApprovalEscalatedEntry(
        approval_id=first.approval_id, approver="cfo", passed_over="vp_sales", deadline=MOMENT + timedelta(hours=1)
    )
    await loom.write(JOURNAL, command(), first, answer("one"), late, turn="t")
    approval = await loom.approvals.get(first.approval_id)
    assert (approval.status, approval.approver, approval.deadline) == ("granted", "vp_sales", MOMENT)
    assert not approval.events[-1].counts


@pytest.mark.parametrize(
    "end",
    [
        TurnCompletedEntry(reply=None),
        TurnFailedEntry(type_name="ValueError", message="no"),
        TurnAbandonedEntry(by="ana", reason="enough"),
    ],
    ids=lambda end: end.kind,
)
async def test_what_is_pending_when_its_turn_ends_is_moot(loom: Asked, end: TurnCompletedEntry) -> None:
    await loom.write(JOURNAL, command(), request("one"), request("two"), answer("two"), turn="t")
    await loom.write(JOURNAL, command(), request("three"), turn="other")
    await loom.write(JOURNAL, end, turn="t")
    await loom.write(JOURNAL, answer("one"), turn="t")
    statuses = {each.approval_id: each.status for each in await loom.approvals.list()}
    assert statuses == {
        derived_id("approval", "one"): "moot",
        derived_id("approval", "two"): "granted",
        derived_id("approval", "three"): "pending",
    }


async def test_an_answer_to_an_unknown_request_is_passed_over(loom: Asked) -> None:
    await loom.write(JOURNAL, answer("nothing"))
    assert await loom.approvals.list() == ()


async def test_ageing_is_told_by_whoever_knows_the_time(loom: Asked) -> None:
    receipt = await loom.write(JOURNAL, command(), request("one", deadline=MOMENT), turn="t")
    (approval,) = await loom.approvals.pending()
    assert approval.waiting_s(receipt.recorded_at_us + 90_000_000) == 90.0
    assert approval.waiting_s(receipt.recorded_at_us - 1) == 0.0
    assert approval.left_s(us_from_datetime(MOMENT) + 5_000_000) == -5.0
    await loom.write(JOURNAL, answer("one"), turn="t")
    answered = await loom.approvals.get(approval.approval_id)
    assert answered.waiting_s(receipt.recorded_at_us + 90_000_000) == 1.0


async def test_pages_go_on_after_the_last_one_seen(loom: Asked) -> None:
    await loom.write(JOURNAL, command(), *(request(f"n{number}") for number in range(5)), turn="t")
    first = await loom.approvals.pending(limit=2)
    rest = await loom.approvals.pending(limit=9, after=first[-1].position)
    assert [each.position for each in (*first, *rest)] == [2, 3, 4, 5, 6]
    newest = await loom.approvals.list(limit=2)
    assert [each.position for each in newest] == [6, 5]
    assert [each.position for each in await loom.approvals.list(before=5)] == [4, 3, 2]


async def test_all_requests_of_a_turn_come_in_order(loom: Asked) -> None:
    await loom.write(JOURNAL, request("one"), request("two"), turn="t")
    await loom.write("discount-agent/beta", request("three"), turn="t")
    chain = await loom.approvals.of_turn(JOURNAL, "t")
    assert [each.approval_id for each in chain] == [derived_id("approval", "one"), derived_id("approval", "two")]


async def test_an_id_may_be_cut_short_while_it_is_unambiguous(loom: Asked) -> None:
    await loom.write(JOURNAL, command(), request("a", approval_id="ab12"), request("b", approval_id="ab13"), turn="t")
    await loom.write(JOURNAL, command(), request("c", approval_id="ab"), turn="other")
    assert (await loom.approvals.get("ab12")).approval_id == "ab12"
    assert (await loom.approvals.get("ab")).approval_id == "ab", "an id in full is never ambiguous"
    with pytest.raises(ApprovalNotFoundError, match=r"\['ab1'\] is ambiguous \[ab12, ab13, …\]"):
        await loom.approvals.get("ab1")


@pytest.mark.parametrize("unknown", ["", "zz", "%", "ab\x00", "\ud800", "é", "x" * 10_000])
async def test_an_id_that_is_none_is_not_found(loom: Asked, unknown: str) -> None:
    await loom.write(JOURNAL, command(), request("a"), turn="t")
    with pytest.raises(ApprovalNotFoundError, match="is not known") as raised:
        await loom.approvals.get(unknown)
    assert len(str(raised.value)) < 300


# --- views that say something else than the journal ----------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE approvals SET requested_by = 'mallory', reason = 'harmless', approver = 'ana', deadline_us = 1",
        "UPDATE approvals SET status = 'granted', answered_by = 'mallory'",
        "UPDATE approval_events SET by = 'mallory', counts = 0",
        "UPDATE approvals SET status = 'moot'",
    ],
)
async def test_requests_are_shown_as_their_entries_have_them(loom: Asked, statement: str) -> None:
    await loom.write(JOURNAL, command(), request("one"), request("two"), answer("two", comment="fine"), turn="t")
    await loom.write(JOURNAL, command(), request("three"), TurnCompletedEntry(reply=None), turn="u")
    before = await loom.approvals.list()
    assert [each.status for each in before] == ["moot", "granted", "pending"]
    assert tamper(loom.store.files.views, statement) >= 3
    assert await loom.approvals.list() == before
    assert await loom.approvals.pending() == before[2:]
    assert await loom.approvals.list(status="pending") == before[2:]
    assert await loom.approvals.of_turn(JOURNAL, "t") == before[:0:-1]
    for each in before:
        assert await loom.approvals.get(each.approval_id) == each


async def test_an_open_request_that_the_views_hide_is_found_and_one_that_they_make_up_is_not(loom: Asked) -> None:
    await loom.write(JOURNAL, command(), request("one"), turn="t")
    await loom.write(JOURNAL, command(), request("two"), answer("two"), turn="u")
    newest, oldest = await loom.approvals.list()
    assert tamper(loom.store.files.views, "DELETE FROM approvals WHERE status = 'pending'") == 1
    assert await loom.approvals.pending() == (oldest,)
    assert await loom.approvals.list() == (newest, oldest)
    assert await loom.approvals.list(limit=1) == (newest,)
    assert await loom.approvals.list(before=newest.position) == (oldest,)
    assert await loom.approvals.get(oldest.approval_id[:10]) == oldest
    assert tamper(loom.store.files.views, "UPDATE approvals SET approval_id = 'made-up'") == 1
    assert await loom.approvals.list() == (oldest,)
    with pytest.raises(ViewsDifferError, match="made-up"):
        await loom.approvals.get("made-up")
