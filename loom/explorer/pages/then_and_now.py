"""Then and now: what was known when the journal ended at an earlier position; a slider goes through it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query
from pydantic import JsonValue

from loom.decisions.approvals import Approval
from loom.errors import LoomError
from loom.explorer import words
from loom.explorer.cases import Shape
from loom.explorer.page import Page, View
from loom.explorer.visits import Visit, Visitor
from loom.replay.as_of import AsOf
from loom.text import as_json, plain
from loom.web.guard import HttpRefusal

__all__ = ["page"]

page = Page(
    "then-and-now",
    "/then-and-now",
    title="Then and now",
    about="What was known at an earlier time. Nothing that was recorded later is in it.",
    place=90,
)

_MOST_STATE = 20_000


class Adopted(Shape):
    """The version of a policy that decided then; `now` is the one that decides today."""

    policy: str
    version: str
    by: words.PersonInWords
    since: datetime
    now: str | None


class Waiting(Shape):
    """A request that waited then, and what became of it since."""

    approval_id: str
    reason: str
    approver: str
    requested_at: datetime
    since: str


class DecisionThen(Shape):
    """A decision: whether it had been made, who had agreed, and what had come of it."""

    decision_id: str
    made: bool
    position: int
    headline: str
    rationale: str
    agreed: tuple[str, ...]
    came_of_it: tuple[str, ...]
    later: int
    """What was observed about it since."""


class EntryThen(Shape):
    """An entry of an actor's journal."""

    sequence: int
    position: int
    what: str
    at: datetime


class ActorShown(Shape):
    """An actor: its last entries, and its state, or why that is not shown."""

    journal: str
    entries: tuple[EntryThen, ...]
    state: str | None
    why_not: str | None


class ThenView(View):
    """The workspace as of `position`; `as_of` is the end of the journal now."""

    position: int
    at: datetime | None
    adopted: tuple[Adopted, ...]
    inbox: tuple[Waiting, ...]
    inbox_complete: bool
    decision: DecisionThen | None
    actor: ActorShown | None
    asked_decision: str
    asked_actor: str


@page.shows
async def then_and_now(
    visit: Visit,
    position: Annotated[int | None, Query(ge=1)] = None,
    decision: Annotated[str, Query(max_length=200)] = "",
    actor: Annotated[str, Query(max_length=300)] = "",
) -> ThenView:
    """Read what was known at a position, by default at the end."""
    loom = visit.loom
    now = loom.store.acknowledged
    if not now:
        raise HttpRefusal(404, "not_found", "nothing is recorded yet")
    then = await loom.replay.as_of(min(position or now, now))
    inbox = await then.inbox()
    return ThenView(
        as_of=now,
        position=then.position,
        at=then.at,
        adopted=await _adopted(visit, then),
        inbox=tuple([await _waiting(visit, each) for each in inbox.waiting[:50]]),
        inbox_complete=inbox.complete and len(inbox.waiting) <= 50,
        decision=await _decision(visit, then, decision.strip()) if decision.strip() else None,
        actor=await _actor(visit, then, actor.strip()) if actor.strip() else None,
        asked_decision=decision.strip(),
        asked_actor=actor.strip(),
    )


async def _adopted(visit: Visitor, then: AsOf) -> tuple[Adopted, ...]:
    found = []
    for each in await then.adopted():
        now = visit.loom.policies.adopted(each.version.name)
        if each.version.has_rule:
            changed = None if now is None or now == each.version else now.version
            found.append(
                Adopted(
                    policy=each.version.name,
                    version=each.version.version,
                    by=words.named(each.identity),
                    since=each.at,
                    now=changed,
                )
            )
    return tuple(found)


async def _waiting(visit: Visitor, then: Approval) -> Waiting:
    now = await visit.loom.approvals.get(then.approval_id)
    return Waiting(
        approval_id=then.approval_id,
        reason=then.reason,
        approver=then.approver,
        requested_at=then.requested_at,
        since="still waits" if now.pending else f"{now.status.replace('_', ' ')} since",
    )


async def _decision(visit: Visitor, then: AsOf, decision_id: str) -> DecisionThen:
    trace = await visit.loom.traces.get(decision_id)
    made = trace.position <= then.position
    approvals = await then.approvals(trace.journal, trace.command_id) if trace.command_id else ()
    observed = [each for each in trace.outcomes if each.position <= then.position]
    outcome = ", ".join(f"{name.replace('_', ' ')} {words.value(each)}" for name, each in trace.outcome.items())
    return DecisionThen(
        decision_id=trace.decision_id,
        made=made,
        position=trace.position,
        headline=(outcome or "no outcome was recorded") if made else "",
        rationale=trace.rationale if made else "",
        agreed=tuple(_agreed(each) for each in approvals),
        came_of_it=tuple(
            f"{'right' if each.correct else 'not known' if each.correct is None else 'wrong'}, "
            f"said {words.named(each.identity)}"
            for each in observed
        ),
        later=len(trace.outcomes) - len(observed),
    )


def _agreed(approval: Approval) -> str:
    if approval.pending:
        return f"{approval.approver} was asked, and had not answered"
    who = "a deadline" if approval.answerer is None else words.named(approval.answerer)
    return f"{approval.approver} was asked: {approval.status.replace('_', ' ')} by {who}"


async def _actor(visit: Visitor, then: AsOf, journal: str) -> ActorShown:
    try:
        found = await then.actor(journal)
    except LoomError as error:
        return ActorShown(journal=journal, entries=(), state=None, why_not=str(error))
    if found is None:
        return ActorShown(journal=journal, entries=(), state=None, why_not="It had recorded nothing yet.")
    state: str | None = None if found.state is None else as_json(_plain(found.state))
    why_not = None
    if found.too_long:
        state, why_not = None, "Its journal is too long for its state to be computed here."
    elif visit.loom.subjects.vault is not None:  # the state has protected values as the actor itself sees them
        state, why_not = None, "Its state may have protected values, so it is not shown here."
    elif len(state or "") > _MOST_STATE:
        state, why_not = None, "Its state is too long to be shown here."
    entries = tuple(
        EntryThen(
            sequence=each.sequence,
            position=each.position,
            what=each.kind.replace(".", " ").replace("_", " "),
            at=each.recorded_at,
        )
        for each in found.entries
    )
    return ActorShown(journal=journal, entries=entries, state=state, why_not=why_not)


def _plain(state: object) -> JsonValue:
    found: JsonValue = plain(state)
    return found
