"""Calls of models that other code makes, taken from its OpenTelemetry spans (`gen_ai.*`) into the journal.

Needs the extra `otel`. For frameworks that loom has no adapter for: what they ask of models is on record, with the turn
that it belongs to and its cost; a resumed turn asks again, as loom cannot give such a call its answer back.

    async with GenAiSpans(loom) as spans:
        tracer_provider.add_span_processor(spans)

A span may end in any thread. What `on_end` takes waits in memory until a child of the loom journals it: a process that
is killed loses what waits. No more than `at_most` wait; others are counted, and the next entry says how many were lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import StatusCode

from loom.actors.turn_context import turn_of_caller
from loom.decisions.entries import Failure
from loom.decisions.model_calls import ModelObservedEntry, ModelUsage
from loom.journal.singleton import SingletonJournal
from loom.runtime import Loom
from loom.spend.prices import FREE, Tokens, model_price_micro_usd, price_list

__all__ = ["OBSERVED_JOURNAL", "GenAiSpans"]

OBSERVED_JOURNAL = "loom/observed-models"
"""The journal of what is observed."""

_OPERATIONS = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
"""The operations that call a model; others, such as of agents and tools, enclose these."""

_OWN = "loom"
"""The source of loom's own spans: the calls behind them have entries already."""


class GenAiSpans(SpanProcessor):
    """Journals the calls of models that spans of this process tell of; enter it before spans end."""

    def __init__(self, loom: Loom, *, at_most: int = 10_000) -> None:
        self._loom = loom
        self._at_most = at_most
        self._journal = SingletonJournal(loom.store, OBSERVED_JOURNAL, lambda _: None)
        self._waiting: deque[ModelObservedEntry] = deque()
        self._turns: dict[int, tuple[str, str]] = {}
        self._lock = threading.Lock()
        self._lost = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._came = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        """Begin to journal what ends from here on."""
        self._loop = asyncio.get_running_loop()
        self._child = self._loom.background.keep_running(self._follow, name="loom-observed-models")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Journal what waits, and take nothing more."""
        await self.flushed()
        self._loop = None
        self._child.cancel()

    async def flushed(self) -> None:
        """Wait until all that has come so far is in the journal."""
        await asyncio.sleep(0)  # what other threads have handed over is taken first
        await self._idle.wait()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Remember within which turn a span begins: it may end elsewhere."""
        turn = turn_of_caller()
        if turn is not None and span.context is not None:
            with self._lock:
                self._turns[span.context.span_id] = (turn.host.journal, turn.command_id)

    def on_end(self, span: ReadableSpan) -> None:
        """Take the call of a model that a span tells of."""
        if span.context is None:
            return
        with self._lock:
            turn = self._turns.pop(span.context.span_id, None)
        loop, about = self._loop, span.attributes or {}
        source = span.instrumentation_scope.name if span.instrumentation_scope is not None else "unknown"
        if loop is None or source == _OWN or about.get("gen_ai.operation.name") not in _OPERATIONS:
            return
        entry = _entry(span, about, source, turn)
        if _runs_here(loop):
            self._take(entry)
        else:
            loop.call_soon_threadsafe(self._take, entry)

    def shutdown(self) -> None:
        """Do nothing: leaving the context journals what waits."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Tell whether nothing waits; `await flushed()` waits for that."""
        return self._idle.is_set()

    def _take(self, entry: ModelObservedEntry) -> None:
        if len(self._waiting) >= self._at_most:
            self._lost += 1
            return
        self._waiting.append(entry.model_copy(update={"lost_before": self._lost}) if self._lost else entry)
        self._lost = 0
        self._idle.clear()
        self._came.set()

    async def _follow(self) -> None:
        while True:
            self._came.clear()
            while self._waiting:
                await self._journal.append_if_missing(lambda: self._waiting[0])
                self._waiting.popleft()
            self._idle.set()
            await self._came.wait()


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _entry(
    span: ReadableSpan, about: Mapping[str, Any], source: str, turn: tuple[str, str] | None
) -> ModelObservedEntry:
    assert span.context is not None  # noqa: S101 - narrows: the caller has looked
    reasons = about.get("gen_ai.response.finish_reasons")
    usage = _usage(about)
    provider, asked = about.get("gen_ai.provider.name") or about.get("gen_ai.system"), about.get("gen_ai.request.model")
    answering = about.get("gen_ai.response.model")
    cost = 0 if provider in FREE else _cost(usage, answering or asked, provider)
    return ModelObservedEntry(
        trace_id=f"{span.context.trace_id:032x}",
        span_id=f"{span.context.span_id:016x}",
        source=source,
        journal=None if turn is None else turn[0],
        command_id=None if turn is None else turn[1],
        operation=about.get("gen_ai.operation.name"),
        provider=provider,
        model=asked,
        answering_model=answering,
        response_id=about.get("gen_ai.response.id"),
        finish_reason=str(reasons[0]) if reasons else None,
        usage=usage,
        price="free" if provider in FREE else "unknown" if cost is None else "known",
        cost_micro_usd=cost,
        price_list=None if cost is None or provider in FREE else price_list(),
        duration_ms=round(((span.end_time or 0) - (span.start_time or 0)) / 1_000_000, 3),
        failure=_failure(span, about),
    )


def _usage(about: Mapping[str, Any]) -> ModelUsage | None:
    counted = {
        "input_tokens": about.get("gen_ai.usage.input_tokens"),
        "output_tokens": about.get("gen_ai.usage.output_tokens"),
        "cache_read_tokens": about.get("gen_ai.usage.cache_read.input_tokens"),
        "cache_write_tokens": about.get("gen_ai.usage.cache_creation.input_tokens"),
    }
    found = {name: value for name, value in counted.items() if isinstance(value, int)}
    return ModelUsage(**found) if found else None


def _cost(usage: ModelUsage | None, model: str | None, provider: str | None) -> int | None:
    if usage is None or model is None:
        return None
    tokens = Tokens(usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens)
    try:
        return model_price_micro_usd(tokens, model=model, provider=provider, base_url=None)
    except ImportError:  # the price list comes with the extra `llm`
        return None


def _failure(span: ReadableSpan, about: Mapping[str, Any]) -> Failure | None:
    """Return why a call failed, by its kind: the words of a provider may repeat what was said."""
    if span.status.status_code is not StatusCode.ERROR:
        return None
    return Failure(type_name=str(about.get("error.type") or "Error"), message="see the span")
