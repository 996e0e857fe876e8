"""A turn that waits for people lets others run, and goes on where it was, in this life of the process or another."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Approver, Command
from loom.decisions.entries import ApprovalAnsweredEntry, ApprovalRequestedEntry
from loom.errors import (
    AdmissionError,
    ApprovalAnsweredError,
    ApprovalExpiredError,
    InvalidNameError,
    SelfApprovalError,
    TurnInterruptedError,
)
from loom.identity import Identity
from loom.journal.kinds import TurnContinuedEntry
from loom.runtime import Loom
from loom.testing import FixedClock, fixed_sources
from tests.actors.agents import Carry, Case, Do, Folding, Interpreter, NotedEntry, Together, World, discount
from tests.actors.support import entries, kinds, opened, until

APPROVE = Carry(program=[Do(verb="approve", key="vp"), Do(verb="note", key="after")])
FETCH = Carry(program=[Do(verb="fetch", key="x")])


async def parked(loom: Loom, count: int = 1) -> list[Any]:
    """Wait until so many requests are open, and their turns are parked: another turn may run."""

    async def looks() -> Any:
        open_now = await loom.approvals.pending()
        waiting = [loom.actors.running(each.journal, str(each.command_id)) for each in open_now]
        away = all(turn and turn.parked and turn.host.lock.owner is not turn for turn in waiting)
        return open_now if len(open_now) == count and away else None

    return list(await until(looks))


async def test_other_turns_run_while_one_is_parked(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        ref = loom.actor(Interpreter, "one")
        asking = asyncio.create_task(ref.ask(APPROVE, id="parked", by="bob"))
        (request,) = await parked(loom)
        assert await ref.ask(FETCH, id="other") == {"x": {"key": "x"}}
        await loom.approvals.grant(request.approval_id, by="alice")
        assert await asking == {"vp": True, "after": None}
        recorded = await entries(loom, "interpreter/one")
        continued = next(each for each in recorded if each.kind == "turn_continued")
        assert isinstance(continued.entry, TurnContinuedEntry)
        assert str(continued.entry.step) == "request_approval vp"
        other_end = next(each for each in recorded if each.kind == "turn_completed" and each.command_id == "other")
        assert other_end.sequence < continued.sequence


async def test_a_parked_turn_that_is_answered_waits_for_the_turn_that_runs(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch x")
    async with opened(tmp_path, world) as loom:
        ref = loom.actor(Interpreter, "one")
        asking = asyncio.create_task(ref.ask(APPROVE, id="parked", by="bob"))
        (request,) = await parked(loom)
        other = asyncio.create_task(ref.ask(FETCH, id="other"))
        await world.arrived("fetch x")
        await loom.approvals.grant(request.approval_id, by="alice")
        assert (await kinds(loom, "interpreter/one"))[-1] == "approval_answered"
        world.let_go("fetch x")
        await asyncio.gather(asking, other)
        assert (await kinds(loom, "interpreter/one"))[-5:] == [
            "context_gathered",
            "turn_completed",
            "turn_continued",
            "test.actors.noted",
            "turn_completed",
        ]


TWO_AT_ONCE = Carry(
    program=[
        Together(branches=[[Do(verb="approve", key="vp")], [Do(verb="approve", key="cfo")]]),
        Do(verb="note", key="n"),
    ]
)


async def test_two_answers_that_come_while_another_turn_runs_let_both_branches_go_on(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch x")
    async with opened(tmp_path, world) as loom:
        ref = loom.actor(Interpreter, "one")
        asking = asyncio.create_task(ref.ask(TWO_AT_ONCE, id="parked", by="bob"))
        requests = await parked(loom, 2)
        other = asyncio.create_task(ref.ask(FETCH, id="other"))
        await world.arrived("fetch x")
        for request in requests:
            await loom.approvals.grant(request.approval_id, by="alice")
        world.let_go("fetch x")
        async with asyncio.timeout(10):
            assert await asking == {"vp": True, "cfo": True, "n": None}
            await other
            assert await ref.ask(FETCH, id="after") == {"x": {"key": "x"}}  # the slot is free again


class Both(Command[list[str]]):
    """Wait for consent, and look something up when the test says so."""


class Busy(Folding):
    async def execute(self, command: Both) -> list[str]:
        said = []

        async def looks_up() -> None:
            await self.world.call("signal")  # no verb: the turn is parked meanwhile
            said.append(f"saw {self.state.notes}")
            await self.gather_context(system="s", entity="e", query="late", fetcher=lambda: self.world.call("late"))
            said.append("looked up")

        async with asyncio.TaskGroup() as tasks:
            looking = tasks.create_task(looks_up())
            await self.request_approval(approver="vp", reason="please")
            await looking
        return said


async def test_other_work_of_a_parked_turn_says_that_it_goes_on(tmp_path: Path) -> None:
    world = World()
    world.hold("signal")
    async with opened(tmp_path, world, agents=[Busy]) as loom:
        asking = asyncio.create_task(loom.actor(Busy, "one").ask(Both(), id="c", by="bob"))
        (request,) = await parked(loom)
        world.let_go("signal")
        await world.arrived("late")
        await parked(loom)
        await loom.approvals.grant(request.approval_id, by="alice")
        assert (await asking)[-1] == "looked up"
        recorded = [each.entry for each in await entries(loom, "busy/one")]
        continued = [str(each.step) for each in recorded if isinstance(each, TurnContinuedEntry)]
        assert continued == ["None", "request_approval vp"]


async def test_what_waits_beside_an_open_approval_keeps_the_turn_running(tmp_path: Path) -> None:
    world = World()
    world.hold("fetch slow")
    async with opened(tmp_path, world) as loom:
        ref = loom.actor(Interpreter, "one")
        program = [Together(branches=[[Do(verb="approve", key="vp")], [Do(verb="fetch", key="slow")]])]
        asking = asyncio.create_task(ref.ask(Carry(program=list(program)), id="c", by="bob"))
        await world.arrived("fetch slow")
        (request,) = await until(loom.approvals.pending)
        turn = loom.actors.running("interpreter/one", "c")
        assert turn is not None
        assert not turn.parked
        assert not _free(loom)
        world.let_go("fetch slow")
        await until(lambda: _free(loom))
        await loom.approvals.grant(request.approval_id, by="alice")
        await asking


async def test_the_moment_between_two_steps_beside_an_open_approval_is_not_a_pause(tmp_path: Path) -> None:
    nested = Together(branches=[[Together(branches=[[Do(verb="fetch", key="b")]])]])
    program = [Together(branches=[[Do(verb="approve", key="vp")], [Do(verb="fetch", key="a"), nested]])]
    world = World()
    world.hold("fetch a")
    async with opened(tmp_path, world) as loom:
        ref = loom.actor(Interpreter, "one")
        asking = asyncio.create_task(ref.ask(Carry(program=list(program)), id="c", by="bob"))
        await world.arrived("fetch a")
        other = asyncio.create_task(ref.ask(FETCH, id="other"))
        await until(lambda: _received(loom, 2))
        await until(loom.approvals.pending)
        world.let_go("fetch a")
        await other
        (request,) = await parked(loom)
        await loom.approvals.grant(request.approval_id, by="alice")
        await asking
        looked_up = [e.command_id for e in await entries(loom, "interpreter/one") if e.kind == "context_gathered"]
        assert looked_up == ["c", "c", "other"]


async def _received(loom: Loom, count: int) -> bool:
    return (await kinds(loom, "interpreter/one")).count("command_received") == count


def _free(loom: Loom) -> bool:
    return loom.actors._cells["interpreter/one"].lock.free


async def test_an_approval_is_granted_in_another_life_of_the_process(tmp_path: Path) -> None:
    world = World()
    program = [Do(verb="fetch", key="first"), Do(verb="approve", key="vp"), Do(verb="decide", key="d")]
    async with opened(tmp_path, world) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(Carry(program=list(program)), id="c", by="bob"))
        await parked(loom)
    with pytest.raises(TurnInterruptedError, match="ask again with the same id"):
        await asking
    async with opened(tmp_path, world, resume=False) as loom:  # as the shell does it
        (request,) = await loom.approvals.pending()
        await loom.approvals.grant(request.approval_id[:8], by="alice", comment="for once")
    async with opened(tmp_path, world) as loom:
        reply = await loom.actor(Interpreter, "one").ask(Carry(program=list(program)), id="c", by="bob")
        assert (reply["first"], reply["vp"]) == ({"key": "first"}, True)
        (approval,) = (await loom.traces.get(reply["d"])).decision.approvals
        assert (approval.by, approval.role, approval.comment) == ("alice", None, "for once")
        assert (approval.identity_source, approval.via) == ("claimed", "python")
        assert world.calls == {"fetch first": 1}


async def test_an_answer_while_the_turn_is_being_resumed_is_not_missed(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(APPROVE, id="c", by="bob"))
        await parked(loom)
    await asyncio.gather(asking, return_exceptions=True)
    async with opened(tmp_path) as loom:  # its turns are resumed in the background
        (request,) = await loom.approvals.pending()
        await loom.approvals.grant(request.approval_id, by="alice")
        async with asyncio.timeout(10):
            assert await loom.actor(Interpreter, "one").ask(APPROVE, id="c") == {"vp": True, "after": None}


async def test_who_grants_and_goes_away_at_once_has_granted(tmp_path: Path) -> None:
    for rounds in range(1, 40, 3):
        async with opened(tmp_path / str(rounds)) as loom:
            asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(APPROVE, id="c", by="bob"))
            (request,) = await parked(loom)
            granting = asyncio.create_task(loom.approvals.grant(request.approval_id, by="alice"))
            for _ in range(rounds):
                await asyncio.sleep(0)
            granting.cancel()
            await asyncio.gather(granting, return_exceptions=True)
            if await loom.approvals.pending():  # it had not come to writing
                await until(partial(_grant, loom, request.approval_id))
            async with asyncio.timeout(10):
                assert await asking == {"vp": True, "after": None}
            answers = [e for e in await entries(loom, "interpreter/one") if isinstance(e.entry, ApprovalAnsweredEntry)]
            assert len(answers) == 1


async def _grant(loom: Loom, approval_id: str) -> bool:
    with suppress(ApprovalAnsweredError):
        await loom.approvals.grant(approval_id, by="alice")
    return True


# --- who may answer, and how --------------------------------------------------------------------


async def test_the_first_answer_counts_and_later_ones_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(APPROVE, id="c", by="bob"))
        (request,) = await parked(loom)
        answers = await asyncio.gather(
            loom.approvals.deny(request.approval_id, by="carol", comment="too much"),
            loom.approvals.grant(request.approval_id, by="alice"),
            loom.approvals.grant(request.approval_id[:10], by="dave"),
            return_exceptions=True,
        )
        assert sum(isinstance(each, ApprovalAnsweredError) for each in answers) == 2
        winner = next(each for each in answers if not isinstance(each, BaseException))
        assert (await asking)["vp"] is (winner.status == "granted")
        with pytest.raises(ApprovalAnsweredError, match="expected one that is pending"):
            await loom.approvals.deny(request.approval_id, by="erin", comment="late")
        assert (await kinds(loom, "interpreter/one")).count("approval_answered") == 1


@pytest.mark.parametrize("who", ["bob", "Bob", "BOB", "ｂｏｂ"])
async def test_nobody_answers_what_they_asked_for_themselves(tmp_path: Path, who: str) -> None:
    async with opened(tmp_path) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(APPROVE, id="c", by="bob"))
        (request,) = await parked(loom)
        with pytest.raises(SelfApprovalError, match="expected a person other than"):
            await loom.approvals.grant(request.approval_id, by=who)
        with pytest.raises(SelfApprovalError):
            await loom.approvals.deny(request.approval_id, by=who, comment="no")
        assert "approval_answered" not in await kinds(loom, "interpreter/one")
        await loom.approvals.grant(request.approval_id, by="alice")
        await asking


@pytest.mark.parametrize("who", ["interpreter/one", "INTERPRETER/one", "interpreter"])
async def test_an_actor_does_not_answer_what_it_asked_for(tmp_path: Path, who: str) -> None:
    async with opened(tmp_path) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(APPROVE, id="c"))  # nobody is named
        (request,) = await parked(loom)
        assert request.requester is None
        with pytest.raises(SelfApprovalError, match=r"requested by \[interpreter/one\]"):
            await loom.approvals.grant(request.approval_id, by=who)
        await loom.approvals.grant(request.approval_id, by="one")  # the key of an actor may be the person it works for
        await asking


async def test_an_answer_says_where_its_name_comes_from_and_claims_no_role(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        sender = Identity("bob", "api_key:7", "http")
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(APPROVE, id="c", by=sender))
        (request,) = await parked(loom)
        assert request.requester == sender
        answered = await loom.approvals.grant(request.approval_id, by=Identity("alice", "os_user:1000", "socket"))
        await asking
        assert (str(answered.answerer), answered.role) == ("alice (os_user:1000, via socket)", None)
        assert [str(each.identity) for each in answered.events] == [
            "bob (api_key:7, via http)",
            "alice (os_user:1000, via socket)",
        ]
        bodies = {each.kind: json.loads(each.body or b"") async for each in loom.store.read("interpreter/one")}
        for kind, field in (
            ("command_received", "by"),
            ("approval_requested", "requested_by"),
            ("approval_answered", "by"),
        ):
            assert bodies[kind]["identity_source"] == {"bob": "api_key:7", "alice": "os_user:1000"}[bodies[kind][field]]
        assert bodies["approval_answered"]["role"] is None


@pytest.mark.parametrize("by", ["", "  ", "a\nb"])
async def test_an_answer_needs_a_name_and_a_denial_a_comment(tmp_path: Path, by: str) -> None:
    async with opened(tmp_path) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(APPROVE, id="c", by="bob"))
        (request,) = await parked(loom)
        with pytest.raises(InvalidNameError):
            await loom.approvals.grant(request.approval_id, by=by)
        with pytest.raises(AdmissionError, match="a denial has no comment"):
            await loom.approvals.deny(request.approval_id, by="alice", comment=" ")
        with pytest.raises(AdmissionError):
            await loom.approvals.grant(request.approval_id, by="alice", comment="\ud800")
        await loom.approvals.deny(request.approval_id, by="alice", comment="no")
        assert (await asking)["vp"] is False


class Discounter(Folding):
    policy = discount

    async def execute(self, command: Both) -> list[str]:
        self.evaluate(Case(percent=50))
        await self.request_approval(approver="vp", reason="first", key="a")
        self.evaluate(Case(percent=60))
        await self.request_approval(approver="vp", reason="second", key="b")
        return []


async def test_the_request_binds_what_was_shown(tmp_path: Path) -> None:
    shown = []
    for directory in ("a", "b"):
        async with opened(tmp_path / directory, agents=[Discounter]) as loom:
            asking = asyncio.create_task(loom.actor(Discounter, "one").ask(Both(), id="c", by="bob"))
            for _ in range(2):
                (request,) = await parked(loom)
                shown.append(request.shown)
                await loom.approvals.grant(request.approval_id, by="alice")
                await until(partial(_moved_on, loom, request.approval_id))
            await asking
            answers = [each.entry for each in await entries(loom) if isinstance(each.entry, ApprovalAnsweredEntry)]
            assert [answer.shown for answer in answers] == shown[-2:]
    assert shown[:2] == shown[2:]  # the same facts, evaluation and version give the same digest
    assert shown[0] != shown[1]


async def _moved_on(loom: Loom, approval_id: str) -> bool:
    return all(each.approval_id != approval_id for each in await loom.approvals.pending())


# --- deadlines ----------------------------------------------------------------------------------


class Patient(Folding):
    async def execute(self, command: Both) -> list[str]:
        approval = await self.request_approval(
            approver="vp", reason="please", timeout_s=3600, on_deadline="escalate", escalate_to=["cfo", "ceo"]
        )
        return [str(approval.granted), str(approval.by), approval.approver, str(approval.comment)]


async def test_a_deadline_passes_the_request_on_and_at_last_denies_it(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock)) as loom:
        asking = asyncio.create_task(loom.actor(Patient, "one").ask(Both(), id="c", by="bob"))
        (request,) = await parked(loom)
        asked_of = [request.approver]
        for _ in range(2):
            assert await loom.approvals.expire_due() == 0
            clock.advance(timedelta(hours=1))
            assert await loom.approvals.expire_due() == 1
            (request,) = await loom.approvals.pending()
            asked_of.append(request.approver)
            assert request.deadline is not None
            assert request.left_s(clock.now_us()) == 3600  # each has as long as the one before
        assert asked_of == ["vp", "cfo", "ceo"]
        clock.advance(timedelta(hours=1))
        assert await loom.approvals.expire_due() == 1
        granted, by, _, comment = await asking
        assert (granted, by) == ("False", "None")
        assert "no answer before the deadline" in comment


async def test_a_deadline_fires_after_a_restart(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock)) as loom:
        asking = asyncio.create_task(loom.actor(Patient, "one").ask(Both(), id="c", by="bob"))
        await parked(loom)
    await asyncio.gather(asking, return_exceptions=True)
    clock.advance(timedelta(days=30))
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock, seed="second life")) as loom:
        escalated = await until(lambda: _approver(loom))
        assert escalated == "cfo"
        clock.advance(timedelta(hours=2))
        await loom.approvals.expire_due()
        clock.advance(timedelta(hours=2))
        await loom.approvals.expire_due()
        assert (await loom.actor(Patient, "one").ask(Both(), id="c"))[:2] == ["False", "None"]


async def _approver(loom: Loom) -> str | None:
    (request,) = await loom.approvals.pending()
    return request.approver if request.approver != "vp" else None


async def test_a_clock_that_goes_back_does_not_give_more_time(tmp_path: Path) -> None:
    clock = FixedClock()
    # Without resuming: the clock of the deadlines would be about it as well.
    async with opened(tmp_path, agents=[Patient, Interpreter], sources=fixed_sources(clock), resume=False) as loom:
        asking = asyncio.create_task(loom.actor(Patient, "one").ask(Both(), id="c", by="bob"))
        (request,) = await parked(loom)
        clock.advance(timedelta(hours=2))
        await loom.actor(Interpreter, "one").ask(FETCH)  # an entry with the later time
        clock.advance(timedelta(hours=-3))
        with pytest.raises(ApprovalExpiredError, match="it was passed on"):
            await loom.approvals.grant(request.approval_id, by="alice")
        (request,) = await loom.approvals.pending()
        assert request.approver == "cfo"
        await loom.approvals.grant(request.approval_id, by="alice")
        assert (await asking)[:3] == ["True", "alice", "vp"]


async def test_a_deadline_that_cannot_be_seen_to_does_not_hold_others_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FixedClock()
    async with opened(tmp_path, agents=[Patient], sources=fixed_sources(clock)) as loom:
        for key in ("one", "two"):
            await loom.actor(Patient, key).tell(Both(), by="bob")
        await parked(loom, 2)
        clock.advance(timedelta(hours=1))
        cell = loom.actors._cells["patient/one"]
        monkeypatch.setattr(cell, "write_and_wait", _refuses)
        assert await loom.approvals.expire_due() == 1
        assert {(each.actor_key, each.approver) for each in await loom.approvals.pending()} == {
            ("one", "vp"),
            ("two", "cfo"),
        }


async def _refuses(*_: Any, **__: Any) -> Any:
    raise AdmissionError("not today")


@pytest.mark.parametrize(
    "wrong",
    [
        {"approver": " "},
        {"reason": " "},
        {"timeout_s": 1, "deadline": FixedClock},
        {"timeout_s": -1},
        {"timeout_s": float("nan")},
        {"on_deadline": "escalate"},
        {"on_deadline": "escalate", "escalate_to": ["ceo"]},
        {"escalate_to": [""]},
        {"reason": "\ud800"},
    ],
    ids=str,
)
async def test_a_request_that_makes_no_sense_is_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    class Asking(Folding):
        actor_type = "asking"

        async def execute(self, command: Both) -> list[str]:
            await self.request_approval(**{"approver": "vp", "reason": "please", **wrong})
            return []

    async with opened(tmp_path, agents=[Asking]) as loom:
        with pytest.raises(Exception, match=r"AdmissionError|InvalidNameError"):
            await loom.actor(Asking, "one").ask(Both())
        assert await kinds(loom, "asking/one") == ["command_received", "turn_failed"]


# --- delivering ---------------------------------------------------------------------------------


class Noisy(Approver):
    """Remembers whom it notified; fails where it should."""

    def __init__(self, *, fails: bool = False) -> None:
        self.told: list[str] = []
        self.fails = fails

    async def deliver(self, request: ApprovalRequestedEntry, *, journal: str) -> None:
        self.told.append(f"{request.approver} {journal}")
        if self.fails:
            raise OSError("no network")


async def test_a_messenger_that_fails_loses_nothing_and_is_sent_again_after_a_restart(tmp_path: Path) -> None:
    failing = Noisy(fails=True)
    async with opened(tmp_path, approver=failing) as loom:
        asking = asyncio.create_task(loom.actor(Interpreter, "one").ask(APPROVE, id="c", by="bob"))
        await parked(loom)
        await until(lambda: failing.told)
    await asyncio.gather(asking, return_exceptions=True)
    working = Noisy()
    async with opened(tmp_path, approver=working) as loom:
        assert await until(lambda: working.told) == ["vp interpreter/one"]
        (request,) = await parked(loom)
        await loom.approvals.grant(request.approval_id, by="alice")
        assert await loom.actor(Interpreter, "one").ask(APPROVE, id="c") == {"vp": True, "after": None}
    silent = Noisy()
    async with opened(tmp_path, approver=silent) as loom:
        await loom.reached()
        assert silent.told == []


async def test_a_messenger_that_takes_its_time_does_not_keep_the_actor(tmp_path: Path) -> None:
    class Slow(Approver):
        async def deliver(self, request: ApprovalRequestedEntry, *, journal: str) -> None:
            await asyncio.Event().wait()

    async with opened(tmp_path, approver=Slow(), shutdown_grace_s=0.1) as loom:
        ref = loom.actor(Interpreter, "one")
        asking = asyncio.create_task(ref.ask(APPROVE, id="c", by="bob"))
        (request,) = await parked(loom)
        assert await ref.ask(FETCH) == {"x": {"key": "x"}}
        await loom.approvals.grant(request.approval_id, by="alice")
        assert (await asking)["vp"] is True


async def test_notes_of_others_are_seen_by_a_parked_turn_when_it_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        ref = loom.actor(Interpreter, "one")
        program = [Do(verb="note", key="mine"), Do(verb="approve", key="vp"), Do(verb="note", key="again")]
        asking = asyncio.create_task(ref.ask(Carry(program=list(program), states=True), id="c", by="bob"))
        (request,) = await parked(loom)
        await ref.ask(Carry(program=[Do(verb="note", key="others")]))
        await loom.approvals.grant(request.approval_id, by="alice")
        reply = await asking
        assert reply["mine state"]["notes"] == ["mine"]
        assert reply["vp state"]["notes"] == ["mine", "others"]
        assert reply["again state"]["notes"] == ["mine", "others", "again"]
        assert isinstance((await entries(loom, "interpreter/one"))[1].entry, NotedEntry)


async def test_a_resumed_turn_sees_the_state_as_it_was_then_and_not_as_it_is_now(tmp_path: Path) -> None:
    program = [Do(verb="note", key="mine"), Do(verb="approve", key="vp"), Do(verb="note", key="again")]
    command = Carry(program=list(program), states=True)
    async with opened(tmp_path) as loom:
        ref = loom.actor(Interpreter, "one")
        asking = asyncio.create_task(ref.ask(command, id="c", by="bob"))
        await parked(loom)
        await ref.ask(Carry(program=[Do(verb="note", key="others")]))
    await asyncio.gather(asking, return_exceptions=True)
    async with opened(tmp_path) as loom:
        ref = loom.actor(Interpreter, "one")
        (request,) = await parked(loom)
        await ref.ask(Carry(program=[Do(verb="note", key="more")]))
        await loom.approvals.grant(request.approval_id, by="alice")
        reply = await ref.ask(command, id="c")
        assert reply["mine state"]["notes"] == ["mine"]
        assert reply["vp state"]["notes"] == ["mine", "others", "more"]
        assert (await loom.replay.state("interpreter/one")).notes == ["mine", "others", "more", "again"]
