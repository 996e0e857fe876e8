"""Timelines: the turns of an actor as lanes, what they waited for, and what a person can do about a stuck one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import quote

from fastapi import Query
from pydantic import Field

from loom.actors.timeline import Lane, Mark, Stretch
from loom.actors.turns import TurnListing
from loom.errors import AdmissionError
from loom.explorer.cases import Shape
from loom.explorer.page import Done, Page, View
from loom.explorer.visits import FormFields, Visit, form
from loom.explorer.words import PersonInWords, named, since
from loom.identity import Identity, parse_journal_name

__all__ = ["one", "page"]

page = Page("timeline", "/timeline", title="Timeline", about="What agents do and did, turn by turn.", place=60)
one = Page("timeline-actor", "/timeline/{journal:path}", title="Timeline of an agent")

_AT_ONCE = 12
_RECENT = 40
_WIDTH = 1_000
_LEAST_WIDTH = 6

_WORDS = {
    "received": "waits for its turn",
    "running": "runs now",
    "parked": "waits",
    "stuck": "stuck",
    "completed": "completed",
    "failed": "failed",
    "abandoned": "abandoned",
    "interrupted": "cut short, and resumed at the next start",
    "waiting_for_code": "waits for its code",
}
_STEPS = {
    "gather_context": "look up",
    "evaluate": "apply the rules",
    "find_precedents": "look for earlier cases",
    "request_approval": "ask",
    "record_decision": "decide",
    "perform": "do",
    "call_model": "ask the model for",
    "sleep": "sleep",
    "wait_for": "wait for",
}
_KEYS_ARE_DIGESTS = frozenset({"evaluate", "find_precedents", "record_decision"})
_TONES = {"completed": "good", "failed": "bad", "stuck": "bad", "parked": "warn", "interrupted": "warn"}


class Bar(Shape):
    """A part of a lane: where it begins and how wide it is, in thousandths of the whole, and what it says."""

    kind: str
    x: int
    width: int
    text: str
    at: datetime
    lasted: str


class StepShown(Shape):
    """A recorded step at which a fork may begin."""

    sequence: int
    text: str


class TurnShown(Shape):
    """One turn as a lane."""

    command_id: str
    command: str
    by: PersonInWords | None
    status: str
    words: str
    tone: str
    why: str | None
    began: datetime
    ended: datetime | None
    lasted: str
    whole: Bar
    bars: tuple[Bar, ...]
    marks: tuple[Bar, ...]
    steps: tuple[StepShown, ...]
    can_retry: bool
    can_abandon: bool


class TimelineView(View):
    """The latest turns of one actor, newest first; the lanes have one scale of time."""

    journal: str
    path: str
    turns: tuple[TurnShown, ...]
    began: datetime | None
    until: datetime
    next_before: int | None


class AgentShown(Shape):
    """An actor with its latest turn."""

    journal: str
    path: str
    command: str
    words: str
    tone: str
    at: datetime
    ago_s: float


class AgentsView(View):
    """Actors: those whose turns do not go on by themselves, and those of the latest turns."""

    stuck: tuple[AgentShown, ...]
    recent: tuple[AgentShown, ...]


@page.shows
async def agents(visit: Visit) -> AgentsView:
    """Read the latest turns, and those that a person has to look at."""
    loom = visit.loom
    as_of, now = loom.store.acknowledged, loom.now()
    unfinished = await loom.turns.unfinished(limit=_RECENT * 5)
    needs = [each for each in unfinished if each.status in ("stuck", "waiting_for_code")]
    failed = await loom.turns.list(status="failed", limit=5)
    latest = await loom.turns.list(limit=_RECENT * 5)
    return AgentsView(
        as_of=as_of,
        stuck=_agents([*needs, *failed], now),
        recent=_agents(latest, now)[:_RECENT],
    )


@one.shows
async def timeline(
    visit: Visit, journal: str, before: Annotated[int | None, Query(ge=1, le=2**53)] = None
) -> TimelineView:
    """Read the latest turns of an actor."""
    parse_journal_name(journal)
    as_of, now = visit.loom.store.acknowledged, visit.loom.now()
    found = await visit.loom.turns.timeline(journal, limit=_AT_ONCE + 1, before=before)
    lanes = found[:_AT_ONCE]
    began = min((each.turn.summary.received_at for each in lanes), default=now)
    until = max((each.turn.summary.ended_at or now for each in lanes), default=now)
    scale = _Scale(began, max(until, began + timedelta(milliseconds=1)))
    return TimelineView(
        as_of=as_of,
        journal=journal,
        path=_path(journal),
        turns=tuple(_turn(each, scale, now) for each in lanes),
        began=began if lanes else None,
        until=until,
        next_before=lanes[-1].turn.summary.received_position if len(found) > _AT_ONCE else None,
    )


class OfTurn(FormFields):
    """Which turn of the agent a form is about."""

    turn: str = Field(max_length=512)


class Retry(OfTurn):
    """Why a turn tries again."""

    reason: str = Field(default="", max_length=10_000)
    perform: str = Field(default="", max_length=5)


class Abandon(OfTurn):
    """Why a turn is given up."""

    reason: str = Field(default="", max_length=10_000)


class Fork(OfTurn):
    """From which step on a copy of a turn is done again, and why."""

    at: int
    reason: str = Field(default="", max_length=10_000)
    perform: str = Field(default="", max_length=5)


@one.takes("/timeline/{journal:path}/retry", may="operate")
async def retry(visit: Visit, journal: str, given: Annotated[Retry, form(Retry)]) -> Done:
    """Let a turn try again, in the name of who is signed in."""
    known = await visit.loom.turns.get(given.turn, journal=journal)
    await visit.loom.turns.retry(
        known.summary.command_id, by=visit.by, reason=given.reason.strip() or None, perform=bool(given.perform)
    )
    return Done("It is tried again.", _path(known.summary.journal))


@one.takes("/timeline/{journal:path}/abandon", may="operate")
async def abandon(visit: Visit, journal: str, given: Annotated[Abandon, form(Abandon)]) -> Done:
    """Give a turn up, in the name of who is signed in."""
    if not given.reason.strip():
        raise AdmissionError("a turn is given up with a reason: write in a sentence why")
    known = await visit.loom.turns.get(given.turn, journal=journal)
    await visit.loom.turns.abandon(known.summary.command_id, by=visit.by, reason=given.reason)
    return Done("It was given up.", _path(known.summary.journal))


@one.takes("/timeline/{journal:path}/fork", may="operate")
async def fork(visit: Visit, journal: str, given: Annotated[Fork, form(Fork)]) -> Done:
    """Begin a copy of a turn at a step, in the name of who is signed in."""
    known = await visit.loom.turns.get(given.turn, journal=journal)
    await visit.loom.turns.fork(
        known.summary.command_id,
        at=given.at,
        by=visit.by,
        reason=given.reason.strip() or None,
        perform=bool(given.perform),
    )
    return Done("A copy of it runs from that step on.", _path(known.summary.journal))


class _Scale:
    """Times as thousandths of a width."""

    def __init__(self, began: datetime, until: datetime) -> None:
        self._began = began
        self._whole_s = (until - began).total_seconds()

    def x(self, at: datetime) -> int:
        return max(0, min(_WIDTH, round(_WIDTH * (at - self._began).total_seconds() / self._whole_s)))

    def bar(self, kind: str, text: str, began: datetime, until: datetime) -> Bar:
        x = min(self.x(began), _WIDTH - _LEAST_WIDTH)
        width = max(_LEAST_WIDTH, min(self.x(until), _WIDTH) - x)
        return Bar(kind=kind, x=x, width=width, text=text, at=began, lasted=_duration((until - began).total_seconds()))


def _turn(lane: Lane[TurnListing], scale: _Scale, now: datetime) -> TurnShown:
    listing, summary = lane.turn, lane.turn.summary
    until = summary.ended_at or now
    return TurnShown(
        command_id=summary.command_id,
        command=summary.command_type or "a command that was erased",
        by=None if summary.by is None else named(Identity(summary.by, summary.identity_source, summary.via)),
        status=listing.status,
        words=_WORDS[listing.status],
        tone=_TONES.get(listing.status, ""),
        why=listing.why,
        began=summary.received_at,
        ended=summary.ended_at,
        lasted=_duration((until - summary.received_at).total_seconds()),
        whole=scale.bar("whole", _WORDS[listing.status], summary.received_at, until),
        bars=tuple(_stretch(each, scale, until) for each in lane.stretches),
        marks=tuple(_mark(each, scale) for each in lane.marks),
        steps=tuple(StepShown(sequence=each.sequence, text=_step(each.text)) for each in lane.steps),
        can_retry=listing.status in ("stuck", "failed"),
        can_abandon=summary.unfinished,
    )


def _step(text: str) -> str:
    """Return a step in words; what has no words of its own is named as it is recorded."""
    verb, _, key = text.partition(" ")
    words = _STEPS.get(verb)
    if words is None:
        return f"{verb.replace('_', ' ')} {key}"
    return words if verb in _KEYS_ARE_DIGESTS else f"{words} {key}"


def _duration(seconds: float) -> str:
    if seconds >= 60:
        return since(seconds)
    whole = int(seconds)
    return "less than a second" if whole < 1 else f"{whole} second{'' if whole == 1 else 's'}"


def _stretch(stretch: Stretch, scale: _Scale, until: datetime) -> Bar:
    return scale.bar("cut" if stretch.kind == "cut" else "wait", stretch.text, stretch.began, stretch.ended or until)


def _mark(mark: Mark, scale: _Scale) -> Bar:
    return scale.bar(mark.kind, mark.text, mark.at, mark.at)


def _agents(listings: Sequence[TurnListing], now: datetime) -> tuple[AgentShown, ...]:
    """Return each actor once, with the first of its turns in this order."""
    first = {each.summary.journal: each for each in reversed(listings)}
    return tuple(_agent(first[journal], now) for journal in dict.fromkeys(each.summary.journal for each in listings))


def _agent(listing: TurnListing, now: datetime) -> AgentShown:
    at = listing.summary.ended_at or listing.summary.received_at
    return AgentShown(
        journal=listing.summary.journal,
        path=_path(listing.summary.journal),
        command=listing.summary.command_type or "a command that was erased",
        words=_WORDS[listing.status],
        tone=_TONES.get(listing.status, ""),
        at=at,
        ago_s=max(0.0, (now - at).total_seconds()),
    )


def _path(journal: str) -> str:
    return "/timeline/" + "/".join(quote(part, safe="") for part in journal.split("/", 1))
