"""The view of turns says how each of them stands, from nothing but what is recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loom.actors.entries import EffectIntendedEntry, EffectPerformedEntry
from loom.actors.turns_view import TurnSummary
from loom.clock import datetime_from_us
from loom.decisions import DecisionJournalEntry, EvaluatedEntry
from loom.errors import TurnNotFoundError, ViewsDifferError
from loom.journal import (
    Entry,
    Step,
    TurnAbandonedEntry,
    TurnCompletedEntry,
    TurnContinuedEntry,
    TurnFailedEntry,
    TurnResumedEntry,
    TurnRetriedEntry,
    TurnStartedEntry,
)
from tests.projections.journals import answer, command, decision, evaluation, request
from tests.projections.reading import Asked, asked
from tests.projections.tampering import tamper

JOURNAL = "discount-agent/acme"

EVALUATED = EvaluatedEntry(step=Step("evaluate", "e"), facts={}, evaluation=evaluation())
INTENDED = EffectIntendedEntry(step=Step("perform", "mail"), action="send", key="mail", repeatable=False)
REPEATABLE = INTENDED.model_copy(update={"repeatable": True})
PERFORMED = EffectPerformedEntry(step=Step("perform", "mail"), action="send", key="mail", duration_ms=1.0)
DONE = TurnCompletedEntry(reply=None)


def resumed(attempt: int) -> TurnResumedEntry:
    return TurnResumedEntry(attempt=attempt)


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Asked]:
    async with asked(tmp_path) as loom:
        yield loom


async def turn_of(loom: Asked, *entries: Entry) -> TurnSummary:
    await loom.write(JOURNAL, command(), *entries, turn="t")
    return await loom.turns.get("t", journal=JOURNAL)


@pytest.mark.parametrize(
    ("entries", "status"),
    [
        ((), "received"),
        ((TurnStartedEntry(),), "running"),
        ((EVALUATED,), "running"),
        ((request("one"),), "parked"),
        ((request("one"), EVALUATED), "parked"),
        ((request("one"), answer("one")), "running"),
        ((request("one"), answer("one"), answer("one", by="rosa")), "running"),
        ((request("one"), request("two"), answer("one")), "parked"),
        ((request("one"), answer("one"), TurnContinuedEntry()), "running"),
        ((resumed(1),), "running"),
        ((resumed(1), resumed(2), resumed(3)), "stuck"),
        ((resumed(3), EVALUATED), "running"),
        ((resumed(3), TurnRetriedEntry(by="ana")), "running"),
        ((request("one"), resumed(3)), "parked"),
        ((INTENDED,), "running"),
        ((INTENDED, resumed(1)), "stuck"),
        ((INTENDED, request("one"), resumed(1)), "stuck"),
        ((INTENDED, resumed(1), TurnRetriedEntry(by="ana")), "running"),
        ((INTENDED, resumed(1), PERFORMED), "running"),
        ((resumed(1), INTENDED), "running"),
        ((REPEATABLE, resumed(1)), "running"),
        ((EVALUATED, DONE), "completed"),
        ((TurnFailedEntry(type_name="ValueError", message="no"),), "failed"),
        ((resumed(3), TurnAbandonedEntry(by="ana", reason="enough")), "abandoned"),
        ((request("one"), INTENDED, DONE), "completed"),
    ],
    ids=lambda each: each if isinstance(each, str) else "-".join(entry.kind for entry in each) or "nothing",
)
async def test_the_status_follows_from_what_is_recorded(loom: Asked, entries: tuple[Entry, ...], status: str) -> None:
    turn = await turn_of(loom, *entries)
    assert turn.status == status
    assert turn.unfinished == (status not in ("completed", "failed", "abandoned"))
    assert turn.last_position == 1 + len(entries)


async def test_a_turn_tells_who_asked_for_what_and_when(loom: Asked) -> None:
    receipt = await loom.write(JOURNAL, command(), turn="t")
    turn = await loom.turns.get("t")
    assert (turn.journal, turn.actor_type, turn.actor_key) == (JOURNAL, "discount-agent", "acme")
    assert (turn.command_type, turn.by, turn.correlation_id, turn.causation_id) == (
        "request_discount",
        "ana",
        "c-1",
        None,
    )
    assert (turn.received_position, turn.received_sequence) == (1, 1)
    assert turn.received_at == datetime_from_us(receipt.recorded_at_us)
    assert turn.ended_at is None


async def test_a_turn_counts_what_it_has_done_and_what_it_waits_for(loom: Asked) -> None:
    turn = await turn_of(
        loom, request("one"), request("two"), INTENDED, DecisionJournalEntry(decision=decision("d")), resumed(2)
    )
    assert (turn.open_approvals, turn.pending_effect, turn.decisions, turn.attempts) == (2, True, 1, 2)
    receipt = await loom.write(JOURNAL, TurnFailedEntry(type_name="ValueError", message="no"), turn="t")
    turn = await loom.turns.get("t")
    assert (turn.open_approvals, turn.pending_effect, turn.decisions, turn.attempts) == (0, False, 1, 0)
    assert (turn.error_type, turn.error_message) == ("ValueError", "no")
    assert turn.ended_at == datetime_from_us(receipt.recorded_at_us)


async def test_a_repeated_effect_is_pending_until_its_own_step_is_done(loom: Asked) -> None:
    second = INTENDED.model_copy(update={"step": Step("perform", "mail", 1)})
    turn = await turn_of(loom, INTENDED, second, PERFORMED)
    assert turn.pending_effect
    await loom.write(JOURNAL, PERFORMED.model_copy(update={"step": Step("perform", "mail", 1)}), turn="t")
    assert not (await loom.turns.get("t")).pending_effect


async def test_turns_of_one_actor_and_of_others_are_kept_apart(loom: Asked) -> None:
    await loom.write(JOURNAL, command(), request("one"), turn="t")
    await loom.write(JOURNAL, command(), turn="u")
    await loom.write("discount-agent/beta", command(), DONE, turn="t")
    await loom.write(JOURNAL, EVALUATED)
    statuses = {(turn.journal, turn.command_id): turn.status for turn in await loom.turns.list()}
    assert statuses == {
        (JOURNAL, "t"): "parked",
        (JOURNAL, "u"): "received",
        ("discount-agent/beta", "t"): "completed",
    }
    with pytest.raises(TurnNotFoundError, match="ambiguous"):
        await loom.turns.get("t")
    assert (await loom.turns.get("t", journal=JOURNAL)).status == "parked"


async def test_unfinished_turns_come_oldest_first_in_pages(loom: Asked) -> None:
    for number in range(6):
        entries = (command(), DONE) if number % 2 else (command(),)
        await loom.write(JOURNAL, *entries, turn=f"t{number}")
    first = await loom.turns.unfinished(limit=2)
    rest = await loom.turns.unfinished(after=first[-1].received_position)
    assert [turn.command_id for turn in (*first, *rest)] == ["t0", "t2", "t4"]


async def test_turns_are_listed_newest_first_by_status_and_journal(loom: Asked) -> None:
    for number in range(4):
        entries = (command(), DONE) if number % 2 else (command(),)
        await loom.write(f"discount-agent/{number // 2}", *entries, turn=f"t{number}")
    assert [turn.command_id for turn in await loom.turns.list()] == ["t3", "t2", "t1", "t0"]
    assert [turn.command_id for turn in await loom.turns.list(status="completed")] == ["t3", "t1"]
    assert [turn.command_id for turn in await loom.turns.list(journal="discount-agent/0")] == ["t1", "t0"]
    (newest,) = await loom.turns.list(limit=1)
    assert (await loom.turns.list(limit=1, before=newest.received_position))[0].command_id == "t2"


async def test_a_turn_is_found_by_how_its_id_begins(loom: Asked) -> None:
    await loom.write(JOURNAL, command(), turn="abc-1")
    await loom.write(JOURNAL, command(), turn="abc-12")
    assert (await loom.turns.get("abc-12")).command_id == "abc-12"
    assert (await loom.turns.get("abc-1")).command_id == "abc-1"
    with pytest.raises(TurnNotFoundError, match="ambiguous"):
        await loom.turns.get("abc")
    await loom.write(JOURNAL, command(), turn="Bestellung-€-1")
    assert (await loom.turns.get("Bestellung-€")).command_id == "Bestellung-€-1"
    for unknown in ("", "x", "%", "\ud800"):
        with pytest.raises(TurnNotFoundError, match="is not known"):
            await loom.turns.get(unknown)


# --- views that say something else than the journal ----------------------------------------------


async def several(loom: Asked) -> None:
    """A turn that ended, one that is parked, one that runs, and one that was just received."""
    await loom.write(JOURNAL, command(), DecisionJournalEntry(decision=decision("d")), DONE, turn="done")
    await loom.write(JOURNAL, command(), request("one"), turn="parked")
    await loom.write(JOURNAL, command(), EVALUATED, resumed(2), turn="running")
    await loom.write("discount-agent/beta", command(), turn="received")
    await loom.turns.list()  # the view is there


UNFINISHED = [("parked", "parked"), ("running", "running"), ("received", "received")]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM turns",
        "UPDATE turns SET ended = 'completed', ended_at_us = 1",
        "UPDATE turns SET journal = 'discount-agent/other', command_id = command_id || 'x'",
        "UPDATE turns SET by = 'mallory', command_type = 'forged', actor_key = 'forged', open_approvals = 0",
        "UPDATE turns SET received_position = received_position + 100",
    ],
)
async def test_unfinished_turns_are_listed_as_their_entries_have_them(loom: Asked, statement: str) -> None:
    await several(loom)
    before = await loom.turns.unfinished()
    assert [(each.command_id, each.status) for each in before] == UNFINISHED
    assert tamper(loom.store.files.views, statement) == 4
    assert await loom.turns.unfinished() == before
    assert [each async for each in loom.turns.every(unfinished=True)] == list(before)
    assert await loom.turns.unfinished(limit=1, after=before[0].received_position) == before[1:2]


async def test_a_turn_that_ended_is_not_made_unfinished_by_the_view(loom: Asked) -> None:
    await several(loom)
    before = await loom.turns.list()
    assert tamper(loom.store.files.views, "UPDATE turns SET ended = NULL, ended_at_us = NULL, by = 'mallory'") == 4
    assert [each.command_id for each in await loom.turns.unfinished()] == ["parked", "running", "received"]
    assert await loom.turns.list() == before
    assert [each async for each in loom.turns.every(unfinished=False)] == list(before)
    assert await loom.turns.get("done") == before[-1]


async def test_a_turn_that_is_asked_for_is_told_in_full_by_its_entries(loom: Asked) -> None:
    await several(loom)
    await loom.write(JOURNAL, answer("one"), turn="done")  # too late: its turn has ended
    before = {name: await loom.turns.get(name) for name in ("done", "parked", "running", "received")}
    assert (before["running"].attempts, before["done"].decisions) == (2, 1)
    forged = "UPDATE turns SET attempts = 7, decisions = 9, pending_effects = 3, resumed = 1, last_position = 1"
    assert tamper(loom.store.files.views, forged) == 4
    after = {name: await loom.turns.get(name) for name in before}
    assert after == before


async def test_a_turn_that_the_view_hides_is_found_and_one_that_it_makes_up_is_refused(loom: Asked) -> None:
    await several(loom)
    assert tamper(loom.store.files.views, "DELETE FROM turns WHERE command_id = 'parked'") == 1
    assert (await loom.turns.get("park")).status == "parked"
    assert (await loom.turns.get("parked", journal=JOURNAL)).status == "parked"
    with pytest.raises(TurnNotFoundError, match="is not known"):
        await loom.turns.get("parked", journal="discount-agent/beta")
    with pytest.raises(TurnNotFoundError, match="is not known"):
        await loom.turns.get("")
    assert tamper(loom.store.files.views, "UPDATE turns SET command_id = 'made-up' WHERE command_id = 'done'") == 1
    with pytest.raises(ViewsDifferError, match="turns 1"):
        await loom.turns.get("made-up")
    assert [each.command_id for each in await loom.turns.list()] == ["received", "running"]
