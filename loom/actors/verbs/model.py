"""The call of a language model: one request, journaled with its answer, so that a resumed turn does not pay again.

`model_step` is the step under `Actor.call_model`; adapters of frameworks journal their requests by it as well. Before
a request its maximum cost is reserved, and after it the cost is settled, by the guard of `loom.spend`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loom.actors.protected import NOT_KEPT
from loom.actors.retrying import Retry
from loom.actors.turn import Turn
from loom.actors.verbs.adjusting import request_approval
from loom.actors.verbs.attempts import Attempts
from loom.actors.verbs.model_budget import Cost, Permit, cost_of, permitted, settle
from loom.actors.verbs.model_kept import digest_of, hides, kept_messages, kept_output, output_of, sent_value
from loom.actors.verbs.model_request import Call, Came, Misfit, all_settings, requested, worth_another
from loom.actors.verbs.model_wire import (
    asked_of,
    error_of,
    messages_json,
    messages_of,
    need_extra,
    resolved,
    response_of,
    settings_json,
    tools_of,
    usage_of,
    without_times,
)
from loom.actors.verbs.shared import expect, failure_of
from loom.decisions.decision import ApprovalGiven
from loom.decisions.entries import Failure
from loom.decisions.model_calls import ModelCalledEntry
from loom.errors import AdmissionError, ModelCallError
from loom.journal.entry import Step

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import Model, ModelRequestParameters

    from loom.actors.verbs.model_request import Check

__all__ = ["VERB", "Misfit", "model_answer", "model_step"]

VERB = "call_model"


async def model_step(
    turn: Turn,
    model: Model | str,
    messages: Sequence[ModelMessage],
    parameters: ModelRequestParameters | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    key: str | None = None,
    request: Callable[[Sequence[ModelMessage]], Awaitable[ModelResponse]] | None = None,
    check: Check | None = None,
    timeout_s: float | None = None,
    retry: Retry | None = None,
    attempt: int = 1,
) -> ModelResponse:
    """Ask a model once, as a step of a turn, and return its whole response; recorded, that response comes back.

    `request` makes the request in place of `pydantic_ai.direct`, with the messages that it is given: in these,
    protected values of the turn are `[sealed]` unless the config shows them. `check` says what does not fit
    in a response, or None. `key` tells steps apart; by default it is made from the model and the messages. `timeout_s`
    is by default the config's, and is for each attempt of `retry`. `attempt` is the number of this answer, where an
    earlier one did not fit.

    Raises `ModelCallError`, or the class of it that names the reason, live and resumed alike.
    """
    entry, response = await model_answer(
        turn,
        model,
        messages,
        parameters,
        settings,
        key=key,
        request=request,
        check=check,
        timeout_s=timeout_s,
        retry=retry,
        attempt=attempt,
    )
    if entry.failure is not None:
        raise error_of(entry.problem, entry.failure)
    assert response is not None  # noqa: S101 - a call without a failure has its response
    return response


async def model_answer(
    turn: Turn,
    model: Model | str,
    messages: Sequence[ModelMessage],
    parameters: ModelRequestParameters | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    key: str | None = None,
    request: Callable[[Sequence[ModelMessage]], Awaitable[ModelResponse]] | None = None,
    check: Check | None = None,
    timeout_s: float | None = None,
    retry: Retry | None = None,
    attempt: int = 1,
) -> tuple[ModelCalledEntry, ModelResponse | None]:
    """Do what `model_step` does, and return the entry, also of a call that failed, and the response if there is one."""
    need_extra()
    messages, written = _sent(turn, messages)
    digest = await digest_of(turn, without_times(written))
    patience_s = timeout_s if timeout_s is not None else turn.services.models.timeout_s
    call = Call(
        model=model,
        messages=messages,
        parameters=parameters,
        settings=settings,
        request=request,
        check=check,
        timeout_s=patience_s,
        retry=retry,
        attempt=attempt,
        written=written,
        digest=digest,
    )
    named = key or f"{asked_of(model)}/{digest or ''}"
    entry, response = await _taken(turn, named, call)
    if entry.at_limit == "asked" and entry.problem == "budget" and entry.failure is not None:
        approval = await _asked_for(turn, named, entry)
        if not approval.granted:
            denied = Failure(type_name="ModelBudgetError", message=_denied(entry, approval))
            return entry.model_copy(update={"failure": denied}), None
        entry, response = await _taken(turn, named, call, granted=approval)
    if response is None and entry.output is not None:
        response = response_of(await output_of(turn, entry))
    return entry, response


def _sent(turn: Turn, messages: Sequence[ModelMessage]) -> tuple[Sequence[ModelMessage], list[Any]]:
    """Return messages as the model gets them, and as JSON."""
    written: Any = messages_json(messages)
    if not hides(turn):
        return messages, written
    sent: Any = sent_value(turn, written)
    return messages_of(sent), sent


async def _taken(
    turn: Turn, key: str, call: Call, *, granted: ApprovalGiven | None = None
) -> tuple[ModelCalledEntry, ModelResponse | None]:
    """Return the entry of the step, as it was recorded, or after the request; then with the response."""
    with turn.step(VERB, key) as step:
        attempts = None
        if call.retry is not None or turn.recorded_steps is not None:
            attempts = await Attempts.begin(turn, step, call.retry)
        recorded = await turn.take(step)
        turn.gathered.model_calls += 1
        if recorded is not None:
            entry = expect(recorded.entry, ModelCalledEntry, turn)
            if turn.compare is not None:  # by digests: the rest of the entry is what came back
                asked = {"messages_digest": call.digest, "tools_digest": tools_of(call.parameters)[1]}
                turn.compare(recorded, entry.model_copy(update=asked))
            return entry, None
        return await _ask(turn, step, call, granted, attempts)


async def _asked_for(turn: Turn, key: str, entry: ModelCalledEntry) -> ApprovalGiven:
    """Ask a person for a call over the limit; the turn parks until the answer."""
    return await request_approval(
        turn,
        approver=entry.approver or "",
        reason=f"a call of {entry.model} over the limit: {entry.limit_detail}",
        timeout_s=None,
        deadline=None,
        on_deadline="deny",
        escalate_to=(),
        key=f"{VERB} {key}",
    )


def _denied(entry: ModelCalledEntry, approval: ApprovalGiven) -> str:
    return f"{entry.limit_detail}; [{approval.approver}] was asked, and [{approval.by or 'the deadline'}] denied it"


async def _ask(
    turn: Turn, step: Step, call: Call, granted: ApprovalGiven | None, attempts: Attempts | None
) -> tuple[ModelCalledEntry, ModelResponse | None]:
    """Reserve, make the request, settle, and journal what came of it; a failed request may be repeated."""
    most = turn.services.models.max_calls_per_turn
    if turn.gathered.model_calls > most:
        words = f"turn has called models [{most}] times; expected no more: raise models.max_calls_per_turn"
        return await _journaled(turn, step, call, Came(problem="budget", failure=_budget_failure(words)))
    try:
        model = resolved(call.model)
        while True:
            settings = all_settings(model, call)
            permit = await permitted(turn, model, call.written, call.parameters, settings, granted=granted)
            if not permit.allowed:
                refused = Came(problem="budget", failure=_budget_failure(permit.detail or ""))
                return await _journaled(turn, step, call, refused, permit, attempts=attempts)
            began = time.perf_counter()
            came = await requested(turn, call, permit)
            error = worth_another(call, came)
            if error is None or attempts is None:
                break
            await settle(turn, permit, cost_of(permit, None, None, came.problem), answered=False)
            if not await attempts.again(error, came.failure):
                break
    except ModelCallError as error:
        failure = Failure(type_name=error.type_name, message=error.message)
        return await _journaled(turn, step, call, Came(problem="unknown_model", failure=failure))
    return await _journaled(turn, step, call, came, permit, began=began, attempts=attempts)


async def _journaled(
    turn: Turn,
    step: Step,
    call: Call,
    came: Came,
    permit: Permit | None = None,
    *,
    began: float | None = None,
    attempts: Attempts | None = None,
) -> tuple[ModelCalledEntry, ModelResponse | None]:
    """Journal what came of a call, and settle what was reserved for it."""
    duration_ms = 0.0 if began is None else round((time.perf_counter() - began) * 1000, 3)
    asked = asked_of(call.model) if permit is None else permit.asked
    tools, tools_digest = tools_of(call.parameters)
    response = came.response
    usage = None if response is None else usage_of(response)
    output, sealed = await kept_output(turn, came.said)
    entry = ModelCalledEntry(
        step=step,
        provider=asked.provider,
        model=asked.name,
        answering_model=None if response is None else response.model_name,
        response_id=None if response is None else response.provider_response_id,
        finish_reason=None if response is None else response.finish_reason,
        settings=settings_json(call.settings),
        messages_digest=call.digest,
        tools_digest=tools_digest,
        tools=tools,
        messages=kept_messages(turn, call.written),
        output=output,
        sealed=sealed,
        usage=usage,
        duration_ms=duration_ms,
        attempt=call.attempt,
        failed_attempts=() if attempts is None else tuple(attempts.failed),
        problem=came.problem,
        failure=_kept_failure(turn, came),
    )
    if permit is None:
        return _written(turn, entry), response
    cost = cost_of(permit, response, usage, came.problem)
    # Journaled before the settlement, which waits: an answer that was paid for is not lost to a cancellation.
    entry = _written(turn, _with_cost(entry, permit, cost))
    await settle(turn, permit, cost, answered=response is not None)
    await turn.durable()  # the code goes on from an answer that no crash takes away: it was paid for
    return entry, response


def _with_cost(entry: ModelCalledEntry, permit: Permit, cost: Cost) -> ModelCalledEntry:
    reservation = permit.reservation
    return entry.model_copy(
        update={
            "price": cost.price,
            "cost_micro_usd": cost.micro_usd,
            "price_list": cost.price_list,
            "reservation_id": None if reservation is None else reservation.reservation_id,
            "reserved_micro_usd": None if reservation is None else reservation.worst_case_micro_usd,
            "at_limit": permit.at_limit,
            "limit_detail": permit.detail,
            "approver": permit.approver,
            "instead_of": permit.instead_of,
        }
    )


def _written(turn: Turn, entry: ModelCalledEntry) -> ModelCalledEntry:
    """Journal the entry; an answer that cannot be kept is journaled as a failure, as it was paid for."""
    try:
        ready = turn.draft(entry)
    except AdmissionError:
        entry = entry.model_copy(update={"messages": None, "settings": None})  # these may be what is too large
        try:
            ready = turn.draft(entry)
        except AdmissionError as error:
            update = {"output": None, "sealed": False, "problem": "unkept", "failure": failure_of(error)}
            entry = entry.model_copy(update=update)
            ready = turn.draft(entry)
    turn.write(ready)
    return entry


def _kept_failure(turn: Turn, came: Came) -> Failure | None:
    """Return a failure as it may be written: words of a provider may repeat protected values."""
    if came.failure is None or came.problem == "budget" or not turn.withholds_words:
        return came.failure
    return came.failure.model_copy(update={"message": NOT_KEPT})


def _budget_failure(words: str) -> Failure:
    return Failure(type_name="ModelBudgetError", message=words)
