"""One request for approval as a step: it is made, waits, and gets its answer. See `adjusting` for the verb."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, Self

from pydantic import JsonValue

from loom.actors.gathered import Approved
from loom.actors.turn import Turn
from loom.actors.verbs.binding import arguments_of
from loom.actors.verbs.evaluation import GivenFacts
from loom.actors.verbs.keyed_class import situation_of
from loom.actors.verbs.shared import context_of, digest, expect
from loom.clock import datetime_from_us, instant, us_from_datetime
from loom.decisions.adjustable import AdjustableField
from loom.decisions.decision import ApprovalGiven, ApprovalReference, NeedsInformation
from loom.decisions.entries import ApprovalRefusedEntry, ApprovalRequestedEntry
from loom.decisions.quorum import Asked
from loom.errors import AdmissionError, DirectoryUnavailableError, LoomError, NoEligibleApproverError
from loom.identity import check_person, derived_id
from loom.journal.admission import json_value
from loom.journal.entry import Recorded, Step, StepReference
from loom.spans import span
from loom.telemetry import get_logger

__all__ = ["NO_MORE", "RequestPart", "request_once"]

_COVERS_ALL = 4
"""The first schema of requests whose digest covers the reason and the effect to come."""


_MOST_PERSONS = 100

_log = get_logger("loom.actors")


class _Effect(NamedTuple):
    """The effect that is to be approved, as it is written; without a name the approval is for no particular effect."""

    action: str | None
    arguments: dict[str, JsonValue] | None
    bound: str | None

    @classmethod
    def of(cls, turn: Turn, action: str | None, arguments: Mapping[str, object] | None) -> Self:
        """Return the effect; raise `AdmissionError` for arguments that are not a JSON object."""
        found = arguments_of(turn, arguments)
        named = None if action is None else turn.protected.redact(action)
        return cls(named, *((None, None) if found is None else found))


class RequestPart(NamedTuple):
    """What a request may say besides: what may be changed, what a question does, and which request it follows."""

    adjustable: tuple[AdjustableField, ...] = ()
    on_question: Literal["park", "return"] = "park"
    after: str | None = None

    @property
    def basis(self) -> tuple[str, ...]:
        """The part of it that the approver is shown."""
        return (digest([each.model_dump(mode="json") for each in self.adjustable]),) if self.adjustable else ()


NO_MORE = RequestPart()


async def request_once(
    turn: Turn,
    *,
    approver: str,
    reason: str,
    timeout_s: float | None,
    deadline: datetime | None,
    on_deadline: Literal["deny", "escalate"],
    escalate_to: tuple[str, ...],
    key: str | None,
    action: str | None = None,
    arguments: Mapping[str, object] | None = None,
    quorum: int = 1,
    deny_quorum: int = 1,
    more: RequestPart = NO_MORE,
) -> ApprovalGiven:
    """Make one request and wait for its answer, which may be a question: a `NeedsInformation`."""
    json_value([reason, action])  # what cannot be journaled is refused before anything is done
    _check(approver, reason, timeout_s, deadline, on_deadline, escalate_to)
    _check_quorum(quorum, deny_quorum)
    persons = Asked(approver, escalate_to, on_deadline, quorum, deny_quorum)
    effect = _Effect.of(turn, action, arguments)
    asked = instant(turn.services.sources.clock)
    if timeout_s is not None:
        deadline = datetime_from_us(asked.now_us) + timedelta(seconds=timeout_s)
    with turn.step("request_approval", key or approver) as step:
        request = _request(turn, step, persons, reason, deadline, effect, more)
        turn.draft(request)  # what cannot be kept is refused before the step is taken
        recorded = await _taken(turn, step)
        if recorded is None:
            request = request.model_copy(update={"directory": await _check_eligible(turn, step, persons)})
            ready = turn.draft(request)
            if deadline is not None:
                turn.services.requests.set_deadline(request.approval_id, deadline, at=asked)
            with turn.services.requests.asking(turn.host.journal, turn.command_id):
                turn.write(ready)
                await turn.durable()
        else:
            before = expect(recorded.entry, ApprovalRequestedEntry, turn)
            if turn.compare is not None:
                given_then = {
                    "deadline": before.deadline,
                    "directory": before.directory,
                    "situation": before.situation,
                }
                turn.compare(recorded, request.model_copy(update=given_then))
            request = before
        with span("loom.approval", {"loom.approval": request.approval_id}) as under_way:
            approval, reference = await _answer(turn, step, request)
            under_way.set_attribute("loom.granted", approval.granted)
        if isinstance(approval, NeedsInformation):
            return approval
        turn.gathered.approvals.append(approval)
        turn.gathered.approved[approval.approval_id] = Approved(approval, request.action, request.bound)
        turn.gathered.answered.append(
            ApprovalReference(*reference, approval.approver, approval.granted, approval.by is not None)
        )
        return approval


async def _answer(turn: Turn, step: Step, request: ApprovalRequestedEntry) -> tuple[ApprovalGiven, StepReference]:
    """Wait for the answer and continue: the turn may have been parked for days."""
    continued = turn.recorded_steps is not None and turn.recorded_steps.has(step, "end")
    if continued:
        await turn.take(step, "end")
    elif turn.recorded_steps is not None:
        await turn.recorded_steps.wait(step)
    if not turn.parking.ended(request.approval_id) and turn.compare is None:
        # Again after a restart, as it is unknown whether the messenger was called before it.
        work = turn.services.deliver(request, journal=turn.host.journal)
        turn.host.in_background(work, name=f"loom-deliver {request.approval_id[:12]}")
    answer, answered_at, reference = await turn.wait_for_answer(request.approval_id)
    if not continued:
        if turn.compare is not None:
            raise turn.never_recorded(step)
        await turn.continue_live(after=step)
    return answer.as_given(request.approver, answered_at), reference


async def _taken(turn: Turn, step: Step) -> Recorded | None:
    """Return the recorded request; raise again what it was refused with, if it was. None where it is to be made now."""
    steps = turn.recorded_steps
    if steps is None or steps.has(step, "begin") or not steps.has(step, "end"):
        return await turn.take(step, "begin")
    recorded = await turn.take(step, "end")
    assert recorded is not None  # noqa: S101 - it was recorded
    raise NoEligibleApproverError(expect(recorded.entry, ApprovalRefusedEntry, turn).reason)


async def _check_eligible(turn: Turn, step: Step, persons: Asked) -> str | None:
    """Return by which version of the directory the request can be met; one that cannot be is journaled and refused.

    A directory that does not answer refuses nothing: the answers are checked.
    """
    who = turn.received.identity
    try:
        return await turn.services.eligibility.check_asked(persons, () if who is None else (who,))
    except NoEligibleApproverError as error:
        refused = ApprovalRefusedEntry(step=step, approver=persons.approver, quorum=persons.quorum, reason=str(error))
        turn.write(turn.draft(refused))
        raise
    except DirectoryUnavailableError as error:
        _log.warning("directory_unavailable", turn=turn.command_id, error=str(error))
        return None


def _request(
    turn: Turn,
    step: Step,
    persons: Asked,
    reason: str,
    deadline: datetime | None,
    effect: _Effect,
    more: RequestPart,
) -> ApprovalRequestedEntry:
    """Build the request; it binds what the approver is shown by a digest.

    The digest is over reason, facts, evaluation, policy version and the effect to come.
    """
    evaluated = turn.gathered.evaluated
    facts = None if evaluated is None else evaluated.facts
    evaluation = None if evaluated is None else evaluated.evaluation
    keyed = None if evaluated is None or evaluated.kept is None else evaluated.kept.digest
    store, asked = turn.services.store, turn.protected.redact(reason)
    before = None if turn.recorded_steps is None else turn.recorded_steps.peek(step, "begin")
    covers_all = before is None or before.schema_version >= _COVERS_ALL
    return ApprovalRequestedEntry(
        step=step,
        approval_id=derived_id(
            "approval", store.workspace, turn.host.journal, turn.command_id, step.key, str(step.occurrence)
        ),
        approver=persons.approver,
        reason=asked,
        shown=derived_id(
            "shown",
            digest(dict(facts) if facts is not None else None) if keyed is None else keyed,
            digest(None if evaluation is None else evaluation.model_dump(mode="json")),
            turn.policy.hash,
            *((asked, effect.action or "", effect.bound or "") if covers_all else ()),
            *more.basis,
        ),
        facts=facts,
        evaluation=evaluation,
        **_requester(turn),
        deadline=deadline,
        on_deadline=persons.on_deadline,
        escalate_to=persons.escalate_to,
        action=effect.action,
        arguments=effect.arguments,
        bound=effect.bound,
        quorum=persons.quorum,
        deny_quorum=persons.deny_quorum,
        situation=None if before is not None else _situation(turn),
        **more._asdict(),
    )


def _situation(turn: Turn) -> str | None:
    """Return the class of the case before its outcome; None without a rule, or where sealed facts would make it."""
    rule, evaluated = None if turn.actor is None else turn.actor.equivalence, turn.gathered.evaluated
    if rule is None or evaluated is None or rule.is_keyed:
        return None
    given = GivenFacts(evaluated.facts, b"", evaluated.kept)
    try:
        return situation_of(turn, rule, given, context_of(turn), key_of=None).key
    except LoomError:
        return None


def _requester(turn: Turn) -> dict[str, Any]:
    who = turn.received.identity
    return {} if who is None else who.written("requested_by")


def _check_quorum(quorum: int, deny_quorum: int) -> None:
    for name, number in (("quorum", quorum), ("deny_quorum", deny_quorum)):
        if isinstance(number, bool) or not 1 <= number <= _MOST_PERSONS:
            raise AdmissionError(f"{name} is [{number!r}]; expected [1 to {_MOST_PERSONS}] persons: give such a number")


def _check(
    approver: str,
    reason: str,
    timeout_s: float | None,
    deadline: datetime | None,
    on_deadline: str,
    escalate_to: tuple[str, ...],
) -> None:
    check_person(approver, what="approver")
    for following in escalate_to:
        check_person(following, what="escalate_to")
    if not reason.strip():
        raise AdmissionError("reason of the request is blank; expected what the approver has to know: give a reason")
    if timeout_s is not None and deadline is not None:
        raise AdmissionError("request has [timeout_s] and [deadline]; expected one of them: leave out the other")
    if timeout_s is not None and not timeout_s >= 0:
        raise AdmissionError(
            f"timeout_s is [{timeout_s}]; expected seconds from now: give a number that is not negative"
        )
    if deadline is not None:
        us_from_datetime(deadline)  # a naive one is refused
    if on_deadline == "escalate" and not escalate_to:
        raise AdmissionError("request escalates to no one; expected [escalate_to]: name the next approvers, or deny")
    if on_deadline == "escalate" and timeout_s is None and deadline is None:
        raise AdmissionError("request escalates without a deadline; expected [timeout_s or deadline]: give one")
