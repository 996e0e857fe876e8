"""One turn without its actor: what it asks of its host, and in which order, in each state it can be in."""

from __future__ import annotations

import asyncio
import hashlib
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loom.actors.ports import Seen
from loom.actors.progress import StepBegan, StepEnded
from loom.actors.turn import NOT_RESUMABLE, Turn, TurnStopped
from loom.errors import (
    ActorStoppedError,
    AdmissionError,
    AmbiguousStepError,
    AppendUnknownError,
    DiskFullError,
    ErasedError,
    LoomError,
    NotReplayableError,
    NoTurnError,
    SequenceConflictError,
    TurnInterruptedError,
)
from loom.journal import Receipt, Step, TurnCompletedEntry
from loom.journal.kinds import TurnContinuedEntry, TurnResumedEntry
from tests.actors.alone import HASH, OTHER, Host, Ready, Recorded, turn_of
from tests.journal.support import NotedEntry


@pytest.fixture
async def host() -> Host:
    return Host()


@pytest.fixture
async def turn(host: Host) -> Turn:
    """A turn that has the lock."""
    found = turn_of(host)
    host.lock.claim(found)
    return found


def is_so(turn: Turn, name: str) -> bool:
    """Return a property of a turn that changes."""
    return bool(getattr(turn, name))


def unknown() -> AppendUnknownError:
    return AppendUnknownError("no answer", journal="a/1", sequence=2, entry_hash=b"h" * 32)


# --- steps --------------------------------------------------------------------------------------


async def test_equal_steps_are_counted_and_two_in_flight_are_ambiguous(turn: Turn) -> None:
    with turn.step("look_up", "a") as first:
        assert first == Step("look_up", "a", 0)
        with turn.step("look_up", "b") as other:
            assert other == Step("look_up", "b", 0)
        with pytest.raises(AmbiguousStepError, match=r"\[look_up a\] is in flight twice in turn \[a/1#c-1\]"):
            turn.step("look_up", "a")
        with turn.step("record", "a", waits=False) as one, turn.step("record", "a", waits=False) as two:
            assert (one.occurrence, two.occurrence) == (0, 1), "what waits for nothing is never in flight twice"
        assert turn.parking._busy == 1
    with turn.step("look_up", "a") as again:
        assert again == Step("look_up", "a", 1)
    assert turn.parking._busy == 0, "a step that has ended keeps no turn from being parked"


async def test_a_key_that_is_long_is_shortened_and_stays_its_own(turn: Turn) -> None:
    with turn.step("v", "x" * 200) as just:
        assert just.key == "x" * 200
    with turn.step("v", "x" * 201) as one, turn.step("v", "x" * 200 + "y") as other:
        assert one.key != other.key
        assert len(one.key) == len(other.key) == 193
        assert one.key.startswith("x" * 160 + "…")
        assert one.key[161:] == hashlib.sha256(b"x" * 201).hexdigest()[:32], "as in journals that were written before"
    with turn.step("v", "x" * 201) as again:
        assert (again.key, again.occurrence) == (one.key, 1), "the same key is shortened to the same"


async def test_a_key_that_cannot_be_journaled_is_refused_before_anything_is_done(turn: Turn) -> None:
    with pytest.raises(AdmissionError):
        turn.step("v", "\ud800")
    assert not turn._in_flight
    assert not turn._occurrences


async def test_who_watches_a_turn_sees_its_steps_begin_and_end(host: Host, turn: Turn) -> None:
    noted: list[Any] = []
    watchers = SimpleNamespace(open=True, note=lambda *given: noted.append(given))
    host.services.watchers = watchers
    with turn.step("v", "k"):
        assert noted == [("a/1", "c-1", StepBegan("v", "k"))]
    with pytest.raises(LookupError), turn.step("v", "l"):
        raise LookupError
    assert noted[1:] == [
        ("a/1", "c-1", StepEnded("v", "k", None)),
        ("a/1", "c-1", StepBegan("v", "l")),
        ("a/1", "c-1", StepEnded("v", "l", "LookupError")),
    ]
    watchers.open = False
    with turn.step("v", "m"):
        pass
    assert len(noted) == 4


async def test_a_step_that_is_recorded_is_taken_and_another_waits_for_them_and_runs(host: Host, turn: Turn) -> None:
    known, new = Step("v", "known"), Step("v", "new")
    assert await turn.take(new) is None
    steps = Recorded(known)
    turn.recorded_steps = cast("Any", steps)
    assert str(await turn.take(known)) == "v known end"
    assert steps.did == []
    assert await turn.take(known, "begin") is None
    assert await turn.take(new) is None
    assert steps.did == ["waited v known", "waited v new"]
    turn.compare = lambda recorded, entry: None
    with pytest.raises(TurnStopped) as stopped:
        await turn.take(new)
    assert isinstance(stopped.value.error, NotReplayableError)
    assert stopped.value.error.reason == "v_never_recorded"
    assert turn.stopped is stopped.value.error


async def test_a_step_waits_for_the_actor_where_another_turn_has_it(host: Host) -> None:
    first, second = turn_of(host), turn_of(host, command_id="c-2")
    host.lock.claim(first)
    taking = asyncio.ensure_future(second.take(Step("v", "k")))
    await asyncio.sleep(0.01)
    assert not taking.done()
    first.close()
    assert await asyncio.wait_for(taking, 1) is None
    assert second.live


# --- live ---------------------------------------------------------------------------------------


async def test_a_turn_is_live_only_where_nothing_is_left_to_do_before_it_may_write(host: Host, turn: Turn) -> None:
    assert is_so(turn, "live")
    waited = host.store.waited
    assert await turn.take(Step("v", "k")) is None
    assert host.store.waited == waited, "a live turn waits for nothing"
    changes: dict[str, Any] = {
        "attempt": 1,
        "_away": True,
        "_deferred": [Ready("x", "c-1", HASH)],
        "closed": True,
        "_resuming": asyncio.get_running_loop().create_future(),
        "stopped": DiskFullError("full"),
    }
    for name, value in changes.items():
        before = getattr(turn, name)
        setattr(turn, name, value)
        assert not is_so(turn, "live"), name
        setattr(turn, name, before)
    host.store.has_room = False
    assert not is_so(turn, "live")
    host.store.has_room = True
    assert is_so(turn, "live")
    host.lock.release(turn)
    assert not is_so(turn, "live")


async def test_a_resumed_turn_is_journaled_as_such_before_anything_runs(host: Host, turn: Turn) -> None:
    turn.attempt, turn.taken_over, host.at_once = 2, True, False
    turn.write_when_live(cast("Any", Ready("later", "c-1", HASH)))
    continuing = asyncio.ensure_future(turn.continue_live())
    await asyncio.sleep(0.01)
    assert host.written == [TurnResumedEntry(attempt=2, takeover=True)]
    assert not is_so(turn, "live")
    assert not continuing.done()
    host.at_once = True
    host.appends[0].set_result(host.receipt())
    await asyncio.wait_for(continuing, 1)
    assert host.written[1:] == ["later"]
    assert (turn.attempt, turn.live, host.store.waited) == (0, True, 1)
    await turn.continue_live()
    assert len(host.written) == 2, "what was deferred is written once"


async def test_a_turn_that_was_away_says_with_what_it_continues(host: Host, turn: Turn) -> None:
    turn._away = True
    await turn.continue_live()
    assert host.written == [TurnContinuedEntry(step=None)]
    await turn.continue_live()
    assert len(host.written) == 1
    await turn.continue_live(after=Step("request_approval", "vp"))
    assert host.written[1:] == [TurnContinuedEntry(step=Step("request_approval", "vp"))]


async def test_a_turn_that_is_stopped_while_it_waits_for_room_does_not_go_on(host: Host, turn: Turn) -> None:
    continuing = asyncio.ensure_future(turn.continue_live())
    await asyncio.sleep(0)
    turn.halt(DiskFullError("full"))
    with pytest.raises(TurnStopped, match="full"):
        await continuing


async def test_a_turn_that_is_stopped_while_it_waits_for_the_actor_writes_nothing(host: Host) -> None:
    first, second = turn_of(host), turn_of(host, command_id="c-2")
    host.lock.claim(first)
    second.attempt = 1
    continuing = asyncio.ensure_future(second.continue_live())
    await asyncio.sleep(0)
    second.halt(DiskFullError("full"))
    first.close()
    with pytest.raises(TurnStopped):
        await continuing
    assert host.written == []
    assert (host.store.waited, second.attempt) == (0, 1)


# --- the journal --------------------------------------------------------------------------------


async def test_what_a_turn_writes_is_folded_and_noted_as_its_own(host: Host, turn: Turn) -> None:
    actor = SimpleNamespace(_state_ref=None)
    entry = NotedEntry(text="x")
    ready = cast("Any", turn.draft(entry))
    assert (ready.entry, ready.command_id, ready.policy_hash) == (entry, "c-1", HASH)
    assert cast("Any", turn.draft(entry, policy_hash=OTHER)).policy_hash == OTHER
    turn.write(ready)
    turn.actor = cast("Any", actor)
    seen = Seen(lambda: entry)
    turn.write(ready, seen=seen)
    assert actor._state_ref is host.state_ref
    assert host.folded == [2, 3]
    assert turn.entries == [1, 2, 3]
    assert host.seen == [seen]
    await turn.durable()
    assert turn.receipt == host.receipt()


async def test_a_state_that_cannot_be_folded_stops_the_turn(host: Host, turn: Turn) -> None:
    host.fold_fails = ActorStoppedError("apply raised")
    with pytest.raises(TurnStopped, match="apply raised") as stopped:
        turn.write(turn.draft(NotedEntry()))
    assert turn.stopped is stopped.value.error is host.fold_fails
    assert stopped.value.__cause__ is host.fold_fails


async def test_what_cannot_wait_is_written_now_or_when_the_turn_runs_for_real(host: Host, turn: Turn) -> None:
    turn.write_when_live(turn.draft(NotedEntry(text="now")))
    assert host.written == [NotedEntry(text="now")]
    turn.attempt = 1
    turn.write_when_live(turn.draft(NotedEntry(text="resumed")))
    turn.attempt = 0
    host.lock.release(turn)
    turn.write_when_live(turn.draft(NotedEntry(text="away")))
    assert len(host.written) == 1
    await turn.continue_live()
    assert [each.text for each in host.written] == ["now", "resumed", "away"]


async def test_the_end_is_the_last_entry_and_goes_with_those_of_others_in_one_append(host: Host, turn: Turn) -> None:
    turn.end(TurnCompletedEntry(reply=1), also=(cast("Any", Ready("lifted", "c-0", HASH)),))
    assert host.written == [(TurnCompletedEntry(reply=1), "lifted")]
    assert turn.closed
    assert turn.entries == [1], "the host notes what is appended together"
    with pytest.raises(NoTurnError, match=r"\[a/1#c-1\] has ended"):
        turn.write(turn.draft(NotedEntry()))
    with pytest.raises(NoTurnError):
        turn.step("v", "k")
    other = turn_of(host)
    other.end(TurnCompletedEntry(reply=2))
    assert host.written[1:] == [TurnCompletedEntry(reply=2)]
    assert other.entries == [1, 4]


async def test_a_turn_that_wrote_nothing_has_nothing_to_wait_for(turn: Turn) -> None:
    await asyncio.wait_for(turn.durable(), 1)
    assert turn.receipt is None


async def test_an_append_without_an_answer_is_resolved_before_the_turn_goes_on(host: Host, turn: Turn) -> None:
    host.at_once = False
    turn.write(turn.draft(NotedEntry()))
    problem = unknown()
    host.appends[0].set_exception(problem)
    host.store.found = host.receipt()
    await turn.durable()
    assert (turn.receipt, host.store.asked, turn.stopped) == (host.receipt(), [problem], None)


@pytest.mark.parametrize("found", [None, DiskFullError("cannot look")])
@pytest.mark.parametrize("accepted", [True, False])
async def test_an_append_that_is_not_there_interrupts_the_turn_and_makes_its_actor_invalid(
    host: Host, found: LoomError | None, *, accepted: bool
) -> None:
    turn = turn_of(host, accepted=accepted)
    host.lock.claim(turn)
    host.at_once = False
    turn.write(turn.draft(NotedEntry()))
    problem = unknown()
    host.appends[0].set_exception(problem)
    host.store.found = found
    with pytest.raises(TurnStopped, match="could not be journaled") as stopped:
        await turn.durable()
    cause = found or problem
    assert host.invalidated_by is cause
    assert isinstance(turn.stopped, TurnInterruptedError)
    assert turn.stopped.__cause__ is cause
    assert stopped.value.__cause__ is cause


async def test_an_append_that_was_refused_interrupts_the_turn(host: Host, turn: Turn) -> None:
    host.at_once = False
    turn.write(turn.draft(NotedEntry()))
    refused = SequenceConflictError(journal="a/1", at=5, expected=1)
    host.appends[0].set_exception(refused)
    with pytest.raises(TurnStopped):
        await turn.durable()
    assert host.invalidated_by is refused
    assert isinstance(turn.stopped, TurnInterruptedError)
    assert host.store.asked == []


async def test_a_journal_that_takes_no_more_interrupts_the_turn_at_once(host: Host, turn: Turn) -> None:
    host.refuses = DiskFullError("full")
    with pytest.raises(TurnStopped) as stopped:
        turn.write(turn.draft(NotedEntry()))
    assert host.invalidated_by is host.refuses
    assert stopped.value.__cause__ is host.refuses
    assert turn.entries == [1]
    with pytest.raises(TurnStopped):
        turn.step("v", "k")


async def test_a_command_that_was_refused_itself_is_said_to_be_so(host: Host) -> None:
    refused = turn_of(host, accepted=False)
    refused.accepted.set_exception(DiskFullError("full"))
    assert str(refused.cut_short(unknown())) == "said by the host: full"
    open_still = turn_of(host, accepted=False)
    assert isinstance(open_still.cut_short(unknown()), TurnInterruptedError)
    not_known = turn_of(host, accepted=False)
    not_known.accepted.set_exception(unknown())
    assert isinstance(not_known.cut_short(unknown()), TurnInterruptedError)
    gone = turn_of(host, accepted=False)
    gone.accepted.cancel()
    assert isinstance(gone.cut_short(unknown()), TurnInterruptedError)
    other = turn_of(host, accepted=False)
    other.accepted.set_exception(OSError("no error of loom"))
    assert isinstance(other.cut_short(unknown()), TurnInterruptedError)


# --- parking ------------------------------------------------------------------------------------


async def parked(host: Host, turn: Turn) -> asyncio.Task[Any]:
    """Let a turn wait for a person, until it is parked."""

    async def ask() -> Any:
        with turn.step("request_approval", "vp"):
            return await turn.wait_for_answer("approval-1")

    task = asyncio.ensure_future(ask())
    for _ in range(60):
        await asyncio.sleep(0)
    assert host.lock.owner is not turn
    return task


async def test_a_turn_that_waits_gives_its_actor_to_others_and_may_be_let_go(host: Host, turn: Turn) -> None:
    assert not is_so(turn, "parked")
    assert not is_so(turn, "can_be_let_go")
    task = await parked(host, turn)
    assert (turn.parked, turn.parked_at_us, turn._away, host.freed) == (True, 5, True, 1)
    assert is_so(turn, "can_be_let_go")
    appended: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
    changes: dict[str, Any] = {
        "accepted": asyncio.get_running_loop().create_future(),
        "_written": appended,
        "_deferred": [Ready("x", "c-1", HASH)],
        "stopped": DiskFullError("full"),
        "closed": True,
    }
    for name, value in changes.items():
        before = getattr(turn, name)
        setattr(turn, name, value)
        assert not is_so(turn, "can_be_let_go"), name
        setattr(turn, name, before)
    turn.closed = True
    assert not is_so(turn, "parked")
    turn.closed = False
    appended.set_result(host.receipt())
    turn._written = appended
    assert is_so(turn, "can_be_let_go")
    host.lock.claim(turn)
    assert not is_so(turn, "can_be_let_go")
    host.lock.release(turn)
    answer = cast("Any", ("granted", None, None))
    turn.parking.end("approval-1", answer)
    assert not is_so(turn, "can_be_let_go"), "its wait has ended"
    assert await asyncio.wait_for(task, 1) == answer


async def test_a_turn_that_parks_again_is_still_away_and_one_without_the_lock_was_not(host: Host, turn: Turn) -> None:
    turn._park()
    assert is_so(turn, "_away")
    turn._park()
    assert is_so(turn, "_away")
    other = turn_of(host, command_id="c-2")
    other._park()
    assert not other._away
    assert other.parked_at_us == 5
    ended = turn_of(host, command_id="c-3")
    host.lock.claim(ended)
    ended.closed = True
    ended._park()
    assert (host.lock.owner, ended.parked_at_us) == (ended, None)


# --- the end ------------------------------------------------------------------------------------


async def test_a_turn_that_was_stopped_raises_the_first_reason_again_whatever_its_code_does(turn: Turn) -> None:
    first, second = DiskFullError("first"), DiskFullError("second")
    assert turn.halt(first).error is first
    assert turn.halt(second).error is first
    with pytest.raises(TurnStopped, match="first"):
        turn.check_open()
    with pytest.raises(TurnStopped, match="first"):
        turn.step("v", "k")
    assert not issubclass(TurnStopped, Exception)


async def test_a_turn_that_is_stopped_from_outside_has_its_code_cancelled_and_from_inside_not(turn: Turn) -> None:
    turn.stop(DiskFullError("no task yet"))
    assert turn.stopped is not None
    turn.task = cast("Any", asyncio.current_task())
    turn.stop(DiskFullError("from its own task"))
    await asyncio.sleep(0)
    turn.task = cast("Any", asyncio.ensure_future(asyncio.sleep(100)))
    turn.stop(DiskFullError("from another"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert turn.task is not None
    assert turn.task.cancelled()
    assert str(turn.stopped) == "no task yet"


async def test_every_caller_gets_the_first_outcome_whenever_it_asks(host: Host) -> None:
    turn = turn_of(host)
    first, gave_up = turn.reply(), turn.reply()
    gave_up.cancel()
    turn.release({"granted": True})
    turn.refuse(DiskFullError("too late"))
    turn.release("too late")
    assert await first == await turn.reply() == {"granted": True}
    assert gave_up.cancelled()

    refused = turn_of(host)
    before = refused.reply()
    refused.refuse(DiskFullError("full"))
    refused.refuse(DiskFullError("again"))
    refused.release(1)
    for caller in (before, refused.reply()):
        with pytest.raises(DiskFullError, match="full"):
            await caller
    assert len(turn.callers) == 3


async def test_a_turn_that_closes_gives_back_its_actor_and_its_recorded_steps(host: Host, turn: Turn) -> None:
    steps = Recorded()
    turn.recorded_steps = cast("Any", steps)
    turn.close()
    assert (turn.closed, steps.did, host.lock.owner, host.freed) == (True, ["cancelled"], None, 1)
    turn_of(host).close()


async def test_the_errors_of_a_turn_say_which_one_it_is_and_what_is_gone(turn: Turn) -> None:
    assert str(turn) == "a/1#c-1"
    for error in (turn.shut_down(), turn.erased("s" * 100), turn.not_resumable("pruned"), turn.gone("sealed")):
        assert "[a/1#c-1]" in str(error)
    assert isinstance(turn.shut_down(), TurnInterruptedError)
    assert isinstance(turn.erased("s"), ErasedError)
    assert turn.not_resumable("pruned").reason == f"{NOT_RESUMABLE}: pruned" == "not_resumable: pruned"
    assert turn.gone("sealed").reason == "not_resumable: sealed"
    assert turn.gone("sealed", replayed=True).reason == "sealed"
    turn.compare = lambda recorded, entry: None
    assert turn.gone("sealed").reason == "sealed"


async def test_words_are_withheld_where_they_may_repeat_protected_values(host: Host, turn: Turn) -> None:
    assert not is_so(turn, "withholds_words")
    host.holds_subjects = True
    assert is_so(turn, "withholds_words")
    host.holds_subjects = False
    assert turn.protected is turn.protected
    turn.protected.add(["s"], ["a secret"])
    assert is_so(turn, "withholds_words")


async def test_a_new_turn_has_done_nothing_yet(turn: Turn) -> None:
    """What the code around a turn asks of one that just began: none of it is unset."""
    no = ("reply_held", "counterfactual", "is_open", "saw_erased", "taken_over", "may_repeat", "let_go", "closed")
    assert [getattr(turn, name) for name in no] == [False] * len(no)
    assert (turn.attempt, turn.versions, turn.keys, turn.asking, turn.callers) == (0, {}, {}, {}, [])
    assert (turn.sequence, turn.entries, turn.accepted.done()) == (1, [1], True)
    assert turn.gathered.decisions == []
