"""The call of a language model: one request, journaled with its answer, so that a resumed turn does not pay again.

`model_step` is the step under `Actor.call_model`; adapters of frameworks journal their requests by it as well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from loom.actors.turn import Turn
from loom.actors.verbs.model_wire import (
    Asked,
    as_json,
    asked_of,
    error_of,
    messages_json,
    need_extra,
    problem_of,
    response_of,
    settings_json,
    tools_of,
    usage_of,
    without_times,
)
from loom.actors.verbs.shared import digest, expect, failure_of
from loom.decisions.entries import Failure
from loom.decisions.model_calls import CallProblem, ModelCalledEntry
from loom.errors import AdmissionError
from loom.journal.entry import Step
from loom.spans import span

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import Model, ModelRequestParameters

__all__ = ["VERB", "model_step"]

VERB = "call_model"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One request, as it was asked for."""

    model: Model | str
    messages: Sequence[ModelMessage]
    parameters: ModelRequestParameters | None
    settings: Mapping[str, Any] | None
    request: Callable[[], Awaitable[ModelResponse]] | None
    check: Callable[[ModelResponse], str | None] | None
    timeout_s: float | None
    attempt: int
    asked: Asked
    written: list[Any]
    """The messages as JSON."""


@dataclass(frozen=True, slots=True)
class _Came:
    """What came of a request: a response as it is kept, or why there is none; both, where it does not fit."""

    said: JsonValue = None
    response: ModelResponse | None = None
    problem: CallProblem | None = None
    failure: Failure | None = None


async def model_step(
    turn: Turn,
    model: Model | str,
    messages: Sequence[ModelMessage],
    parameters: ModelRequestParameters | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    key: str | None = None,
    request: Callable[[], Awaitable[ModelResponse]] | None = None,
    check: Callable[[ModelResponse], str | None] | None = None,
    timeout_s: float | None = None,
    attempt: int = 1,
) -> ModelResponse:
    """Ask a model once, as a step of a turn, and return its whole response; recorded, that response comes back.

    `request` makes the request in place of `pydantic_ai.direct`, with the same messages. `check` says what does not fit
    in a response, or None. `key` tells steps apart; by default it is made from the model and the messages. `attempt`
    is the number of this answer, where an earlier one did not fit.

    Raises `ModelCallError`, or the class of it that names the reason, live and resumed alike.
    """
    need_extra()
    asked = asked_of(model)
    written = messages_json(messages)
    messages_digest = digest(without_times(written))
    call = _Call(
        model=model, messages=messages, parameters=parameters, settings=settings, request=request, check=check,
        timeout_s=timeout_s, attempt=attempt, asked=asked, written=written,
    )  # fmt: skip
    with turn.step(VERB, key or f"{asked}/{messages_digest}") as step:
        recorded = await turn.take(step)
        if recorded is None:
            entry, response = await _ask(turn, step, call, messages_digest)
        else:
            entry, response = expect(recorded.entry, ModelCalledEntry, turn), None
        if entry.failure is not None:
            raise error_of(entry.problem, entry.failure)
        return response_of(entry.output) if response is None else response


async def _ask(
    turn: Turn, step: Step, call: _Call, messages_digest: str
) -> tuple[ModelCalledEntry, ModelResponse | None]:
    """Make the request, and journal what came of it."""
    began = time.perf_counter()
    about: dict[str, str | bool | float] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": call.asked.name}
    if call.asked.provider is not None:
        about["gen_ai.provider.name"] = call.asked.provider
    with span("loom.model", about) as under_way:
        came = await _request(call)
        duration_ms = round((time.perf_counter() - began) * 1000, 3)
        usage = None if came.response is None else usage_of(came.response)
        if usage is not None:
            under_way.set_attribute("gen_ai.usage.input_tokens", usage.input_tokens)
            under_way.set_attribute("gen_ai.usage.output_tokens", usage.output_tokens)
        if came.response is not None and came.response.model_name:
            under_way.set_attribute("gen_ai.response.model", came.response.model_name)
        under_way.set_attribute("loom.outcome", came.problem or "answered")
    tools, tools_digest = tools_of(call.parameters)
    response = came.response
    entry = ModelCalledEntry(
        step=step,
        provider=call.asked.provider,
        model=call.asked.name,
        answering_model=None if response is None else response.model_name,
        response_id=None if response is None else response.provider_response_id,
        finish_reason=None if response is None else response.finish_reason,
        settings=settings_json(call.settings),
        messages_digest=messages_digest,
        tools_digest=tools_digest,
        tools=tools,
        output=came.said,
        usage=usage,
        duration_ms=duration_ms,
        attempt=call.attempt,
        problem=came.problem,
        failure=came.failure,
    )
    return _written(turn, entry), response


def _written(turn: Turn, entry: ModelCalledEntry) -> ModelCalledEntry:
    """Journal the entry; an answer that cannot be kept is journaled as a failure, as it was paid for."""
    try:
        ready = turn.draft(entry)
    except AdmissionError as error:
        entry = entry.model_copy(
            update={
                "output": None,
                "messages": None,
                "settings": None,
                "problem": "too_long",
                "failure": failure_of(error),
            }
        )
        ready = turn.draft(entry)
    turn.write(ready)
    return entry


async def _request(call: _Call) -> _Came:
    """Make the request; return what came of it."""
    patience: asyncio.Timeout | None = None
    try:
        async with asyncio.timeout(call.timeout_s) as patience:
            response = await (call.request() if call.request is not None else _direct(call))
        said = as_json(response)
        response = response_of(said)  # live, the code gets what it will get when it is resumed
    except TimeoutError as error:
        if patience is not None and patience.expired():
            words = f"no answer within {call.timeout_s} s"
            return _Came(problem="timed_out", failure=Failure(type_name="TimeoutError", message=words))
        return _failed(error)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return _failed(error)
    except Exception as error:
        return _failed(error)
    if call.check is not None and (misfit := call.check(response)) is not None:
        return _Came(said, response, "misfit", Failure(type_name="ModelOutputError", message=misfit[:2_000]))
    return _Came(said, response)


async def _direct(call: _Call) -> ModelResponse:
    from pydantic_ai.direct import model_request
    from pydantic_ai.models import infer_model

    model = infer_model(call.model) if isinstance(call.model, str) else call.model
    settings: Any = None if call.settings is None else dict(call.settings)
    return await model_request(model, call.messages, model_settings=settings, model_request_parameters=call.parameters)


def _failed(error: BaseException) -> _Came:
    problem, failure = problem_of(error)
    return _Came(problem=problem, failure=failure)
