"""Between pydantic-ai and the journal: messages, responses and errors as JSON that is kept.

Nothing is imported from pydantic-ai, which comes with the extra `llm`, before a model is called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import JsonValue, TypeAdapter
from pydantic_core import to_json, to_jsonable_python

from loom.actors.verbs.shared import digest, failure_of
from loom.decisions.entries import Failure
from loom.decisions.model_calls import CallProblem, ModelUsage
from loom.errors import (
    ConfigError,
    ModelBudgetError,
    ModelCallError,
    ModelOutputError,
    ModelRateLimitedError,
    ModelRefusedError,
    ModelTimedOutError,
    ModelTooLongError,
    ModelUnknownError,
)

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import Model, ModelRequestParameters

__all__ = [
    "Asked",
    "as_json",
    "asked_of",
    "error_of",
    "messages_json",
    "messages_of",
    "need_extra",
    "problem_of",
    "resolved",
    "response_of",
    "settings_json",
    "size_of",
    "text_of",
    "tools_of",
    "usage_of",
    "without_times",
]

_VOLATILE = frozenset({"timestamp", "run_id", "conversation_id", "metadata"})
"""Fields of messages and their parts that no provider gets, or that differ from run to run."""

_NOT_KEPT = frozenset({"extra_headers", "extra_body"})
"""Settings that may hold secrets."""

_ERRORS: Mapping[CallProblem, type[ModelCallError]] = {
    "unknown_model": ModelUnknownError,
    "refused": ModelRefusedError,
    "rate_limited": ModelRateLimitedError,
    "timed_out": ModelTimedOutError,
    "too_long": ModelTooLongError,
    "misfit": ModelOutputError,
    "unkept": ModelOutputError,
    "budget": ModelBudgetError,
    "failed": ModelCallError,
}

_SECRET = re.compile(r"\b(?:sk|pk|key|gsk|xai)-[A-Za-z0-9_*-]{6,}|\bBearer\s+\S+|\bAIza[A-Za-z0-9_-]{10,}")


class Asked(NamedTuple):
    """The model that is asked: its provider, where known, and its name."""

    provider: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.provider}:{self.name}" if self.provider else self.name


def need_extra() -> None:
    """Raise `ConfigError` where the extra `llm` is not installed."""
    try:
        import pydantic_ai  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise ConfigError(
            f"a call of a model needs a package that is not installed [{error.name}]; expected the extra [llm]: "
            "pip install 'loom-journal[llm]'"
        ) from error


def asked_of(model: Model | str) -> Asked:
    """Return provider and name of a model, without connecting to anything."""
    if isinstance(model, str):
        before, colon, name = model.partition(":")
        return Asked(before, name) if colon else Asked(None, model)
    try:
        return Asked(model.system, model.model_name)
    except NotImplementedError:  # a router such as `FallbackModel`
        return Asked(None, model.model_name)


def resolved(model: Model | str) -> Model:
    """Return the model that a name names; raise `ModelUnknownError` for one that cannot be called here."""
    from pydantic_ai.models import infer_model

    try:
        return infer_model(model)
    except Exception as error:  # an unknown name, a missing key or package: each provider raises its own
        raise error_of("unknown_model", problem_of(error)[1]) from error


@cache
def _response_adapter() -> TypeAdapter[ModelResponse]:
    from pydantic_ai.messages import ModelResponse

    return TypeAdapter(ModelResponse)


def as_json(response: ModelResponse) -> JsonValue:
    """Return a whole response as JSON; fields that are None are left out."""
    said: JsonValue = _response_adapter().dump_python(response, mode="json", exclude_none=True, warnings="error")
    return said


def response_of(said: JsonValue) -> ModelResponse:
    """Return the response that JSON holds."""
    return _response_adapter().validate_python(said)


def messages_json(messages: Sequence[ModelMessage]) -> list[Any]:
    """Return messages as JSON; fields that are None are left out."""
    from pydantic_ai.messages import ModelMessagesTypeAdapter

    written: list[Any] = ModelMessagesTypeAdapter.dump_python(list(messages), mode="json", exclude_none=True)
    return written


def messages_of(written: Sequence[Any]) -> list[ModelMessage]:
    """Return the messages that JSON holds."""
    from pydantic_ai.messages import ModelMessagesTypeAdapter

    return ModelMessagesTypeAdapter.validate_python(list(written))


def without_times(messages: Sequence[Any]) -> list[Any]:
    """Return messages without what differs each time that the same code makes them."""
    return [
        {
            name: [_of_part(part) for part in value] if name == "parts" else value
            for name, value in message.items()
            if name not in _VOLATILE
        }
        for message in messages
    ]


def _of_part(part: Any) -> Any:
    return {name: value for name, value in part.items() if name not in _VOLATILE} if isinstance(part, dict) else part


def tools_of(parameters: ModelRequestParameters | None) -> tuple[tuple[str, ...], str | None]:
    """Return the names of the tools that a model is offered, and a digest of their schemas; None without any."""
    if parameters is None:
        return (), None
    offered = [*parameters.function_tools, *parameters.output_tools]
    if not offered:
        return (), None
    schemas: JsonValue = [
        {
            "name": tool.name,
            "description": tool.description,
            "parameters": to_jsonable_python(tool.parameters_json_schema),
        }
        for tool in offered
    ]
    return tuple(tool.name for tool in offered), digest(schemas)


def size_of(messages: Sequence[Any], parameters: ModelRequestParameters | None) -> int:
    """Return a number of tokens that messages and tools do not exceed: a token is one byte of text at least.

    A file that is only named by its URL counts as 32,000.
    """
    tools = [] if parameters is None else [*parameters.function_tools, *parameters.output_tools]
    schemas = [(each.name, each.description, each.parameters_json_schema) for each in tools]
    text = to_json(messages)
    return len(text) + len(to_json(schemas)) + 32_000 * text.count(b'-url"')


def settings_json(settings: Mapping[str, Any] | None) -> JsonValue:
    """Return settings as JSON, without those that may hold secrets; what is no JSON is named by its type."""
    if not settings:
        return None
    kept = {name: "(not kept)" if name in _NOT_KEPT else value for name, value in settings.items()}
    written: JsonValue = to_jsonable_python(kept, fallback=lambda value: f"({type(value).__name__})")
    return written


def usage_of(response: ModelResponse) -> ModelUsage | None:
    """Return the tokens that a provider counted; None where it did not."""
    usage = response.usage
    if not usage.has_values():
        return None
    return ModelUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.output_reasoning_tokens or 0,
    )


def text_of(response: ModelResponse) -> str:
    """Return the text of a response; without any, its tool calls in words."""
    from pydantic_ai.messages import TextPart, ToolCallPart

    text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
    return text or ", ".join(f"{part.tool_name}(…)" for part in response.parts if isinstance(part, ToolCallPart))


def problem_of(error: BaseException) -> tuple[CallProblem, Failure]:
    """Return why a request failed, by kind and in words that repeat no key."""
    from pydantic_ai import exceptions

    failure = failure_of(error)
    # Classes such as `_HTTPModelRateLimitError` are private names of a public error.
    name = type(error).__name__.removeprefix("_HTTP") or type(error).__name__
    failure = failure.model_copy(update={"type_name": name, "message": _SECRET.sub("(key)", failure.message)})
    kinds: Sequence[tuple[CallProblem, tuple[type[BaseException], ...]]] = (
        ("rate_limited", (exceptions.ModelRateLimitError, exceptions.ModelQuotaExceededError)),
        ("timed_out", (TimeoutError, exceptions.ModelTimeoutError, exceptions.ModelRequestTimeout)),
        ("too_long", (exceptions.ModelContextWindowExceededError, exceptions.OutputTokenLimitExceeded)),
        ("unknown_model", (exceptions.ModelNotFoundError,)),
        ("refused", (exceptions.ModelRequestRejectedError, exceptions.ContentFilterError)),
    )
    return next((kind for kind, classes in kinds if isinstance(error, classes)), "failed"), failure


def error_of(problem: CallProblem | None, failure: Failure) -> ModelCallError:
    """Return the error of a call that failed, the same one live and resumed."""
    return _ERRORS[problem or "failed"](failure.type_name, failure.message)
