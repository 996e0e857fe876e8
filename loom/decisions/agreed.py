"""Who agreed to a decision, in the words of its explanation: requests, what people saw, and their answers."""

from __future__ import annotations

from collections.abc import Iterator

from loom.decisions.approvals import Approval, ApprovalEvent
from loom.decisions.entries import is_unanswerable
from loom.decisions.layout import ExplanationLine, in_words, labelled, moment, tone_of, took
from loom.decisions.trace import DecisionTrace
from loom.identity import short

__all__ = ["agreed"]


def agreed(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    """Yield every request, with its events in order; or who agreed elsewhere; or that no one was asked."""
    for approval in trace.approvals:
        yield from _request(approval)
    if trace.approvals:
        return
    for given in trace.decision.approvals:  # given with the decision, and requested elsewhere
        answer = "granted" if given.granted else "denied"
        comment = f": “{given.comment}”" if given.comment else ""
        who = given.identity or ("no one" if is_unanswerable(given.comment) else "the deadline")
        yield labelled(given.approver, f"{answer} by {who}, {moment(given.answered_at)}{comment}", tone_of(answer))
    if not trace.decision.approvals:
        yield labelled("asked", "no one", "quiet")


def _request(approval: Approval) -> Iterator[ExplanationLine]:
    """Yield a request, its approver, and all its events, in order."""
    first = approval.events[0].approver if approval.events else approval.approver
    yield labelled(first or approval.approver, f"asked {moment(approval.requested_at)}: “{approval.reason}”")
    if approval.action is not None:
        yield labelled("", f"to approve: {approval.action}, with {in_words(approval.arguments or {})}", "quiet")
    for event in approval.events[1:]:
        after = f"after {took((event.at - approval.requested_at).total_seconds())}"
        comment = f": “{event.comment}”" if event.comment else ""
        role = f" ({event.capacity})" if event.capacity else ""
        if event.event == "escalated":
            yield labelled("", f"{after} escalated from {event.by} to {event.approver}: the deadline had passed")
        elif event.event == "informed":
            yield labelled("", f"{after} informed by {event.identity}{comment}{'' if event.counts else ', too late'}")
        elif event.event == "moot":
            yield labelled("", f"{after} the turn ended without an answer", "quiet")
        elif not event.counts:
            yield labelled(
                "", f"{after} {event.event} by {event.identity}{role}, which came too late to count", "quiet"
            )
        elif event.event == "sent_back":
            yield labelled("", f"{after} sent back by {event.identity}{role}{comment}")
            yield from _seen(event)
        elif event.by is None:
            why = event.comment if is_unanswerable(event.comment) else "the deadline had passed"
            yield labelled("", f"{after} {event.event}: {why}", tone_of(event.event))
        else:
            said = ", ".join(f"{name}={in_words(value)}" for name, value in event.changes.items())
            changed = f" with {said}" if said else ""
            yield labelled(
                "", f"{event.event}{changed} by {event.identity}{role} {after}{comment}", tone_of(event.event)
            )
            yield from _seen(event)
    if approval.pending:
        yield labelled("", "waits for information" if approval.question else f"still waits for {approval.missing}")


def _seen(event: ApprovalEvent) -> Iterator[ExplanationLine]:
    """Yield what the person saw, and why the case differs from earlier ones."""
    if event.rendering is not None:
        yield labelled("", f"shown: {event.rendering}, fields {short(event.rendered or '')}", "quiet")
    if event.distinguished is not None:
        against = ", ".join(short(each) for each in event.against)
        yield labelled("", f"distinguished because: {event.distinguished}{f' (against {against})' if against else ''}")
