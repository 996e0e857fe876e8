"""The state of the house: whether the journal is whole, what lags, what failed, and what is written right now."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import Query, Request, Response

from loom.actors.listing import list_actors
from loom.doctor.examinations import Examination
from loom.explorer.cases import Shape
from loom.explorer.page import Done, Page, View
from loom.explorer.proofs import say_checkpoints
from loom.explorer.visits import FormFields, House, Visit, Visitor, cookie_of, form
from loom.explorer.words import PersonInWords, named
from loom.journal.sqlite.heads import HeadsFile
from loom.notices.extension import NoticeSender
from loom.web.api import Api
from loom.web.events import entry_frames, latest_entries
from loom.web.keys import KEYS_JOURNAL
from loom.web.live import EventStream

__all__ = ["WORDS", "page"]

page = Page(
    "house",
    "/house",
    title="State of the house",
    about="Whether all is well, and what is written right now.",
    place=100,
)

_LAST = 20
_WORTH_SAYING = 1_000
"""A view that is further behind is said to lag."""

WORDS = {
    "command_received": "an agent was asked for something",
    "turn_started": "an agent began",
    "turn_completed": "an agent replied",
    "turn_failed": "an agent failed",
    "turn_parked": "an agent waits",
    "turn_continued": "an agent went on",
    "turn_resumed": "an agent went on after it was cut short",
    "context_gathered": "something was looked up",
    "evaluated": "rules were applied",
    "precedent_referenced": "earlier cases were looked for",
    "approval_requested": "a person was asked",
    "approval_answered": "a person answered",
    "decision": "a decision was made",
    "effect_intended": "an action began",
    "effect_performed": "an action was done",
    "policy_registered": "a version of rules was made known",
    "policy_adopted": "a version of rules was adopted",
    "proof.checkpoint": "a checkpoint was signed",
    "standing_changed": "someone was suspended, reinstated or retired",
}
"""Kinds of entries in words; the others are named as they are recorded."""


class Sign(Shape):
    """One thing that was looked at: `good`, `warn` or `bad`, in words, with what to do about it."""

    tone: str
    about: str
    text: str
    advice: str


class ScheduleShown(Shape):
    """A command that is sent at set times."""

    name: str
    to: str
    next_at: datetime | None
    handled_until: datetime | None


class EndpointShown(Shape):
    """A place to which notices are sent."""

    name: str
    delivered: int
    dead: int
    last_at: datetime | None


class EntryShown(Shape):
    """One entry of the journal, in a line."""

    position: int
    journal: str
    text: str
    at: datetime


class ExaminationShown(Shape):
    """The last examination that was asked for here."""

    by: PersonInWords
    began_at: datetime
    running: bool
    tone: str
    verdict: str
    findings: tuple[str, ...]
    checks: tuple[Sign, ...]


class HouseView(View):
    """What a person who runs loom looks at first."""

    signs: tuple[Sign, ...]
    entries: tuple[EntryShown, ...]
    schedules: tuple[ScheduleShown, ...]
    endpoints: tuple[EndpointShown, ...]
    examination: ExaminationShown | None


@page.shows
async def house(visit: Visit, request: Request) -> HouseView:
    """Read the state of a workspace."""
    loom = visit.loom
    as_of = loom.store.acknowledged
    entries = await latest_entries(loom, limit=_LAST, hidden=_hidden(visit))
    return HouseView(
        as_of=as_of,
        signs=(
            await _journal(visit),
            *_checkpoints(visit),
            *_views(visit),
            *_published(visit),
            *_agents(visit),
            *_background(visit),
        ),
        entries=tuple(_entry(each) for each in entries),
        schedules=tuple(
            ScheduleShown(name=each.name, to=each.journal, next_at=each.next_at, handled_until=each.handled_until)
            for each in loom.schedules.listing()
        ),
        endpoints=_endpoints(visit),
        examination=_examination(_api(request).examinations.last(visit.workspace)),
    )


class Nothing(FormFields):
    """A form without fields of its own."""


@page.takes("/house/examine", may="operate")
async def examine(visit: Visit, request: Request, given: Annotated[Nothing, form(Nothing)]) -> Done:
    """Begin to examine the workspace; the page says what came of it."""
    del given
    begun = _api(request).examinations.begin(visit.loom, by=visit.by)
    return Done("The examination has begun." if begun else "An examination is under way already.", "/house")


@page.streams("/house/entries")
async def entries(
    visit: Visit, request: Request, after: Annotated[int | None, Query(ge=0, le=2**53)] = None
) -> Response:
    """Stream the headers of entries as they are appended, for as long as the session lasts."""
    shared: House = request.app.state.house
    live = shared.api.live
    source = entry_frames(
        visit.loom, live.commits[visit.workspace], after=_last_seen(request, after), hidden=_hidden(visit), worded=_line
    )
    given = request.cookies.get(cookie_of(request))
    allowed = partial(shared.sessions.lasts, given) if visit.session is not None else (lambda: True)
    return EventStream(source, live, key_id=visit.holder.source, allowed=allowed)


def _api(request: Request) -> Api:
    shared: House = request.app.state.house
    return shared.api


def _last_seen(request: Request, after: int | None) -> int | None:
    text = request.headers.get("last-event-id", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else after


def _hidden(visit: Visitor) -> frozenset[str]:
    """Return the journals that are not for this person: who has keys is for those who give them."""
    return frozenset() if visit.may("administer") else frozenset({KEYS_JOURNAL})


async def _journal(visit: Visitor) -> Sign:
    last = visit.loom.store.acknowledged
    head = await asyncio.to_thread(HeadsFile(visit.loom.files.heads).last)
    anchored = 0 if head is None else head.position
    tail = max(0, last - anchored)
    text = f"{last:,} entries; the end of their chain was last noted outside the database at {anchored:,}, {tail:,} ago"
    if head is None:
        text = f"{last:,} entries; the end of their chain has not been noted outside the database yet"
    every = visit.loom.config.journal.head_every
    if tail > 2 * every:
        return Sign(
            tone="warn",
            about="Journal",
            text=text,
            advice="It is noted every so many entries and at each orderly end: end and start the server once.",
        )
    return Sign(tone="good", about="Journal", text=text, advice="")


def _checkpoints(visit: Visitor) -> list[Sign]:
    return [
        Sign(tone="good" if well else "warn", about="Checkpoints", text=text, advice=advice)
        for well, text, advice in say_checkpoints(visit)
    ]


def _views(visit: Visitor) -> list[Sign]:
    found = [
        Sign(
            tone="bad",
            about="Views",
            text=f"{each.name} has stopped: {each.failed}",
            advice="What is read from it is not up to date. The log of the server says more.",
        )
        for each in visit.loom.projections()
        if each.failed
    ]
    lag = max((each.lag for each in visit.loom.projections()), default=0)
    if found:
        return found
    if lag > _WORTH_SAYING:
        text = f"the slowest is {lag:,} entries behind the journal"
        return [Sign(tone="warn", about="Views", text=text, advice="Pages wait for it; it catches up by itself.")]
    return [Sign(tone="good", about="Views", text="up to date", advice="")]


def _published(visit: Visitor) -> list[Sign]:
    """Say how far the published views are, where this process publishes them."""
    publisher = visit.loom.publisher
    if publisher is None:
        return []
    about, status = "Published views", publisher.status()
    problems = [f"{each.name}: {each.problem}" for each in status if each.problem]
    if problems or publisher.problem:
        advice = "`loom docs postgres` has more. The log of the server says more."
        said = problems or [str(publisher.problem)]
        return [Sign(tone="bad", about=about, text=each, advice=advice) for each in said]
    if not publisher.leads:
        return [Sign(tone="good", about=about, text="another process publishes them", advice="")]
    lag = max((each.lag for each in status), default=0)
    text = "up to date" if lag <= _WORTH_SAYING else f"the slowest is {lag:,} entries behind the journal"
    return [Sign(tone="good" if lag <= _WORTH_SAYING else "warn", about=about, text=text, advice="")]


def _agents(visit: Visitor) -> list[Sign]:
    listed = list_actors(visit.loom.actors)
    found = [
        Sign(tone="bad", about="Agents", text=f"{each.journal} was stopped: {each.why}", advice="See its timeline.")
        for each in listed
        if each.state == "stopped"
    ]
    stuck = [each.journal for each in listed if each.stuck]
    if stuck:
        text = f"stuck: {', '.join(stuck[:5])}{' and others' if len(stuck) > 5 else ''}"
        found.append(Sign(tone="bad", about="Agents", text=text, advice="The page Timeline says what can be done."))
    missing = [each.journal for each in listed if each.state == "waiting_for_code"]
    if missing:
        text = f"waiting for their code: {', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}"
        found.append(
            Sign(tone="warn", about="Agents", text=text, advice="Name their module under modules: in the config.")
        )
    awake = f"{visit.loom.actors.awake} awake, none stopped or stuck"
    return found or [Sign(tone="good", about="Agents", text=awake, advice="")]


def _background(visit: Visitor) -> list[Sign]:
    failed = visit.loom.background.failures
    if not failed:
        return [Sign(tone="good", about="Work in the background", text="nothing has failed", advice="")]
    return [
        Sign(
            tone="warn" if each.runs_again else "bad",
            about="Work in the background",
            text=f"{each.name} failed {each.times} times, last with {each.error}",
            advice="It runs again." if each.runs_again else "It has ended; the log of the server says more.",
        )
        for each in failed
    ]


def _endpoints(visit: Visitor) -> tuple[EndpointShown, ...]:
    sender = visit.loom.parts.get("notices")
    if not isinstance(sender, NoticeSender):
        return ()
    return tuple(
        EndpointShown(name=each.name, delivered=each.delivered, dead=each.dead, last_at=each.last_at)
        for each in sender.register.endpoints
    )


def _entry(header: dict[str, Any]) -> EntryShown:
    return EntryShown(
        position=header["position"], journal=header["journal"], text=_text(header["kind"]), at=header["recorded_at"]
    )


def _line(header: dict[str, Any]) -> dict[str, Any]:
    """Return what the script of the page shows of an entry."""
    return _entry(header).model_dump(mode="json")


def _text(kind: str) -> str:
    return WORDS.get(kind, kind.replace("_", " ").replace(".", ": "))


def _examination(last: Examination | None) -> ExaminationShown | None:
    if last is None:
        return None
    tone, verdict, findings = "", "It is under way.", list[str]()
    if last.problem is not None:
        tone, verdict = "bad", last.problem
    elif last.verification is not None:
        found = last.verification
        tone = "good" if found.ok else "bad"
        verdict = f"All {found.size:,} entries were read, and " + (
            "the chain is whole" if found.ok else "something is wrong"
        )
        verdict += f"; a cut among the last {found.unanchored:,} would not show." if found.unanchored else "."
        findings = [] if found.ok else list(found.lines())[1:]
    return ExaminationShown(
        by=named(last.by),
        began_at=last.began_at,
        running=last.ended_at is None,
        tone=tone,
        verdict=verdict,
        findings=tuple(findings),
        checks=tuple(
            Sign(
                tone={"ok": "good", "look": "warn", "bad": "bad"}[each.mark],
                about=each.about,
                text=each.found,
                advice=each.advice,
            )
            for each in last.checks
        ),
    )
