"""How a turn is run to its end: what is journaled, what its caller gets, and what its actor hears, for every end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loom.actors import Command, turn_runner
from loom.actors.turn import Turn, TurnStopped
from loom.actors.turn_context import turn_of_caller
from loom.actors.turn_runner import drive, turn_failed_error
from loom.errors import (
    ActorFailedError,
    ActorStoppedError,
    AppendUnknownError,
    DiskFullError,
    DivergenceError,
    ErasedError,
    LoomError,
    NotReplayableError,
    PolicyCodeChangedError,
    TurnAbandonedError,
    TurnInterruptedError,
)
from loom.journal import Step
from loom.journal.kinds import (
    TurnContinuedEntry,
    TurnDivergedEntry,
    TurnFailedEntry,
    TurnResumedEntry,
    TurnStartedEntry,
)
from loom.journal.serialisation import EntryText
from loom.sealing.wording import NOT_KEPT
from loom.telemetry import bind_turn
from tests.actors.alone import Do, Host, Recorded, turn_of

Code = Callable[[Any], Awaitable[Any]]


@pytest.fixture
async def host() -> Host:
    return Host()


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was watched for a stall, and for how long; nothing is stopped for one here."""
    seen: list[tuple[Any, ...]] = []

    class Watch:
        def __init__(self, turn: Turn, steps: Any, patience_s: float) -> None:
            seen.append((turn, steps, patience_s))

        def stop(self) -> None:
            seen.append(("stopped",))

    monkeypatch.setattr(turn_runner, "StallWatch", Watch)
    return seen


def ready(host: Host, code: Code, *steps: Step, resumed: bool = False, command: Command[Any] | None = None) -> Turn:
    turn = turn_of(host)
    if command is not None:
        turn.command = command
    turn.policy = cast("Any", SimpleNamespace(hash_bytes=b"p" * 32, version="policy_v1"))
    turn.actor = cast("Any", SimpleNamespace(execute=code, _state_ref=None))
    if resumed:
        recorded = Recorded(*steps)
        recorded.finished = not steps
        turn.recorded_steps = cast("Any", recorded)
        turn.attempt = 1
    host.lock.claim(turn)
    return turn


async def driven(turn: Turn) -> Any:
    """Drive a turn; return its reply, or the error in its place."""
    caller = turn.reply()
    await drive(turn)
    await asyncio.wait([caller], timeout=1)
    assert caller.done(), "its caller waits for ever"
    return caller.exception() or caller.result()


def replying(reply: Any) -> Code:
    async def code(command: Any) -> Any:
        return reply

    return code


def raising(error: BaseException) -> Code:
    async def code(command: Any) -> Any:
        raise error

    return code


def texts(written: Any) -> tuple[str, dict[str, bytes]]:
    assert isinstance(written, EntryText)
    return written.cls.kind, dict(written.texts)


# --- a reply ------------------------------------------------------------------------------------


async def test_a_reply_is_journaled_and_released_when_it_is_durable(host: Host) -> None:
    host.at_once = False
    seen: list[Any] = []

    async def code(command: Any) -> int:
        seen.extend([command, turn_of_caller()])
        return 7

    turn = ready(host, code)
    caller = turn.reply()
    driving = asyncio.ensure_future(drive(turn))
    await asyncio.sleep(0.01)
    assert seen == [turn.command, turn]
    assert [texts(each) for each in host.written] == [("turn_completed", {"reply": b"7"})]
    assert (caller.done(), host.ends, host.left) == (False, [], [])
    host.appends[0].set_result(host.receipt())
    await asyncio.wait_for(driving, 1)
    assert await caller == 7
    assert host.ends == [("c-1", host.receipt())]
    assert host.left == [turn]
    assert host.folded == [1], "the state at its first line, and nothing after its end"
    assert (host.stuck, host.failures, turn.stopped) == ({}, [], None)


async def test_a_turn_that_waited_in_the_mailbox_says_when_it_began(host: Host) -> None:
    host.sequence = 4
    assert await driven(ready(host, replying(1))) == 1
    assert host.written[0] == TurnStartedEntry()
    assert host.folded == [5, 5]


async def test_a_turn_that_is_driven_again_without_steps_says_that_it_is_resumed(host: Host) -> None:
    host.sequence = 4

    async def code(command: Any) -> int:
        assert host.written == [TurnResumedEntry(attempt=2)], "before its code does anything"
        return 1

    turn = ready(host, code)
    turn.attempt = 2
    assert await driven(turn) == 1
    assert len(host.written) == 2


async def test_a_reply_of_a_later_shape_says_so(host: Host) -> None:
    class Later(Command[int]):
        reply_version = 3

    assert await driven(ready(host, replying(1), command=Later())) == 1
    assert texts(host.written[0])[1] == {"reply": b"1", "reply_version": b"3"}


async def test_a_turn_that_was_away_takes_its_actor_again_before_it_ends(host: Host) -> None:
    async def code(command: Any) -> int:
        turn._park()
        return 1

    turn = ready(host, code)
    assert await driven(turn) == 1
    assert host.written[0] == TurnContinuedEntry(step=None)


async def test_a_failed_turn_that_was_away_takes_its_actor_again_before_it_ends(host: Host) -> None:
    async def code(command: Any) -> int:
        turn._park()
        raise LookupError

    turn = ready(host, code)
    await driven(turn)
    assert [type(each) for each in host.written] == [TurnContinuedEntry, TurnFailedEntry]


async def test_a_reply_with_declared_fields_is_journaled_sealed_and_released_plain(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = ready(host, replying(7))

    async def protected(services: Any, command: Any, plain: Any, **given: Any) -> str:
        assert (services, command, plain) == (host.services, turn.command, 7)
        assert given == {"journal": "a/1", "command_id": "c-1", "subject": None}
        return "sealed"

    monkeypatch.setattr(turn_runner, "declared_reply", lambda cls: cls is Do)
    monkeypatch.setattr(turn_runner, "protected_reply", protected)
    assert await driven(turn) == 7
    assert texts(host.written[0]) == ("turn_completed", {"reply": b'"sealed"'})


async def test_a_new_attempt_lifts_the_marks_of_the_turns_that_it_takes_up_in_one_append(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = ready(host, replying(7))
    monkeypatch.setattr(turn_runner, "lifting", lambda each: ("lifted",) if each is turn else ())
    turn.taken_up = cast("Any", object())
    assert await driven(turn) == 7
    ((end, lifted),) = host.written
    assert (texts(end)[0], lifted) == ("turn_completed", "lifted")


async def test_a_reply_that_cannot_be_journaled_fails_the_turn(host: Host) -> None:
    failed = await driven(ready(host, replying(object())))
    assert isinstance(failed, ActorFailedError)
    assert failed.type_name == "AdmissionError"
    assert isinstance(host.written[0], TurnFailedEntry)


# --- what a reply waits for ---------------------------------------------------------------------


async def test_a_reply_with_decisions_is_held_until_the_hook_is_done_and_the_turn_has_left(host: Host) -> None:
    long_id = "c-1" + "0" * 20
    going, held = asyncio.Event(), list[Sequence[str]]()

    async def hold(decisions: Sequence[str]) -> None:
        held.append(decisions)
        await going.wait()

    host.services.hold_reply = hold
    turn = ready(host, replying(7))
    turn.command_id = long_id
    turn.gathered.decisions.append("d-1")
    caller = turn.reply()
    await drive(turn)
    await asyncio.sleep(0)
    assert (held, caller.done(), host.left, host.names) == ([("d-1",)], False, [turn], ["loom-hold c-1000000000"])
    assert host.ends == [(long_id, host.receipt())]
    going.set()
    assert await asyncio.wait_for(caller, 1) == 7


async def test_a_hook_that_fails_holds_no_reply_back(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async def hold(decisions: Sequence[str]) -> None:
        raise DiskFullError("no room for it")

    host.services.hold_reply = hold
    turn = ready(host, replying(7))
    turn.gathered.decisions.append("d-1")
    assert await driven(turn) == 7
    assert re.search(r"\breply_not_held\b", caplog.text)
    assert "no room for it" in caplog.text


@pytest.mark.parametrize("why", ["no decisions", "a replay", "counterfactual"])
async def test_only_live_turns_with_decisions_wait_for_the_hook(host: Host, why: str) -> None:
    async def hold(decisions: Sequence[str]) -> None:
        raise AssertionError("it is not asked")

    host.services.hold_reply = hold
    turn = ready(host, replying(7))
    if why != "no decisions":
        turn.gathered.decisions.append("d-1")
    if why == "a replay":
        turn.compare = lambda recorded, entry: None
    turn.counterfactual = why == "counterfactual"
    assert await driven(turn) == 7
    assert not turn.reply_held
    assert host.names == []


# --- what fails ---------------------------------------------------------------------------------


async def test_code_that_raises_fails_its_turn_and_its_caller_gets_the_cause(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    cause = LookupError("no such customer")
    turn = ready(host, raising(cause))
    failed = await driven(turn)
    assert isinstance(failed, ActorFailedError)
    assert re.search(r"\[a/1\] failed on \[Do\] with \[LookupError: no such customer\]", str(failed))
    assert failed.type_name == "LookupError"
    assert failed.__cause__ is cause
    assert host.written == [TurnFailedEntry(type_name="LookupError", message="no such customer", reason="raised")]
    assert (host.ends, host.failures, host.left) == ([("c-1", host.receipt())], [True], [turn])
    assert (host.stuck, turn.stopped) == ({}, None)
    assert re.search(r"\bturn_failed\b", caplog.text)
    assert "no such customer" in caplog.text


async def test_a_cause_that_is_no_exception_is_not_chained(host: Host) -> None:
    class Odd(BaseException):
        pass

    failed = await driven(ready(host, raising(Odd("odd"))))
    assert isinstance(failed, ActorFailedError)
    assert failed.__cause__ is None


async def test_words_that_may_repeat_protected_values_are_not_kept(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.holds_subjects = True
    failed = await driven(ready(host, raising(LookupError("ana is ill"))))
    assert host.written == [TurnFailedEntry(type_name="LookupError", message=NOT_KEPT, reason="raised")]
    assert "ana is ill" not in f"{failed}{failed.__cause__}{caplog.text}"
    assert str(failed.__cause__) == f"LookupError: {NOT_KEPT}"


async def test_a_turn_of_erased_values_ends_as_erased_and_is_no_fault_of_its_actor(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied: list[Turn] = []

    async def deny(turn: Turn) -> None:
        assert host.written == [], "before its end"
        denied.append(turn)

    monkeypatch.setattr(turn_runner, "deny_unanswerable", deny)
    turn = ready(host, raising(ErasedError("subject s was erased")))
    await driven(turn)
    assert host.written == [TurnFailedEntry(type_name="ErasedError", message="subject s was erased", reason="erased")]
    assert (denied, host.failures) == ([turn], [False])


@pytest.mark.parametrize(
    ("error", "reason", "counts"),
    [
        (PolicyCodeChangedError("another code"), "policy_code_changed", True),
        (NotReplayableError("gone", reason="not_resumable: pruned"), "not_resumable", True),
        (NotReplayableError("gone", reason="not_resumable: erased"), "not_resumable", False),
        (ErasedError("erased"), "erased", False),
    ],
)
async def test_a_turn_that_can_never_go_on_fails_with_the_reason(
    host: Host, monkeypatch: pytest.MonkeyPatch, error: LoomError, reason: str, *, counts: bool
) -> None:
    denied: list[Turn] = []

    async def deny(turn: Turn) -> None:
        denied.append(turn)

    monkeypatch.setattr(turn_runner, "deny_unanswerable", deny)

    async def code(command: Any) -> Any:
        raise turn.halt(error)

    turn = ready(host, code)
    failed = await driven(turn)
    assert isinstance(failed, ActorFailedError)
    assert failed.type_name == type(error).__name__
    assert host.written == [TurnFailedEntry(type_name=type(error).__name__, message=str(error), reason=reason)]  # type: ignore[arg-type]
    assert (host.failures, len(denied), host.stuck) == ([counts], int(not counts), {})


async def test_a_failure_that_cannot_be_journaled_interrupts_the_turn(host: Host) -> None:
    async def code(command: Any) -> Any:
        host.refuses = DiskFullError("full")
        raise LookupError

    turn = ready(host, code)
    interrupted = await driven(turn)
    assert isinstance(interrupted, TurnInterruptedError)
    assert (host.ends, host.failures, host.left) == ([], [], [turn])
    assert host.invalidated_by is host.refuses


async def test_a_turn_that_is_cancelled_while_it_fails_is_resumed_later(host: Host) -> None:
    host.at_once = False
    turn = ready(host, raising(LookupError()))
    caller = turn.reply()
    driving = asyncio.ensure_future(drive(turn))
    await asyncio.sleep(0.01)
    driving.cancel()
    await asyncio.wait([driving], timeout=1)
    with pytest.raises(TurnInterruptedError):
        await caller
    assert host.failures == []


def test_the_error_of_a_failed_turn_is_the_same_for_a_repeated_command() -> None:
    error = turn_failed_error("a/1", "Do", type_name="LookupError", message="why")
    assert str(error).startswith("actor [a/1] failed on [Do] with [LookupError: why]; expected a reply")
    assert error.type_name == "LookupError"


# --- what is stopped ----------------------------------------------------------------------------


async def test_a_turn_whose_task_is_cancelled_is_interrupted_and_resumed_later(host: Host) -> None:
    async def code(command: Any) -> None:
        await asyncio.sleep(100)

    turn = ready(host, code)
    caller = turn.reply()
    driving = asyncio.ensure_future(drive(turn))
    await asyncio.sleep(0.01)
    host.closing = True
    driving.cancel()
    await asyncio.wait([driving], timeout=1)
    with pytest.raises(TurnInterruptedError, match="cut short"):
        await caller
    assert (host.written, host.stuck, host.left) == ([], {}, [turn])


async def test_code_that_raises_a_cancellation_of_its_own_has_failed(host: Host) -> None:
    failed = await driven(ready(host, raising(asyncio.CancelledError())))
    assert isinstance(failed, ActorFailedError)
    assert failed.type_name == "CancelledError"
    assert isinstance(host.written[0], TurnFailedEntry)


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
async def test_the_end_of_the_process_interrupts_the_turn_and_goes_on(host: Host, end: type[BaseException]) -> None:
    host.closing = True
    turn = ready(host, replying(1))
    caller = turn.reply()

    def leave(code: Any) -> Any:
        raise end

    turn.actor = cast("Any", SimpleNamespace(execute=leave, _state_ref=None))
    driving = drive(turn)
    with pytest.raises(end):
        driving.send(None)
    assert isinstance(caller.exception(), TurnInterruptedError)
    assert (host.written, host.left) == ([], [turn])


async def test_a_turn_that_was_stopped_waits_for_a_person_and_says_why(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    why = NotReplayableError("needs a decision", reason="effect_in_doubt")

    async def code(command: Any) -> Any:
        raise turn.halt(why)

    turn = ready(host, code)
    assert await driven(turn) is why
    assert host.stuck == {"c-1": why}
    assert (host.written, host.failures, host.left) == ([], [], [turn])
    assert re.search(r"\bturn_stuck\b", caplog.text)
    assert "NotReplayableError" in caplog.text


@pytest.mark.parametrize("why", ["closing", "invalidated", "stopped actor", "abandoned"])
async def test_a_turn_that_is_over_for_another_reason_is_not_stuck(host: Host, why: str) -> None:
    error: LoomError = TurnInterruptedError("cut short")
    if why == "closing":
        host.closing = True
    elif why == "invalidated":
        host.invalidated_by = DiskFullError("full")
    elif why == "stopped actor":
        error = ActorStoppedError("too many failures")
    else:
        error = TurnAbandonedError("a person gave it up")

    async def code(command: Any) -> Any:
        raise turn.halt(error)

    turn = ready(host, code)
    caller = turn.reply()
    await drive(turn)
    assert host.stuck == {}
    if why == "abandoned":
        assert not caller.done(), "who journals the abandonment raises it"
    else:
        assert caller.exception() is error


async def test_a_turn_that_swallows_its_stop_ends_all_the_same(host: Host) -> None:
    why = NotReplayableError("stop", reason="x")

    async def code(command: Any) -> int:
        try:
            raise turn.halt(why)
        except TurnStopped:
            return 7

    turn = ready(host, code)
    assert await driven(turn) is why
    assert host.written == []


async def test_a_turn_that_was_stopped_before_it_began_runs_nothing(host: Host) -> None:
    ran: list[Any] = []

    async def code(command: Any) -> None:
        ran.append(command)

    turn = ready(host, code)
    turn.halt(NotReplayableError("stop", reason="x"))
    assert isinstance(await driven(turn), NotReplayableError)
    assert (ran, host.written, host.folded) == ([], [], [])


async def test_a_turn_that_was_let_go_is_not_stuck_and_journals_nothing(host: Host) -> None:
    async def code(command: Any) -> Any:
        turn.let_go = True
        raise LookupError

    turn = ready(host, code)
    assert isinstance(await driven(turn), TurnInterruptedError)
    assert (host.written, host.stuck, host.left) == ([], {}, [turn])


async def test_an_end_without_an_answer_interrupts_the_turn(host: Host) -> None:
    host.at_once = False
    turn = ready(host, replying(7))
    caller = turn.reply()
    driving = asyncio.ensure_future(drive(turn))
    await asyncio.sleep(0.01)
    host.appends[0].set_exception(AppendUnknownError("no answer", journal="a/1", sequence=2, entry_hash=b"h" * 32))
    await asyncio.wait_for(driving, 1)
    assert isinstance(caller.exception(), TurnInterruptedError)
    assert host.ends == []


# --- what is resumed ----------------------------------------------------------------------------


async def test_a_resumed_turn_is_watched_for_a_stall_while_its_code_runs(
    host: Host, watched: list[tuple[Any, ...]]
) -> None:
    turn = ready(host, replying(7), resumed=True)
    assert await driven(turn) == 7
    assert watched == [(turn, turn.recorded_steps, 30.0), ("stopped",)]
    assert host.written[0] == TurnResumedEntry(attempt=1)
    assert host.folded == [], "its state is folded step by step, as it was"
    watched.clear()
    other = ready(host, raising(LookupError()), resumed=True)
    host.lock.release(turn)
    await driven(other)
    assert watched[1:] == [("stopped",)], "also where its code raises"


async def test_a_live_turn_is_not_watched(host: Host, watched: list[tuple[Any, ...]]) -> None:
    assert await driven(ready(host, replying(7))) == 7
    assert watched == []


async def test_a_resumed_turn_waits_for_its_actor_unless_it_was_parked(host: Host) -> None:
    running = turn_of(host, command_id="c-0")
    host.lock.claim(running)
    began: list[str] = []

    async def code(command: Any) -> int:
        began.append("code")
        return 7

    for is_parked in (False, True):
        began.clear()
        turn = ready(host, code, resumed=True)
        cast("Any", turn.recorded_steps).parked = is_parked
        driving = asyncio.ensure_future(drive(turn))
        await asyncio.sleep(0.01)
        assert began == (["code"] if is_parked else [])
        driving.cancel()
        await asyncio.wait([driving], timeout=1)
        host.lock.release(turn)


@pytest.mark.parametrize(
    ("code", "withheld", "what"),
    [
        (replying(7), False, "its code replied [7]"),
        (replying(7), True, f"its code replied [{NOT_KEPT}]"),
        (raising(LookupError("ana is ill")), False, "its code raised [LookupError: ana is ill]"),
        (raising(LookupError("ana is ill")), True, f"its code raised [LookupError: {NOT_KEPT}]"),
    ],
)
async def test_a_turn_that_ends_before_its_recorded_steps_diverges_and_does_nothing(
    host: Host, caplog: pytest.LogCaptureFixture, code: Code, what: str, *, withheld: bool
) -> None:
    host.holds_subjects = withheld
    turn = ready(host, code, Step("look_up", "crm"), resumed=True)
    error = await driven(turn)
    assert isinstance(error, DivergenceError)
    assert (error.what, error.expected, error.found) == (what, ("look_up crm",), ("v other",))
    assert host.stuck == {"c-1": error}
    assert host.written == [TurnDivergedEntry(what=what, expected=("look_up crm",), found=("v other",))]
    assert turn.diverged == host.written[0]
    assert ("ana is ill" in caplog.text) is (not withheld and "ana" in what)


async def test_a_divergence_is_journaled_once_and_shortened_to_what_can_be_kept(host: Host) -> None:
    steps = [Step("look_up", f"{number} {'x' * 400}") for number in range(25)]
    turn = ready(host, replying("y" * 600), *steps, resumed=True, command=Said())
    await driven(turn)
    (entry,) = host.written
    assert isinstance(entry, TurnDivergedEntry)
    assert entry.what == f"its code replied [{'y' * 200}]"
    assert (len(entry.expected), len(entry.expected[0])) == (20, 300)
    turn.stopped, turn._replied = None, None
    await drive(turn)
    assert host.written == [entry], "the same divergence is not journaled again"


async def test_what_shows_a_divergence_is_kept_up_to_five_hundred_characters(host: Host) -> None:
    async def code(command: Any) -> Any:
        raise turn.halt(DivergenceError("it diverges", what="w" * 600, expected=["e"], found=["f"]))

    turn = ready(host, code, Step("v", "k"), resumed=True)
    await driven(turn)
    assert host.written == [TurnDivergedEntry(what="w" * 500, expected=("e",), found=("f",))]


async def test_a_divergence_that_cannot_be_journaled_is_logged_and_tried_again(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    turn = ready(host, replying(7), Step("look_up", "crm"), resumed=True)
    host.refuses = DiskFullError("full")
    assert isinstance(await driven(turn), DivergenceError)
    assert turn.diverged is None
    assert re.search(r"\bdivergence_not_journaled\b", caplog.text)


async def test_a_changed_policy_stops_a_turn_that_still_has_recorded_steps(host: Host) -> None:
    """Its code may come back: only a turn that has none left ends as failed."""
    why = PolicyCodeChangedError("another code")

    async def code(command: Any) -> Any:
        raise turn.halt(why)

    turn = ready(host, code, Step("v", "k"), resumed=True)
    assert await driven(turn) is why
    assert (host.stuck, host.written) == ({"c-1": why}, [])
    host.lock.release(turn)
    turn = ready(host, code, resumed=True)
    assert isinstance(await driven(turn), ActorFailedError)
    assert host.written[-1] == TurnFailedEntry(
        type_name="PolicyCodeChangedError", message="another code", reason="policy_code_changed"
    )


class Said(Command[str]):
    """Is answered with text."""


# --- what is seen of it -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (replying(7), {"loom.outcome": "replied"}),
        (raising(LookupError()), {"loom.outcome": "failed", "loom.error": "LookupError"}),
        (
            raising(TurnStopped(ActorStoppedError("stop"))),
            {"loom.outcome": "stopped", "loom.error": "ActorStoppedError"},
        ),
    ],
)
async def test_the_span_of_a_turn_says_which_it_is_and_how_it_ended(
    host: Host, monkeypatch: pytest.MonkeyPatch, code: Code, outcome: dict[str, str]
) -> None:
    spans: list[tuple[str, dict[str, Any]]] = []

    class Span:
        def __enter__(self) -> Span:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def set_attribute(self, name: str, value: Any) -> None:
            spans[0][1][name] = value

    def span(name: str, attributes: dict[str, Any]) -> Span:
        spans.append((name, dict(attributes)))
        return Span()

    monkeypatch.setattr(turn_runner, "span", span)
    turn = ready(host, code)
    if "stopped" in outcome.values():
        turn.halt(ActorStoppedError("stop"))
    await driven(turn)
    assert spans == [
        (
            "loom.turn",
            {
                "loom.journal": "a/1",
                "loom.turn": "c-1",
                "loom.command": "Do",
                "loom.correlation": "c-1",
                "loom.policy": "policy_v1",
                "loom.resumed": False,
                **outcome,
            },
        )
    ]


async def test_what_is_logged_in_a_turn_names_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[dict[str, str]] = []

    def noting(**given: str) -> Any:
        bound.append(given)
        return bind_turn(**given)

    monkeypatch.setattr(turn_runner, "bind_turn", noting)
    await driven(ready(host, replying(7)))
    assert bound == [{"journal": "a/1", "turn": "c-1", "correlation_id": "c-1"}]


async def test_the_keys_of_a_subject_are_held_before_the_code_runs(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Turn] = []

    async def hold(turn: Turn) -> None:
        held.append(turn)

    class Concerning(Do):
        subject_field = "who"

        who: str = "s"

    monkeypatch.setattr(turn_runner, "hold_keys_of_command", hold)
    turn = ready(host, replying(7), command=Concerning())
    assert await driven(turn) == 7
    assert held == [turn]
    host.lock.release(turn)
    await driven(ready(host, replying(7)))
    assert held == [turn], "a command that names none holds none"
