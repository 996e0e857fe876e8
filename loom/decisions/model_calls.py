"""The entry of a call of a language model, which a trace joins by its turn, and costs are summed from.

Its field names are loom's own: conventions for spans still change, and a journal does not.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from loom.absent import is_empty
from loom.decisions.entries import Failure
from loom.journal.entry import Entry

__all__ = ["AtLimit", "CallProblem", "ModelCalledEntry", "ModelObservedEntry", "ModelUsage", "Price"]

AtLimit: TypeAlias = Literal["refused", "asked", "fallback"]
"""What came of a call that was over a limit of the budget: it was refused, a person was asked, another model was.

`asked` with a failure is the call that was not made yet; after a grant it is made, with an entry of its own.
"""

CallProblem: TypeAlias = Literal[
    "unknown_model", "refused", "rate_limited", "timed_out", "too_long", "misfit", "unkept", "budget", "failed"
]
"""Why a call has no answer that can be used.

`misfit` is an answer that does not fit, `unkept` one that cannot be journaled, `budget` a call that was not made.
"""

Price: TypeAlias = Literal["known", "unknown", "free"]
"""Whether the cost is known: `free` is a model that runs in this process and costs nothing."""


class ModelUsage(BaseModel):
    """Tokens as the provider counted them; those read from and written to a cache are among the input tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


class ModelCalledEntry(Entry):
    """A model was asked: with what, what came back, what it cost, or why there is no answer.

    `output` is the whole response as JSON, from which a resumed turn goes on; it is also there for an answer that does
    not fit what was asked for, as that was paid for.
    """

    kind: ClassVar[str] = "model_called"

    provider: str | None
    model: str
    """The model that was asked."""
    answering_model: str | None = None
    """The model that answered, as the provider names it."""
    response_id: str | None = None
    finish_reason: str | None = None
    settings: JsonValue = None
    messages_digest: str | None
    """SHA-256 of the messages without times and ids of a run; keyed where they have protected values."""
    tools_digest: str | None = None
    tools: tuple[str, ...] = ()
    """The names of the tools that the model was offered."""
    messages: JsonValue = None
    """The messages, where the config keeps them."""
    output: JsonValue = None
    sealed: bool = Field(default=False, exclude_if=is_empty)
    """Whether the output is sealed, for all subjects of whom the turn has handled values."""
    usage: ModelUsage | None = None
    """None where the provider did not count, or did not answer."""
    price: Price = "unknown"
    cost_micro_usd: int | None = None
    """The cost in millionths of a dollar, rounded up; None where it is unknown."""
    price_list: str | None = None
    """The price list by which the cost was computed, and its version."""
    duration_ms: float
    attempt: int = 1
    """Which answer this is: the second and later ones were asked for as the one before did not fit."""
    failed_attempts: tuple[str, ...] = ()
    """The types of the errors of requests that failed and were repeated, by `retry`."""
    problem: CallProblem | None = None
    failure: Failure | None = None
    reservation_id: str | None = None
    reserved_micro_usd: int | None = None
    """The amount that was reserved for it: the most that it could cost."""
    at_limit: AtLimit | None = None
    limit_detail: str | None = None
    approver: str | None = None
    """Who is asked for a call over the limit."""
    instead_of: str | None = None
    """The model that the code asked for, where another one was asked because of a limit."""


class ModelObservedEntry(Entry):
    """A call of a model that other code made, as its OpenTelemetry span says: loom cannot give back its answer.

    Nothing of what was said is in it. `journal` and `command_id` name the turn within which the span began, if any.
    """

    kind: ClassVar[str] = "model_observed"

    trace_id: str
    span_id: str
    source: str
    """The instrumentation that made the span."""
    journal: str | None = None
    command_id: str | None = None
    operation: str | None = None
    provider: str | None = None
    model: str | None = None
    answering_model: str | None = None
    response_id: str | None = None
    finish_reason: str | None = None
    usage: ModelUsage | None = None
    price: Price = "unknown"
    cost_micro_usd: int | None = None
    price_list: str | None = None
    duration_ms: float
    failure: Failure | None = None
    lost_before: int = Field(default=0, exclude_if=is_empty)
    """The number of spans before this one that could not be kept, as too many waited."""
