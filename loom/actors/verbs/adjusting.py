"""The verb `request_approval`: a request may be granted with changes, and the changed case is evaluated again.

What the changed case needs then is asked in a request of its own. So the record has both: the case as it was, and as it
was granted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, JsonValue, ValidationError

from loom.actors.gathered import Evaluated
from loom.actors.turn import Turn
from loom.actors.verbs.approval import RequestPart, request_once
from loom.actors.verbs.binding import arguments_of
from loom.actors.verbs.evaluation import evaluate
from loom.decisions.adjustable import AdjustableField, adjustable_fields, following_approver
from loom.decisions.decision import ApprovalGiven
from loom.errors import AdmissionError
from loom.journal.admission import json_value
from loom.policies.evaluation import Evaluation
from loom.sealing import plain_of

__all__ = ["request_approval"]

_MOST_ROUNDS = 20


class _Case(NamedTuple):
    """What may be changed: arguments of the effect to come, and the facts that were evaluated."""

    arguments: dict[str, JsonValue] | None
    evaluated: Evaluated | None

    def fields(self, turn: Turn, model: type[BaseModel] | None) -> tuple[AdjustableField, ...]:
        """Return the fields that a person may change; raise `AdmissionError` for one with a protected value."""
        if model is None:
            return ()
        facts = {} if self.evaluated is None else self.evaluated.facts
        kept = None if self.evaluated is None else self.evaluated.kept
        bound = arguments_of(turn, self.arguments)
        written = {} if bound is None else bound.written
        for name in model.model_fields:
            plain = (self.arguments or {}).get(name)
            sealed = kept is not None and kept.plain.get(name) != kept.written.get(name)
            if sealed or (name in written and written[name] != plain):
                raise AdmissionError(
                    f"adjustable [{model.__name__}] has a field [{name}] whose value is protected; expected values "
                    "that may be shown and changed: leave it out"
                )
        return adjustable_fields(model, {**written, **facts})

    def changed(self, turn: Turn, changes: Mapping[str, JsonValue]) -> _Case:
        """Return the changed case, with its facts evaluated by the policy version of the turn."""
        arguments, evaluated = self.arguments, self.evaluated
        if arguments is not None:
            arguments = {**arguments, **{name: value for name, value in changes.items() if name in arguments}}
        if evaluated is not None and evaluated.given is not None:
            among = {name: value for name, value in changes.items() if name in evaluated.facts}
            if among:
                evaluate(turn, _facts(evaluated.given, among))
        return _Case(arguments, turn.gathered.evaluated)


async def request_approval(
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
    adjustable: type[BaseModel] | None = None,
    on_question: Literal["park", "return"] = "park",
    quorum: int = 1,
    deny_quorum: int = 1,
) -> ApprovalGiven:
    """See `Actor.request_approval`."""
    said: dict[str, Any] = {"timeout_s": timeout_s, "deadline": deadline, "action": action}
    said |= {"quorum": quorum, "deny_quorum": deny_quorum}
    if on_question not in ("park", "return"):
        raise AdmissionError(f"on_question is [{on_question!r:.80}]; expected [park or return]: give one of them")
    if adjustable is None:
        more = RequestPart(on_question=on_question)
        passed = {**said, "on_deadline": on_deadline, "escalate_to": escalate_to, "arguments": arguments, "more": more}
        return await request_once(turn, approver=approver, reason=reason, key=key, **passed)
    plain: Any = None if arguments is None else json_value(dict(arguments), limits=turn.services.limits)
    case = _Case(plain, turn.gathered.evaluated)
    changes: dict[str, JsonValue] = {}
    after: str | None = None
    for _ in range(_MOST_ROUNDS):
        more = RequestPart(case.fields(turn, adjustable), on_question, after)
        passed = {**said, "on_deadline": on_deadline, "escalate_to": escalate_to, "more": more}
        given = await request_once(turn, approver=approver, reason=reason, key=key, arguments=case.arguments, **passed)
        if not given.granted or not given.changes:
            return given.model_copy(update={"changes": {**changes, **given.changes}})
        changes |= given.changes
        before, case = case, case.changed(turn, given.changes)
        following = _following(before.evaluated, case.evaluated, approver)
        if following is None:
            _bind(turn, given, case)
            return given.model_copy(update={"changes": changes})
        turn.gathered.approved.pop(given.approval_id)  # it does not cover what the changed case needs
        if isinstance(following, Evaluation):
            return given.model_copy(update={"granted": False, "changes": changes, "comment": _refused(following)})
        key, after, approver = f"{key or approver}, then {following}", given.approval_id, following
        escalate_to = tuple(each for each in escalate_to if each != following)
        on_deadline = on_deadline if escalate_to else "deny"
    raise AdmissionError(
        f"request of turn [{turn}] was granted with changes [{_MOST_ROUNDS}] times; expected an answer to it as it is: "
        "send a new command"
    )


def _following(before: Evaluated | None, now: Evaluated | None, approver: str) -> str | Evaluation | None:
    """Return who else has to approve a changed case; its evaluation, if the rule refuses it; None if all is said."""
    if now is None or now is before or now.evaluation.allowed:
        return None
    if not now.evaluation.needs_approval:
        return now.evaluation
    return following_approver(None if before is None else before.evaluation, now.evaluation, approver)


def _refused(evaluation: Evaluation) -> str:
    return f"granted with changes that the rule refuses: {evaluation.rule}: {evaluation.why}"[:2_000]


def _bind(turn: Turn, given: ApprovalGiven, case: _Case) -> None:
    """Bind the effect to come to the changed arguments."""
    bound = arguments_of(turn, case.arguments)
    turn.gathered.approved[given.approval_id].bound = None if bound is None else bound.digest


def _facts(given: BaseModel | Mapping[str, object], changes: Mapping[str, JsonValue]) -> BaseModel | dict[str, object]:
    """Return facts with some values changed, as the type that they are; raise `AdmissionError` for what it refuses."""
    if not isinstance(given, BaseModel):
        return {**given, **changes}
    try:
        return type(given).model_validate_json(json.dumps({**plain_of(given), **changes}))
    except ValidationError as error:
        raise AdmissionError(
            f"changed facts are no [{type(given).__name__}] [{error.errors()[0]['msg']}]; expected values that the "
            "facts permit: give the adjustable model the same bounds"
        ) from error
