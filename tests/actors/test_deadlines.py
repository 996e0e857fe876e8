"""Deadlines run on elapsed time in a process and on the time of day across restarts, and rest on the journal alone."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from loom.actors import Command, Sources
from loom.actors.requests import OpenRequests
from loom.clock import SystemClock, us_from_datetime
from loom.decisions import ApprovalEscalatedEntry
from loom.errors import ApprovalExpiredError, ApprovalNotFoundError, SelfApprovalError, ViewsDifferError
from loom.identity import derived_id
from loom.journal import TurnCompletedEntry
from loom.journal.sqlite import SqliteStore
from loom.runtime import Loom
from loom.testing import FixedClock, fixed_sources
from tests.actors.agents import Carry, Do, Folding, Interpreter
from tests.actors.support import entries, kinds, opened, until
from tests.projections.journals import MOMENT, answer, command, open_store, request, write
from tests.projections.tampering import tamper

FETCH = Carry(program=[Do(verb="fetch", key="a")])
YEAR = timedelta(days=365)


class Ask(Command[list[str]]):
    timeout_s: float | None = 1.0


class Hurried(Folding):
    """Asks for consent, and has a second for it."""

    async def execute(self, command: Ask) -> list[str]:
        approval = await self.request_approval(approver="vp", reason="please", timeout_s=command.timeout_s)
        return [str(approval.granted), str(approval.by)]


async def parked(loom: Loom, number: int = 1) -> list[str]:
    async def waiting() -> list[str] | None:
        found = await loom.approvals.pending()
        return [each.approval_id for each in found] if len(found) == number else None

    found: list[str] = await until(waiting)
    return found


# --- a clock that is wrong ----------------------------------------------------------------------


async def test_a_clock_that_was_ahead_for_one_entry_holds_no_deadline_up(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Hurried, Interpreter], sources=fixed_sources(clock), resume=False) as loom:
        clock.set_by(YEAR)
        await loom.actor(Interpreter, "one").ask(FETCH)
        clock.set_by(-YEAR)
        asking = asyncio.create_task(loom.actor(Hurried, "one").ask(Ask(), by="bob"))
        await parked(loom)
        assert await loom.approvals.expire_due() == 0
        clock.advance(0.9)
        assert await loom.approvals.expire_due() == 0
        clock.advance(0.1)
        assert await loom.approvals.expire_due() == 1
        assert await asking == ["False", "None"]
        recorded = await entries(loom)
        assert recorded[-1].recorded_at - recorded[0].recorded_at == YEAR  # recorded time does not go back


@pytest.mark.parametrize("by", [YEAR, -YEAR], ids=["ahead", "behind"])
async def test_a_deadline_that_is_set_comes_after_its_time_whatever_becomes_of_the_time_of_day(
    tmp_path: Path, by: timedelta
) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Hurried], sources=fixed_sources(clock), resume=False) as loom:
        clock.set_by(by)
        asking = asyncio.create_task(loom.actor(Hurried, "one").ask(Ask(), by="bob"))
        await parked(loom)
        clock.set_by(-by)
        assert await loom.approvals.expire_due() == 0
        clock.set_by(2 * by)
        assert await loom.approvals.expire_due() == 0
        clock.advance(1)
        assert await loom.approvals.expire_due() == 1
        assert (await asking)[0] == "False"


async def test_a_deadline_that_a_clock_ahead_has_set_comes_after_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FixedClock()
    clock.set_by(YEAR)
    async with opened(tmp_path, agents=[Hurried], sources=fixed_sources(clock)) as loom:
        asking = asyncio.create_task(loom.actor(Hurried, "one").ask(Ask(), id="c", by="bob"))
        await parked(loom)
    await asyncio.gather(asking, return_exceptions=True)
    clock.set_by(-YEAR)
    with caplog.at_level(logging.WARNING):
        async with opened(tmp_path, agents=[Hurried], sources=fixed_sources(clock, seed="two"), resume=False) as loom:
            assert await loom.approvals.expire_due() == 0
            clock.advance(1)
            assert await loom.approvals.expire_due() == 1
            assert (await kinds(loom, "hurried/one"))[-1] == "approval_answered"
    assert "clock_was_ahead" in caplog.text
    assert "clock_behind_journal" in caplog.text


async def test_a_deadline_comes_by_the_time_of_day_while_nothing_runs(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Hurried], sources=fixed_sources(clock)) as loom:
        asking = asyncio.create_task(loom.actor(Hurried, "one").ask(Ask(timeout_s=3_600), id="c", by="bob"))
        await parked(loom)
    await asyncio.gather(asking, return_exceptions=True)
    clock.advance(3_000)
    async with opened(tmp_path, agents=[Hurried], sources=fixed_sources(clock, seed="two"), resume=False) as loom:
        assert await loom.approvals.expire_due() == 0
        clock.advance(599)
        assert await loom.approvals.expire_due() == 0
    clock.advance(1)
    async with opened(tmp_path, agents=[Hurried], sources=fixed_sources(clock, seed="three"), resume=False) as loom:
        (approval_id,) = await parked(loom)
        with pytest.raises(ApprovalExpiredError):
            await loom.approvals.grant(approval_id, by="alice")


class Passing(Folding):
    """Asks one after the other, each with an hour."""

    async def execute(self, command: Ask) -> list[str]:
        approval = await self.request_approval(
            approver="vp", reason="please", timeout_s=3_600, on_deadline="escalate", escalate_to=["cfo", "ceo"]
        )
        return [str(approval.granted), str(approval.by)]


async def test_who_is_asked_after_a_deadline_has_as_long_as_the_one_before_though_a_clock_was_ahead(
    tmp_path: Path,
) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Passing, Interpreter], sources=fixed_sources(clock), resume=False) as loom:
        clock.set_by(YEAR)
        await loom.actor(Interpreter, "one").ask(FETCH)
        clock.set_by(-YEAR)
        await loom.actor(Passing, "one").tell(Ask(), by="bob")
        await parked(loom)
        for asked_of in ("vp", "cfo", "ceo"):
            (request_,) = await loom.approvals.pending()
            assert request_.approver == asked_of
            clock.advance(3_599)
            assert await loom.approvals.expire_due() == 0
            clock.advance(1)
            assert await loom.approvals.expire_due() == 1
        assert await loom.approvals.pending() == ()


class Wrong(SystemClock):
    """The machine's clock, whose time of day somebody sets."""

    by_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.by_us


async def test_the_clock_of_deadlines_fires_by_itself_after_the_time_of_day_was_set_back(tmp_path: Path) -> None:
    clock = Wrong()
    year_us = YEAR // timedelta(microseconds=1)
    async with opened(tmp_path, agents=[Hurried, Interpreter], sources=Sources(clock=clock)) as loom:
        clock.by_us = year_us
        await loom.actor(Interpreter, "one").ask(FETCH)
        clock.by_us = 0
        assert (await loom.actor(Hurried, "one").ask(Ask(timeout_s=0.05), by="bob", timeout_s=30))[0] == "False"
        clock.by_us = year_us
        asking = asyncio.create_task(loom.actor(Hurried, "two").ask(Ask(timeout_s=0.05), id="c", by="bob"))
        assert (await asking)[0] == "False"
    clock.by_us = 0
    async with opened(tmp_path, agents=[Hurried], sources=Sources(clock=clock)) as loom:  # and after a restart
        assert (await loom.actor(Hurried, "three").ask(Ask(timeout_s=0.05), by="bob", timeout_s=30))[0] == "False"


# --- views that say something else --------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE approvals SET deadline_us = 9000000000000000",
        "UPDATE approvals SET status = 'granted', answered_by = 'mallory'",
        "DELETE FROM approvals",
        "UPDATE approvals SET command_id = 'another', journal = 'hurried/two'",
    ],
)
async def test_a_deadline_comes_though_the_views_say_something_else(tmp_path: Path, statement: str) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Hurried], sources=fixed_sources(clock)) as loom:
        asking = asyncio.create_task(loom.actor(Hurried, "one").ask(Ask(), id="c", by="bob"))
        await parked(loom)
        await loom.reached()
        views = loom.files.views
    await asyncio.gather(asking, return_exceptions=True)
    assert tamper(views, statement) == 1
    async with opened(tmp_path, agents=[Hurried], sources=fixed_sources(clock, seed="two"), resume=False) as loom:
        (pending,) = await loom.approvals.pending()
        assert (pending.approver, pending.journal, pending.status) == ("vp", "hurried/one", "pending")
        assert await loom.approvals.list(status="pending") == (pending,)
        assert await loom.approvals.get(pending.approval_id[:12]) == pending
        clock.advance(1)
        assert await loom.approvals.expire_due() == 1
        assert (await kinds(loom, "hurried/one"))[-1] == "approval_answered"
        assert await loom.approvals.pending() == ()


async def test_a_requester_who_writes_the_views_cannot_approve_himself(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Hurried], sources=fixed_sources()) as loom:
        await loom.actor(Hurried, "one").tell(Ask(timeout_s=None), by="bob")
        (approval_id,) = await parked(loom)
        await loom.reached()
        for statement in (
            "UPDATE approvals SET requested_by = 'carol'",
            "UPDATE approval_events SET by = 'carol'",
            "UPDATE turns SET by = 'carol'",
        ):
            assert tamper(loom.files.views, statement) == 1
        with pytest.raises(SelfApprovalError):
            await loom.approvals.grant(approval_id, by="BOB")
        assert (await loom.approvals.get(approval_id)).requested_by == "bob"
        assert (await loom.approvals.grant(approval_id, by="carol")).answered_by == "carol"


async def test_who_sent_the_command_may_not_answer_either_though_the_request_names_nobody(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "default" / "journal.db")
    asked = request("one", requested_by=None)
    await write(store, "nobody-knows/one", command(by="ana"), asked, command_id="t")
    await store.close()
    async with opened(tmp_path, agents=[], sources=fixed_sources()) as loom:
        with pytest.raises(SelfApprovalError):
            await loom.approvals.grant(asked.approval_id, by="Ana")
        assert (await loom.approvals.grant(asked.approval_id, by="carol")).status == "granted"


async def test_a_request_that_only_the_views_know_is_refused_and_left_out(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=[Hurried], sources=fixed_sources()) as loom:
        await loom.actor(Hurried, "one").tell(Ask(timeout_s=None), by="bob")
        (approval_id,) = await parked(loom)
        await loom.reached()
        columns = (
            "journal, command_id, actor_type, actor_key, approver, reason, shown, requested_at_us, on_deadline, "
            "escalate_to"
        )
        forged = f"INSERT INTO approvals (position, approval_id, {columns}) SELECT 9, 'f0', {columns} FROM approvals"
        assert tamper(loom.files.views, forged) == 1
        with pytest.raises(ViewsDifferError, match="f0"):
            await loom.approvals.get("f0")
        with pytest.raises(ViewsDifferError, match="f0"):
            await loom.approvals.grant("f0", by="carol")
        assert [each.approval_id for each in await loom.approvals.list()] == [approval_id]
        with pytest.raises(ApprovalNotFoundError):
            await loom.approvals.get("nothing")


# --- what is open, out of the journal alone ------------------------------------------------------


async def test_what_is_due_comes_by_deadline_and_what_is_answered_or_moot_never(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    clock = FixedClock(MOMENT)
    asked = [request(name, deadline=MOMENT + timedelta(hours=hours)) for name, hours in (("late", 3), ("soon", 1))]
    await write(store, "a/1", command(), *asked, request("whenever"), command_id="t")
    await write(store, "a/2", command(), request("over", deadline=MOMENT), answer("over"), command_id="t")
    await write(store, "a/3", command(), request("moot", deadline=MOMENT), TurnCompletedEntry(reply=1), command_id="t")
    await write(store, "a/4", command(), request("next", deadline=MOMENT + timedelta(hours=2)), command_id="t")
    requests = OpenRequests(store, clock)
    assert [each.journal for each in await requests.pending()] == ["a/1", "a/1", "a/1", "a/4"]
    assert await requests.due() == []
    assert await requests.next_deadline() == (MOMENT + timedelta(hours=1), 3_600.0)
    clock.advance(timedelta(hours=2))
    assert [each.approval_id for each in await requests.due()] == [derived_id("approval", n) for n in ("soon", "next")]
    late, soon, whenever, following = await requests.pending()
    assert [await requests.expired(each) for each in (late, soon, whenever, following)] == [False, True, False, True]
    await write(store, "a/1", answer("soon"), command_id="t")
    requests.look_again("a/1", "t")
    assert await requests.next_deadline() == (MOMENT + timedelta(hours=2), 0.0)
    await write(store, "a/4", TurnCompletedEntry(reply=1), command_id="t")
    requests.ended("a/4", "t")
    requests.ended("a/9", "t")
    assert await requests.next_deadline() == (MOMENT + timedelta(hours=3), 3_600.0)
    await write(store, "a/1", answer("late"), answer("whenever"), command_id="t")
    requests.look_again("a/1", "t")
    assert await requests.next_deadline() is None
    assert await requests.pending() == []
    assert requests._due == {}
    await store.close()


async def test_a_request_that_is_being_journaled_is_looked_for_until_it_is_there(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    requests = OpenRequests(store, FixedClock())
    await write(store, "a/1", command(), command_id="t")
    with requests.asking("a/1", "t"):
        assert await requests.pending() == []
        await write(store, "a/1", request("one"), command_id="t")
        assert len(await requests.pending()) == 1
    assert len(await requests.pending()) == 1
    assert requests._asking == {}
    await store.close()


async def test_a_request_that_was_passed_on_has_the_later_deadline(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    clock = FixedClock(MOMENT)
    first = request("one", deadline=MOMENT, on_deadline="escalate", escalate_to=("cfo",))
    later = MOMENT + timedelta(hours=1)
    passed_on = ApprovalEscalatedEntry(
        approval_id=first.approval_id, approver="cfo", passed_over="vp_sales", deadline=later
    )
    await write(store, "a/1", command(), first, passed_on, command_id="t")
    requests = OpenRequests(store, clock)
    assert await requests.due() == []
    assert await requests.next_deadline() == (later, 3_600.0)
    await store.close()


async def test_an_entry_of_less_than_ten_minutes_ahead_is_taken_at_its_word(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    receipt = await write(store, "a/1", command(), command_id="t")
    said = datetime.fromtimestamp(receipt.recorded_at_us / 1e6 + 1, UTC)
    await write(store, "a/1", request("one", deadline=said + timedelta(seconds=60)), command_id="t")
    for ahead_s, left_s in ((599, 659.0), (601, 60.0)):
        clock = FixedClock(said - timedelta(seconds=ahead_s))
        following = await OpenRequests(store, clock).next_deadline()
        assert following is not None
        assert following[1] == left_s
    assert us_from_datetime(said) > receipt.recorded_at_us
    await store.close()
