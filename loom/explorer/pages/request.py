"""One request: exactly what is asked and bound, what the rules said, how such cases were answered, and the answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from loom.clock import us_from_datetime
from loom.decisions import Approval
from loom.decisions.adjustable import AdjustableField
from loom.decisions.entries import is_unanswerable
from loom.decisions.quorum import who_may
from loom.decisions.shown import Shown
from loom.errors import AdmissionError, DistinctionRequiredError
from loom.explorer import words
from loom.explorer.cases import RuleSeen, Shape, Similar, rules_of, similar
from loom.explorer.page import Done, Page, View
from loom.explorer.visits import FormFields, Visit, Visitor, form
from loom.text import compact

__all__ = ["page"]

page = Page("request", "/inbox/{approval_id}", title="A request")

_RENDERING = "explorer/request/1"
"""Names this page and its version in the record of an answer: raise it when the page shows something else."""
_OF_THE_MOMENT = frozenset({"as_of", "waiting_s", "left_s", "may_answer", "granted_by", "events", "seen"})
_CHANGE = "change:"


class Event(Shape):
    """Something that happened to the request."""

    at: datetime
    text: str


class RequestView(View):
    """A request, with all that its answer binds."""

    approval_id: str
    status: str
    asked: str
    of: str
    by: words.PersonInWords | None
    agent: str
    key: str
    """For whom or what the agent asks."""
    quorum: int
    granted_so_far: tuple[str, ...]
    may_answer: tuple[str, ...] | None
    """Who can answer it now; None where no directory says so."""
    asked_at: datetime
    waiting_s: float
    deadline: datetime | None
    left_s: float | None
    at_deadline: Literal["deny", "escalate"]
    passes_to: str | None
    """Who is asked at the deadline."""
    facts: dict[str, JsonValue]
    exception: str | None
    rules: tuple[RuleSeen, ...]
    action: str | None
    arguments: dict[str, JsonValue]
    adjustable: tuple[AdjustableField, ...]
    question: str | None
    information: str | None
    parks: bool
    """Whether a question waits for information; else the agent gets it as the answer."""
    similar: tuple[Similar, ...]
    events: tuple[Event, ...]
    decided_by: words.PersonInWords | None
    comment: str | None
    seen: str = ""
    """What an answer refers to: the basis of the request and the digest of what is shown here."""


class Answer(FormFields):
    """What a person says to a request."""

    seen: str = Field(max_length=400)
    comment: str = Field(default="", max_length=10_000)
    distinguished: str = Field(default="", max_length=10_000)


@page.shows
async def request(visit: Visit, approval_id: str) -> RequestView:
    """Read one request."""
    loom = visit.loom
    as_of, now_us = loom.store.acknowledged, us_from_datetime(loom.now())
    approval = await loom.approvals.get(approval_id)
    turn = None if approval.command_id is None else (approval.journal, approval.command_id)
    said, facts = approval.evaluation, approval.facts or {}
    view = RequestView(
        as_of=as_of,
        approval_id=approval.approval_id,
        status=approval.status,
        asked=approval.reason,
        of=approval.approver,
        by=None if approval.requester is None else words.named(approval.requester),
        agent=approval.actor_type.replace("-", " "),
        key=approval.actor_key,
        quorum=approval.quorum,
        granted_so_far=tuple(each.member for each in approval.cast if each.granted),
        may_answer=await _may_answer(visit, approval),
        asked_at=approval.requested_at,
        waiting_s=approval.waiting_s(now_us),
        deadline=approval.deadline,
        left_s=approval.left_s(now_us),
        at_deadline=approval.on_deadline,
        passes_to=next(iter(approval.escalate_to), None) if approval.on_deadline == "escalate" else None,
        facts=facts,
        exception=said.exception_reason if said is not None and said.is_exception else None,
        rules=rules_of(said, facts),
        action=approval.action,
        arguments=approval.arguments or {},
        adjustable=approval.adjustable,
        question=approval.question,
        information=approval.information,
        parks=approval.on_question == "park",
        similar=await similar(loom, approval.situation, exclude_turn=turn),
        events=_events(approval),
        decided_by=None if approval.pending else words.named(approval.answerer),
        comment=approval.comment,
    )
    return view.model_copy(update={"seen": f"{approval.shown} {_rendered(view).digest}"})


async def _may_answer(visit: Visitor, approval: Approval) -> tuple[str, ...] | None:
    """Return who holds the role that is asked and is not absent, or stands in for one who is."""
    directory = visit.loom.people.directory()
    if directory is None or not approval.pending:
        return None
    roster, asker = await directory.roster(approval.approver), approval.requester
    person = None if asker is None else await directory.person_of(asker)
    requesters = [each for each in (person, None if asker is None else asker.name) if each is not None]
    voices = who_may(approval.asked, roster, visit.loom.now(), requesters=requesters)
    return tuple(dict.fromkeys(each.person for each in voices))


def _rendered(view: RequestView) -> Shown:
    return Shown.of(_RENDERING, view.model_dump(mode="json", exclude=set(_OF_THE_MOMENT)))


@page.takes("/inbox/{approval_id}/grant", may="approve")
async def grant(visit: Visit, approval_id: str, given: Annotated[Answer, form(Answer)]) -> Done:
    """Grant a request in the name of who is signed in."""
    with _asking_why():
        answered = await visit.loom.approvals.grant(
            approval_id,
            by=visit.by,
            comment=_words(given.comment),
            shown=_seen(visit, given),
            distinguished=_words(given.distinguished),
        )
    return _done("Granted", answered)


@page.takes("/inbox/{approval_id}/grant-changed", may="approve")
async def grant_changed(visit: Visit, approval_id: str, given: Annotated[Answer, form(Answer)]) -> Done:
    """Grant a request with other values, as far as it permits them."""
    approval = await visit.loom.approvals.get(approval_id)
    changes = {each.name: _typed(each, given.also.get(_CHANGE + each.name)) for each in approval.adjustable}
    changes = {each.name: changes[each.name] for each in approval.adjustable if changes[each.name] != each.asked}
    if not changes:
        raise AdmissionError("Nothing was changed: change a value, or grant it as it is.")
    with _asking_why():
        answered = await visit.loom.approvals.grant(
            approval_id,
            by=visit.by,
            comment=_words(given.comment),
            changes=changes,
            shown=_seen(visit, given),
            distinguished=_words(given.distinguished),
        )
    return _done("Granted with changes", answered)


@page.takes("/inbox/{approval_id}/deny", may="approve")
async def deny(visit: Visit, approval_id: str, given: Annotated[Answer, form(Answer)]) -> Done:
    """Deny a request in the name of who is signed in."""
    if not given.comment.strip():
        raise AdmissionError("A denial needs a reason: write in a sentence why you deny it.")
    with _asking_why():
        answered = await visit.loom.approvals.deny(
            approval_id,
            by=visit.by,
            comment=given.comment,
            shown=_seen(visit, given),
            distinguished=_words(given.distinguished),
        )
    return _done("Denied", answered)


@page.takes("/inbox/{approval_id}/ask", may="approve")
async def ask(visit: Visit, approval_id: str, given: Annotated[Answer, form(Answer)]) -> Done:
    """Send a request back with a question."""
    if not given.comment.strip():
        raise AdmissionError("A request is sent back with a question: write what you have to know first.")
    sent = await visit.loom.approvals.send_back(
        approval_id, by=visit.by, question=given.comment, shown=_seen(visit, given)
    )
    return _done("Sent back", sent)


class Information(FormFields):
    """What a person answers to a question of the approver."""

    information: str = Field(max_length=10_000)


@page.takes("/inbox/{approval_id}/inform", may="operate")
async def inform(visit: Visit, approval_id: str, given: Annotated[Information, form(Information)]) -> Done:
    """Answer the question of the approver."""
    if not given.information.strip():
        raise AdmissionError("The question is still open: write what the approver wants to know.")
    informed = await visit.loom.approvals.inform(approval_id, by=visit.by, information=given.information)
    return Done(f"Your answer was passed on to {informed.approver}.", f"/inbox/{informed.approval_id}")


@contextlib.contextmanager
def _asking_why() -> Iterator[None]:
    """Ask in words of the page why a case differs, where it is answered otherwise than most cases like it."""
    try:
        yield
    except DistinctionRequiredError as error:
        raise AdmissionError(
            "Most cases like this one were answered the other way: say in a sentence why this one is different, or "
            "answer as they were."
        ) from error


def _seen(visit: Visitor, given: Answer) -> Shown:
    """Return what the person saw: signed by us, so that no one else says it."""
    basis, _, digest = visit.unsigned(given.seen).partition(" ")
    return Shown(rendering=_RENDERING, digest=digest, basis=basis)


def _done(what: str, approval: Approval) -> Done:
    if approval.pending and approval.counted and approval.question is None:
        what = f"{what}; it waits for another person"
    return Done(f"{what}: {compact(approval.reason, 100)}", "/inbox")


def _words(text: str) -> str | None:
    return text.strip() or None


def _typed(field: AdjustableField, text: str | None) -> JsonValue:
    """Return what was typed as a value of the field's type; what cannot be one is refused where it is checked."""
    if text is None:
        return field.asked
    if field.type == "boolean":
        return text == "yes"
    if not text.strip() and field.nullable:
        return None
    try:
        return int(text) if field.type == "integer" else float(text) if field.type == "number" else text
    except ValueError:
        return text


def _events(approval: Approval) -> tuple[Event, ...]:
    found = []
    for each in approval.events:
        who = words.named(each.identity, "no one" if is_unanswerable(each.comment) else "the deadline")
        text = {
            "requested": f"{who} asked {each.approver}",
            "escalated": f"passed on to {each.approver}: there was no answer in time",
            "granted": f"granted by {who}",
            "denied": f"denied by {who}",
            "sent_back": f"sent back by {who}",
            "informed": f"{who} answered the question",
            "moot": "ended without an answer: its work was over",
        }[each.event]
        late = "" if each.counts else ", too late to count"
        found.append(Event(at=each.at, text=f"{text}{late}{f': “{each.comment}”' if each.comment else ''}"))
    return tuple(found)
