"""`Scenario`: given what was, when a command comes, then this is what the actor does.

Runs the real thing in a temporary workspace: journal, turn, projections. With `always_resume=True` the turn is cut
short after every entry that it wrote and resumed from there, each time in a workspace of its own: whatever agent code
does that cannot be resumed shows up as a difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from pydantic import JsonValue

from loom.actors import Actor, Approver, Command, Message, Sources
from loom.actors.entries import ValueDrawnEntry
from loom.decisions import Decision, DecisionJournalEntry
from loom.decisions.entries import ApprovalRequestedEntry
from loom.errors import ActorFailedError, ApprovalAnsweredError, LoomError
from loom.extension import ActorFactory, Extension
from loom.identity import journal_name
from loom.journal import Append, Draft, Entry, Recorded, draft
from loom.journal.kinds import TurnResumedEntry
from loom.projections.joining import join
from loom.runtime import Loom
from loom.testing.sources import FixedClock, fixed_sources

__all__ = ["Scenario", "ScenarioResult"]

A = TypeVar("A", bound=Actor[Any])
T = TypeVar("T")

_LOOK_EVERY_S = 0.005
_ANSWERER = "the answerer of the scenario"
_REQUESTER = "the requester of the scenario"
_ANYTHING = object()
_MARKERS = frozenset({TurnResumedEntry.kind})


class ScenarioResult:
    """The result of a scenario: the reply or the error, what the turn wrote, the state after it."""

    def __init__(self, *, reply: Any, error: LoomError | None, recorded: Sequence[Recorded], state: Any) -> None:
        self.reply = reply
        self.error = error
        self.recorded = tuple(recorded)
        self.state = state

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries of the turn, in order."""
        return tuple(recorded.entry for recorded in self.recorded)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the entries of the turn, in order."""
        return tuple(recorded.kind for recorded in self.recorded)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What was decided, in order."""
        return tuple(entry.decision for entry in self.entries if isinstance(entry, DecisionJournalEntry))

    def then(
        self,
        *,
        reply: Any = _ANYTHING,
        state: Any = _ANYTHING,
        kinds: Sequence[str] | None = None,
        decisions: int | None = None,
        raises: str | None = None,
    ) -> ScenarioResult:
        """Assert what is given, and return itself for whatever else there is to look at.

        `raises` is the name of the exception's type that failed the turn.
        """
        failed = self.error.type_name if isinstance(self.error, ActorFailedError) else None
        if self.error is not None and (raises is None or failed != raises):
            raise AssertionError(f"the turn ended with {self.error!r}; expected {raises or 'a reply'}") from self.error
        _same("the error", failed, raises)
        if reply is not _ANYTHING:
            _same("the reply", self.reply, reply)
        if state is not _ANYTHING:
            _same("the state", self.state, state)
        if kinds is not None:
            _same("the kinds of entries", self.kinds, tuple(kinds))
        if decisions is not None:
            _same("the number of decisions", len(self.decisions), decisions)
        return self


class Scenario(Generic[A]):
    """A story about one actor: `await Scenario(Agent).given(…).when(command)`, then `.then(…)` of what happened.

    `answers` says who grants (True), grants with changes (their values) or denies (False) what they are asked; a name
    that is not in it grants. `make` makes the actor where its class takes something, and `extensions` are those that it
    needs.
    """

    def __init__(
        self,
        actor: type[A],
        *,
        key: str = "one",
        answers: Mapping[str, bool | Mapping[str, JsonValue]] | None = None,
        always_resume: bool = False,
        sources: Sources | None = None,
        make: Callable[[], A] | None = None,
        extensions: Sequence[Extension] = (),
    ) -> None:
        self._actor = actor
        self._made = actor if make is None else ActorFactory(actor, make)
        self._extensions = tuple(extensions)
        self._key = key
        self._answers = dict(answers or {})
        self._always_resume = always_resume
        self._sources = sources
        self._given: list[Command[Any] | Entry] = []

    def given(self, *before: Command[Any] | Entry) -> Scenario[A]:
        """Add what happened before: commands are carried out, messages are sent, entries are in the journal."""
        self._given += before
        return self

    async def when(self, command: Command[Any], *, by: str = _REQUESTER) -> ScenarioResult:
        """Send the command in a temporary workspace and return what happened."""
        async with self._open() as loom:
            for before in self._given:
                await self._prepare(loom, before)
            happened = await self._send(loom, command, by=by)
            history = [recorded async for recorded in loom.store.read_all()]
        if self._always_resume:
            for cut in range(len(happened.recorded)):
                await self._resume(command, happened, history, happened.recorded[cut].position)
        return happened

    def _open(self, sources: Sources | None = None) -> Loom:
        answerer = _Answerer(self._answers)
        loom = Loom.open(
            "sqlite://",
            actors=[self._made],
            extensions=self._extensions,
            by=_REQUESTER,
            sources=sources or self._sources or fixed_sources(),
            approver=answerer,
        )
        answerer.loom = loom
        return loom

    async def _prepare(self, loom: Loom, before: Command[Any] | Entry) -> None:
        if isinstance(before, Command):
            with suppress(ActorFailedError):
                actor = loom.actor(self._actor, self._key)
                if isinstance(before, Message):
                    await actor.send(before, by=_REQUESTER)
                else:
                    await _while_time_passes(loom, actor.ask(before, by=_REQUESTER))
        else:
            journal = journal_name(self._actor.actor_type, self._key)
            head = await loom.store.head(journal)
            await loom.store.append(Append(journal, head.sequence, (draft(before),)))

    async def _send(self, loom: Loom, command: Command[Any], *, by: str) -> ScenarioResult:
        reply, error = None, None
        try:
            reply = await _while_time_passes(
                loom, loom.actor(self._actor, self._key).ask(command, id="the-command", by=by)
            )
        except LoomError as raised:
            error = raised
        return await self._happened(loom, reply, error)

    async def _happened(self, loom: Loom, reply: Any, error: LoomError | None) -> ScenarioResult:
        journal = journal_name(self._actor.actor_type, self._key)
        recorded = [entry async for entry in loom.store.read(journal) if entry.command_id == "the-command"]
        await join(loom.store, recorded)
        state = await loom.replay.state(journal)
        return ScenarioResult(reply=reply, error=error, recorded=recorded, state=state)

    async def _resume(
        self, command: Command[Any], whole: ScenarioResult, history: Sequence[Recorded], position: int
    ) -> None:
        """Cut the history after one entry, open it elsewhere, and check that the turn ends in the same way."""
        sources = self._sources or fixed_sources()
        before = [recorded for recorded in history if recorded.position <= position]
        if isinstance(sources.clock, FixedClock):  # it is as late as it was then
            sources.clock.advance(max(0.0, (before[-1].recorded_at_us - sources.clock.now_us()) / 1e6))
        loom = self._open(_drawing_again(sources, whole.recorded, after=position))
        await _lay_down(loom, before)
        async with loom:
            again = await self._send(loom, command, by=_REQUESTER)
        cut = next(recorded for recorded in history if recorded.position == position)
        where = f"resumed after [{cut.kind}] (sequence {cut.sequence})"
        _same(f"the error, {where},", repr(again.error), repr(whole.error))
        _same(f"the reply, {where},", again.reply, whole.reply)
        _same(f"the state, {where},", again.state, whole.state)
        _same(f"the entries, {where},", _steps(again), _steps(whole))


async def _while_time_passes(loom: Loom, asking: Awaitable[T]) -> T:
    """Wait for a reply; where turns do nothing but wait for a time, it passes at once on a clock that a test moves."""
    clock = loom.actors.services.sources.clock
    if not isinstance(clock, FixedClock):
        return await asking
    passing = loom.background.start(_pass_time(loom, clock), name="scenario-time")
    try:
        return await asking
    finally:
        passing.cancel()


async def _pass_time(loom: Loom, clock: FixedClock) -> None:
    timer = loom.actors.services.timer
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        if not timer.times or not _only_waits(loom) or await loom.approvals.pending():  # the answerer answers those
            continue
        left_s = timer.next_s()
        if left_s is not None:
            clock.advance(max(left_s, 0.0))
            timer.fire()


def _only_waits(loom: Loom) -> bool:
    turns = [turn for cell in loom.actors.cells() for turn in cell.turns.values()]
    return all(turn.parked for turn in turns)


class _Answerer(Approver):
    """Answers every request for approval as soon as it is durable."""

    def __init__(self, answers: Mapping[str, bool | Mapping[str, JsonValue]]) -> None:
        self._answers = answers
        self.loom: Loom | None = None

    async def deliver(self, request: ApprovalRequestedEntry, *, journal: str) -> None:
        """Answer in a task of its own: the turn that asks waits until this returns."""
        assert self.loom is not None  # noqa: S101 - set before the loom is entered
        self.loom.background.start(self._answer(request.approval_id, request.approver), name="scenario-answer")

    async def _answer(self, approval_id: str, approver: str) -> None:
        assert self.loom is not None  # noqa: S101 - set before the loom is entered
        with suppress(ApprovalAnsweredError):
            said = self._answers.get(approver, True)
            if said is not False:
                changes = None if said is True else said
                await self.loom.approvals.grant(approval_id, by=_ANSWERER, changes=changes)
            else:
                await self.loom.approvals.deny(approval_id, by=_ANSWERER, comment="the scenario says so")


async def _lay_down(loom: Loom, history: Sequence[Recorded]) -> None:
    """Write a history, as it was, into the workspace of a loom that is not entered yet."""
    store = await loom.open_store()
    try:
        for recorded in history:
            if recorded.body is None or recorded.salt is None:
                continue
            entry = Draft(
                recorded.kind,
                recorded.schema_version,
                recorded.command_id,
                recorded.policy_hash,
                recorded.salt,
                recorded.body,
                recorded.body_digest,
            )
            await store.append(Append(recorded.journal, recorded.sequence - 1, (entry,)))
    finally:
        await store.close()


def _drawing_again(sources: Sources, recorded: Sequence[Recorded], *, after: int) -> Sources:
    """Return sources that draw what the turn drew after a position: chance would be no difference in the code."""
    drawn: dict[str, list[Any]] = {"new_id": [], "random": []}
    for entry in recorded:
        if entry.position > after and isinstance(entry.entry, ValueDrawnEntry) and entry.entry.source in drawn:
            drawn[entry.entry.source].append(entry.entry.value)
    return Sources(
        clock=sources.clock,
        new_id=lambda: str(drawn["new_id"].pop(0)) if drawn["new_id"] else sources.new_id(),
        new_salt=sources.new_salt,
        random=lambda: float(drawn["random"].pop(0)) if drawn["random"] else sources.random(),
    )


def _steps(happened: ScenarioResult) -> list[str]:
    """Return what the turn wrote, without what only says that it was resumed, in an order that resuming keeps."""
    steps = [f"{entry.kind}: {entry.step}" for entry in happened.entries if entry.kind not in _MARKERS]
    return sorted(steps)


def _same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise AssertionError(f"{what} is {found!r}; expected {expected!r}")
