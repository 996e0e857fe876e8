"""A failed turn is tried again, and any turn is forked: what was recorded is not done again, and stays as it is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loom.actors import Command, TurnListing
from loom.actors.change_entries import FailureLiftedEntry, TurnTakenUpEntry
from loom.actors.entries import EffectIntendedEntry
from loom.errors import (
    ActorFailedError,
    AdmissionError,
    EffectInDoubtError,
    NotReplayableError,
    PolicyCodeChangedError,
    TurnNotFoundError,
)
from loom.journal import Append, Recorded, draft
from loom.journal.kinds import PrunedEntry
from loom.policies import Evaluation, allow, case, first_match, otherwise, policy
from loom.precedents import EquivalenceRule
from loom.runtime import Loom
from tests.actors.agents import Case, Folding, Limits, World, discount
from tests.actors.support import Granting, entries, lay_down, opened, until
from tests.on_postgres import verify


class Book(Command[str]):
    """Look up, pay, decide, ask; then confirm, which may fail."""

    percent: int = 5
    customer: str = "acme"


class Lend(Command[str]):
    """What another actor is asked."""


class Lender(Folding):
    actor_type = "lender"

    async def execute(self, command: Lend) -> str:
        return str(await self.perform(action="lend", effect=lambda key: self.world.call("lent"), key="l"))


class Booking(Folding):
    actor_type = "booking"
    policy = discount
    equivalence = EquivalenceRule("booking-cases", attributes=["percent"], outcome=["granted"])
    repeatable = True

    async def execute(self, command: Book) -> str:
        account = await self.gather_context(
            system="crm", entity="account", query=command.customer, fetcher=lambda: self.world.call("account", "gold")
        )
        self.evaluate(Case(percent=command.percent))
        await self.perform(action="pay", effect=lambda key: self.world.call("paid", key), key="pay-1")
        await self.record_decision(rationale=f"for {account}", outcome={"granted": True})
        await self.ask(Lender, "bank", Lend())
        answer = await self.request_approval(approver="vp", reason="please")
        confirmed = await self.gather_context(
            system="crm", entity="confirmation", query="c", fetcher=lambda: self.world.call("confirmed", "yes")
        )
        await self.perform(
            action="mail", effect=lambda key: self.world.call("mailed", key), key="mail-1", repeatable=self.repeatable
        )
        await self.record_decision(
            rationale="confirmed", outcome={"granted": True, "confirmed": confirmed}, decision_type="confirmed"
        )
        return f"{account} {answer.granted} {confirmed}"


class Pay(Command[str]):
    """Pay what was approved."""


class Payer(Folding):
    actor_type = "taking-up-payer"

    async def execute(self, command: Pay) -> str:
        arguments = {"usd": 40}
        given = await self.request_approval(approver="vp", reason="please", action="pay", arguments=arguments)
        await self.gather_context(system="bank", entity="balance", query="b", fetcher=lambda: self.world.call("seen"))
        await self.perform(
            action="pay", effect=lambda key: self.world.call("paid", key), key="p", arguments=arguments, under=given
        )
        return "paid"


class Failing(World):
    """A world in which one call fails until it is repaired."""

    def __init__(self, name: str, *, error: type[BaseException] = OSError) -> None:
        super().__init__()
        self.name: str | None = name
        self.error = error
        self.keys: list[Any] = []

    async def call(self, name: str, value: Any = None) -> Any:
        came = await super().call(name, value)
        if name in ("paid", "mailed"):
            self.keys.append(came)
        if name == self.name:
            raise self.error("down")
        return came


AGENTS = (Booking, Lender)


async def failed(loom: Loom, command_id: str = "c") -> None:
    with pytest.raises(ActorFailedError):
        await loom.actor(Booking, "one").ask(Book(), id=command_id, by="bob")


async def ended(loom: Loom, listing: TurnListing) -> TurnListing:
    async def over() -> TurnListing | None:
        now = await loom.turns.get(listing.summary.command_id)
        return None if now.summary.unfinished else now

    found: TurnListing = await until(over)
    return found


async def whole(loom: Loom) -> list[Recorded]:
    return await entries(loom, "booking/one")


@pytest.mark.parametrize("broken", ["confirmed", "mailed"])
async def test_a_failed_turn_is_tried_again_and_nothing_that_was_paid_for_is_paid_again(
    tmp_path: Path, broken: str
) -> None:
    world = Failing(broken)
    async with opened(tmp_path, world, agents=AGENTS, approver=Granting()) as loom:
        await failed(loom)
        before = await whole(loom)
        [first] = await loom.traces.find(decision_type="policy_application")
        assert first.status == "failed"
        world.name = None
        paid = world.calls["account"], world.calls["paid"], world.calls["lent"]

        attempt = await ended(loom, await loom.turns.retry("c", by="alice", reason="it is up again"))

        assert attempt.status == "completed"
        assert (world.calls["account"], world.calls["paid"], world.calls["lent"]) == paid == (1, 1, 1)
        assert world.calls[broken] == 2
        assert await loom.actor(Booking, "one").ask(Book(), id="c", by="bob") == "gold True yes"
        assert (await loom.turns.get("c")).status == "completed"
        again = await whole(loom)
        assert [each.entry_hash for each in again[: len(before)]] == [each.entry_hash for each in before]
        [taken] = [each.entry for each in again if isinstance(each.entry, TurnTakenUpEntry)]
        assert (taken.how, taken.command_id, taken.by, taken.reason) == ("retry", "c", "alice", "it is up again")
        with pytest.raises(TurnNotFoundError, match="completed"):
            await loom.turns.retry("c", by="alice")
        async for each in loom.replay.verify("booking/one"):
            assert each.verdict == "same", each.reason
    assert verify(tmp_path / "default" / "journal.db").ok


async def test_its_success_lifts_the_mark_of_the_failure_from_decisions_and_precedents(tmp_path: Path) -> None:
    world = Failing("confirmed")
    async with opened(tmp_path, world, agents=AGENTS, approver=Granting()) as loom:
        await failed(loom)
        assert await loom.precedents.find(text="gold") == ()
        world.name = None
        await ended(loom, await loom.turns.retry("c", by="alice"))

        decisions = {each.decision_type: each for each in await loom.traces.find()}
        assert {each.status for each in decisions.values()} == {"settled"}
        [precedent] = await loom.precedents.find(text="gold")
        assert precedent.decision_id == decisions["policy_application"].decision_id
        [lifted] = [each.entry for each in await whole(loom) if isinstance(each.entry, FailureLiftedEntry)]
        assert lifted.attempt == (await loom.turns.list(status="completed"))[0].summary.command_id
        later = await loom.traces.get(decisions["confirmed"].decision_id)
        assert later.decision.parent_decision_id == precedent.decision_id  # both are in one chain
        assert [each.system for each in later.decision.inputs] == ["crm", "crm"]
        views = await loom.turns.get("c"), await loom.traces.find(), await loom.precedents.find(text="gold")
        await loom.rebuild()
        assert (await loom.turns.get("c"), await loom.traces.find(), await loom.precedents.find(text="gold")) == views


async def test_an_attempt_that_fails_can_be_tried_again_and_two_at_once_cannot(tmp_path: Path) -> None:
    world = Failing("confirmed")
    async with opened(tmp_path, world, agents=AGENTS, approver=Granting()) as loom:
        await failed(loom)
        second = await ended(loom, await loom.turns.retry("c", by="alice"))
        assert second.status == "failed"
        world.name = None
        world.hold("confirmed")

        tries = await asyncio.gather(
            loom.turns.retry("c", by="alice"),
            loom.turns.retry(second.summary.command_id, by="carol"),
            return_exceptions=True,
        )

        [third] = [each for each in tries if isinstance(each, TurnListing)]
        [refused] = [each for each in tries if isinstance(each, TurnNotFoundError)]
        assert "is being tried again as" in str(refused)
        world.let_go("confirmed")
        await ended(loom, third)
        assert world.calls["paid"] == 1
        assert (await loom.turns.get("c")).status == "completed"


async def test_an_attempt_that_is_cut_short_anywhere_goes_on(tmp_path: Path) -> None:
    world = Failing("confirmed")
    async with opened(tmp_path / "whole", world, agents=AGENTS, approver=Granting()) as loom:
        await failed(loom)
        world.name = None
        attempt = await ended(loom, await loom.turns.retry("c", by="alice"))
        history = await entries(loom)
    first = next(at for at, each in enumerate(history) if each.command_id == attempt.summary.command_id)
    for cut in range(first + 2, len(history) + 1):
        if history[cut - 1].kind == "turn_completed":  # its ends, and what they lift, are one append
            continue
        directory, fresh = tmp_path / str(cut), World()
        await lay_down(directory, history[:cut])
        async with opened(directory, fresh, agents=AGENTS) as loom:
            await loom.actors.cell("booking/one")
            await ended(loom, attempt)
            assert (fresh.calls["account"], fresh.calls["paid"], fresh.calls["lent"]) == (0, 0, 0), cut
            assert await loom.actor(Booking, "one").ask(Book(), id="c", by="bob") == "gold True yes"


async def test_an_effect_in_doubt_is_done_again_only_where_a_person_says_so(tmp_path: Path) -> None:
    class Once(Booking):
        actor_type = "booking"
        repeatable = False

    world = Failing("mailed")
    async with opened(tmp_path, world, agents=(Once, Lender), approver=Granting()) as loom:
        with pytest.raises(ActorFailedError):
            await loom.actor(Once, "one").ask(Book(), id="c")
        world.name = None
        with pytest.raises(EffectInDoubtError, match=r"\[mail\] .* may have happened"):
            await loom.turns.retry("c", by="alice")
        await ended(loom, await loom.turns.retry("c", by="alice", perform=True))
        assert world.keys == ["pay-1", "mail-1", "mail-1"]  # the same key: the other side can recognise it


async def test_a_turn_whose_rule_is_gone_is_not_taken_up(tmp_path: Path) -> None:
    @policy("test-discount", Limits(), examples=[Case(percent=5)])
    def other(params: Limits, facts: Case) -> Evaluation:
        return first_match(
            case("below", facts.percent < 0, allow(), why="below zero", why_not="not below zero"),
            otherwise("over", allow(), why="whatever"),
        )

    class Changed(Booking):
        actor_type = "booking"
        policy = other

    async with opened(tmp_path, Failing("confirmed"), agents=AGENTS, approver=Granting()) as loom:
        await failed(loom)
    async with opened(tmp_path, agents=(Changed, Lender)) as loom:
        before = await whole(loom)
        with pytest.raises(PolicyCodeChangedError):
            await loom.turns.retry("c", by="alice")
        assert len(await whole(loom)) == len(before)


async def test_only_a_turn_that_failed_is_tried_again(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=AGENTS, approver=Granting()) as loom:
        await loom.actor(Booking, "one").ask(Book(), id="c")
        with pytest.raises(TurnNotFoundError):
            await loom.turns.retry("c", by="alice")
        with pytest.raises(TurnNotFoundError):
            await loom.turns.retry("nothing", by="alice")


# --- forks ---------------------------------------------------------------------------------------


async def test_a_fork_has_the_steps_up_to_there_and_effects_of_its_own_where_a_person_wants_them(
    tmp_path: Path,
) -> None:
    world = Failing("nothing")
    async with opened(tmp_path, world, agents=AGENTS, approver=Granting()) as loom:
        await loom.actor(Booking, "one").ask(Book(), id="c", by="bob")
        before = await whole(loom)

        dry = await ended(loom, await loom.turns.fork("c", at="gather_context crm/confirmation", by="alice"))
        assert (dry.status, world.calls["confirmed"], world.keys) == ("failed", 2, ["pay-1", "mail-1"])
        assert "is not performed, as the turn is a fork" in (dry.summary.error_message or "")

        wet = await ended(
            loom, await loom.turns.fork("c", at="gather_context crm/confirmation", by="alice", perform=True, id="f")
        )
        assert wet.status == "completed"
        assert (world.calls["account"], world.calls["paid"], world.calls["lent"]) == (1, 1, 1)
        assert world.keys == ["pay-1", "mail-1", "mail-1:f"]
        intents = [each.entry for each in await whole(loom) if isinstance(each.entry, EffectIntendedEntry)]
        assert [each.key for each in intents] == ["pay-1", "mail-1", "mail-1:f"]
        assert await loom.actor(Booking, "one").ask(Book(), id="f", by="bob") == "gold True yes"
        assert [each.entry_hash for each in (await whole(loom))[: len(before)]] == [each.entry_hash for each in before]
        assert (await loom.turns.get("c")).status == "completed"
        async for each in loom.replay.verify("booking/one"):
            assert each.verdict == "same", (each.command_id, each.reason)
    assert verify(tmp_path / "default" / "journal.db").ok


async def test_a_fork_with_a_changed_command_decides_anew_from_there(tmp_path: Path) -> None:
    async with opened(tmp_path, agents=AGENTS, approver=Granting()) as loom:
        await loom.actor(Booking, "one").ask(Book(), id="c")
        fork = await loom.turns.fork("c", at="evaluate", by="alice", changed={"percent": 50}, perform=True)
        await ended(loom, fork)
        facts = [
            (await loom.traces.get(each.decision_id)).decision.facts
            for each in await loom.traces.find(decision_type="policy_application")
        ]
        exceptions = await loom.traces.find(decision_type="exception")
        assert facts == [{"percent": 5}]
        assert len(exceptions) == 1  # 50 percent is over the limit


async def test_two_forks_of_one_turn_at_once_are_two_turns(tmp_path: Path) -> None:
    world = World()
    async with opened(tmp_path, world, agents=AGENTS, approver=Granting()) as loom:
        await loom.actor(Booking, "one").ask(Book(), id="c")
        at = "gather_context crm/confirmation"
        forks = await asyncio.gather(
            *[loom.turns.fork("c", at=at, by="alice", perform=True, id=each) for each in ("f1", "f2")]
        )
        assert {(await ended(loom, each)).status for each in forks} == {"completed"}
        assert world.calls["mailed"] == 3
        assert world.calls["paid"] == 1
        with pytest.raises(Exception, match=r"\[f1\] .* came before"):
            await loom.turns.fork("c", at=at, by="alice", id="f1")


async def test_an_approval_from_before_a_fork_permits_no_effect_of_it(tmp_path: Path) -> None:
    world = World()
    async with opened(tmp_path, world, agents=(Payer,), approver=Granting()) as loom:
        assert await loom.actor(Payer, "one").ask(Pay(), id="c") == "paid"

        fork = await loom.turns.fork("c", at="gather_context bank/balance", by="alice", perform=True)

        assert (await ended(loom, fork)).summary.error_type == "ApprovalMismatchError"
        assert world.calls["paid"] == 1

        again = await ended(loom, await loom.turns.fork("c", at="request_approval", by="alice", perform=True))
        assert (again.status, world.calls["paid"]) == ("completed", 2)  # it was asked for itself


async def test_a_turn_whose_entries_are_erased_is_not_tried_again(tmp_path: Path) -> None:
    async with opened(tmp_path, Failing("confirmed"), agents=AGENTS, approver=Granting()) as loom:
        await failed(loom)
        last = (await whole(loom))[-1].sequence
        declared = PrunedEntry(journal="booking/one", first_sequence=1, last_sequence=last, by="ana", reason="asked to")
        await loom.store.append(Append("loom/pruning", 0, (draft(declared),)))
        await loom.store.prune("booking/one", until=last)

        with pytest.raises(NotReplayableError, match="entries of it are gone"):
            await loom.turns.retry("c", by="alice")

        assert (await loom.turns.get("c")).status == "failed"


@pytest.mark.parametrize(
    ("at", "changed", "says"),
    [
        ("gather_context crm", None, "is no one step"),
        ("nothing", None, "is no one step"),
        (1, None, "is no one step"),
        ("evaluate", {"percent": "many"}, "valid integer"),
        ("evaluate", {"nothing": 1}, "not permitted"),
    ],
)
async def test_a_fork_that_cannot_be_is_refused_and_nothing_is_written(
    tmp_path: Path, at: int | str, changed: dict[str, Any] | None, says: str
) -> None:
    async with opened(tmp_path, agents=AGENTS, approver=Granting()) as loom:
        await loom.actor(Booking, "one").ask(Book(), id="c")
        before = len(await whole(loom))
        with pytest.raises(AdmissionError, match=says):
            await loom.turns.fork("c", at=at, by="alice", changed=changed)
        assert len(await whole(loom)) == before
