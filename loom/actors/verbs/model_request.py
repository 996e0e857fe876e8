"""One request to a model, as it was asked for, and what came of it: an answer, or why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import JsonValue

from loom.actors.progress import TextDelta
from loom.actors.retrying import Retry
from loom.actors.turn import Turn
from loom.actors.verbs.model_budget import Permit
from loom.actors.verbs.model_wire import as_json, error_of, problem_of, response_of, usage_of
from loom.actors.verbs.shared import keepable
from loom.decisions.entries import Failure
from loom.decisions.model_calls import CallProblem
from loom.spans import span

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse, ModelResponseStreamEvent
    from pydantic_ai.models import Model, ModelRequestParameters

    Check: TypeAlias = Callable[[ModelResponse], tuple[CallProblem, str] | None]

__all__ = ["Call", "Came", "Misfit", "all_settings", "requested", "worth_another"]

Misfit: TypeAlias = tuple[CallProblem, str]
"""Why an answer cannot be used, by kind and in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, as it was asked for."""

    model: Model | str
    messages: Sequence[ModelMessage]
    parameters: ModelRequestParameters | None
    settings: Mapping[str, Any] | None
    request: Callable[[Sequence[ModelMessage]], Awaitable[ModelResponse]] | None
    check: Check | None
    timeout_s: float | None
    retry: Retry | None
    attempt: int
    written: list[Any]
    """The messages as JSON."""
    digest: str | None


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a request: a response as it is kept, or why there is none; both, where it does not fit."""

    said: JsonValue = None
    response: ModelResponse | None = None
    problem: CallProblem | None = None
    failure: Failure | None = None
    error: Exception | None = None
    """The error of a request that failed: another attempt may be worth it."""


_FINAL: frozenset[CallProblem | None] = frozenset({"refused", "unknown_model", "too_long"})
"""Failures that another attempt will not change."""


def worth_another(call: Call, came: Came) -> Exception | None:
    """Return the error for which a request may be repeated, as its `retry` names it; None where it is not repeated.

    `retry` may name errors of the provider's client, or loom's own, such as `ModelRateLimitedError`.
    """
    retry = call.retry
    if retry is None or came.error is None or came.failure is None or (retry.on is None and came.problem in _FINAL):
        return None
    own = error_of(came.problem, came.failure)
    return own if retry.repeats(own) else came.error


async def requested(turn: Turn, call: Call, permit: Permit) -> Came:
    """Make the request within a span, which has the names of OpenTelemetry's conventions."""
    about: dict[str, str | bool | float] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": permit.asked.name}
    if permit.asked.provider is not None:
        about["gen_ai.provider.name"] = permit.asked.provider
    with span("loom.model", about) as under_way:
        came = await _request(turn, call, permit)
        response = came.response
        if response is not None:
            usage = usage_of(response)
            if usage is not None:
                under_way.set_attribute("gen_ai.usage.input_tokens", usage.input_tokens)
                under_way.set_attribute("gen_ai.usage.output_tokens", usage.output_tokens)
            under_way.set_attribute("gen_ai.response.model", response.model_name or "")
            under_way.set_attribute("gen_ai.response.id", response.provider_response_id or "")
        under_way.set_attribute("loom.outcome", came.problem or "answered")
        return came


async def _request(turn: Turn, call: Call, permit: Permit) -> Came:
    """Make the request; return what came of it."""
    patience: asyncio.Timeout | None = None
    by_caller = call.request is not None and permit.instead_of is None
    try:
        async with asyncio.timeout(call.timeout_s) as patience:
            if call.request is not None and by_caller:
                response = await call.request(call.messages)
            else:
                response = await _direct(turn, call, permit)
        said = as_json(response)
        response = response_of(said)  # live, the code gets what it will get when it is resumed
    except TimeoutError as error:
        if patience is not None and patience.expired():
            words = f"no answer within {call.timeout_s} s"
            return Came(
                problem="timed_out", failure=Failure(type_name="TimeoutError", message=words), error=TimeoutError(words)
            )
        return _failed(error)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return Came(problem="failed", failure=problem_of(error)[1])
    except Exception as error:
        return _failed(error)
    if call.check is not None and (misfit := call.check(response)) is not None:
        problem, words = misfit
        return Came(said, response, problem, Failure(type_name="ModelOutputError", message=keepable(words, 2_000)))
    return Came(said, response)


async def _direct(turn: Turn, call: Call, permit: Permit) -> ModelResponse:
    from pydantic_ai.direct import model_request, model_request_stream

    settings: Any = {"max_tokens": turn.services.models.max_output_tokens, **all_settings(permit.model, call)}
    asked: Any = {"model_settings": settings, "model_request_parameters": call.parameters}
    if not _watched(turn) or not _streams(permit.model):
        return await model_request(permit.model, call.messages, **asked)
    async with model_request_stream(permit.model, call.messages, **asked) as stream:
        async for event in stream:
            text = _text_in(event)
            if text:
                turn.services.watchers.note(turn.host.journal, turn.command_id, TextDelta(text))
        return stream.get()


def _watched(turn: Turn) -> bool:
    return (turn.host.journal, turn.command_id) in turn.services.watchers.open


def _streams(model: Model) -> bool:
    """Tell whether a model can give its answer bit by bit: a function may not."""
    from pydantic_ai.models.function import FunctionModel

    return not isinstance(model, FunctionModel) or model.stream_function is not None


def _text_in(event: ModelResponseStreamEvent) -> str:
    """Return the text that an event of a stream adds."""
    from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta

    if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
        return event.part.content
    if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
        return event.delta.content_delta
    return ""


def all_settings(model: Model, call: Call) -> dict[str, Any]:
    """Return the settings of a call: those of its model, and its own."""
    return {**(getattr(model, "settings", None) or {}), **(call.settings or {})}


def _failed(error: Exception) -> Came:
    problem, failure = problem_of(error)
    return Came(problem=problem, failure=failure, error=error)
