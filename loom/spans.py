"""Spans and metrics for OpenTelemetry, off until the application turns them on.

They carry ids, kinds and outcomes, and never what was looked up, decided or said. A turn is a span, and what it waits
for, look-ups, approvals, and the critic that comes later, are spans of their own. What is turned off costs a call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol

from loom.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["Span", "count", "count_decision", "instrument", "note_enrichment", "observe_budget", "span", "uninstrument"]

_NAME = "loom"


class Span(Protocol):
    """A running span."""

    def set_attribute(self, key: str, value: str | bool | float, /) -> None:  # noqa: FBT001
        """Set an attribute: an id, a kind or an outcome."""
        ...


class _NoSpan:
    def set_attribute(self, key: str, value: str | bool | float, /) -> None:  # noqa: FBT001
        """Do nothing."""


_NOTHING: AbstractContextManager[Span] = nullcontext(_NoSpan())
_instruments: _Instruments | None = None


def instrument(tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None) -> None:
    """Send spans and metrics of every loom in this process to OpenTelemetry, by default to the global providers.

    Needs the extra `otel`; a `ConfigError` says so where it is not there. Calling it again replaces the providers.
    """
    global _instruments
    try:
        from opentelemetry import metrics, trace
    except ImportError as error:
        raise ConfigError(
            "spans need a package that is not there [opentelemetry]; expected the extra [otel]: "
            "pip install 'loom-journal[otel]'"
        ) from error
    _instruments = _Instruments(
        trace.get_tracer(_NAME, tracer_provider=tracer_provider),
        metrics.get_meter(_NAME, meter_provider=meter_provider),
    )


def uninstrument() -> None:
    """Turn spans and metrics off again."""
    global _instruments
    _instruments = None


def span(name: str, attributes: Mapping[str, str | bool | float]) -> AbstractContextManager[Span]:
    """Return a span to be entered with `with`; what raises within ends it as an error, without the words of it."""
    return _NOTHING if _instruments is None else _instruments.span(name, attributes)


def count(name: str, attributes: Mapping[str, str | bool | float]) -> None:
    """Count something under a name of its own, as extensions do: `loom.<extension>.<what>`."""
    if _instruments is not None:
        _instruments.counter(name).add(1, dict(attributes))


def count_decision(*, decision_type: str, effect: str | None, is_exception: bool) -> None:
    """Count a decision that was recorded."""
    if _instruments is not None:
        _instruments.decisions.add(
            1, {"loom.decision_type": decision_type, "loom.effect": effect or "none", "loom.exception": is_exception}
        )


def note_enrichment(*, status: str, duration_s: float, confidence: float | None) -> None:
    """Record the result of asking a critic, how long it took, and how sure it was."""
    if _instruments is not None:
        _instruments.enrichment_s.record(duration_s, {"loom.status": status})
        if confidence is not None:
            _instruments.confidence.record(confidence)


def observe_budget(left: Callable[[], Mapping[str, float]]) -> None:
    """Have what is left of the budget asked for whenever metrics are collected: by unit, calls and US dollars."""
    if _instruments is not None:
        _instruments.left = left


class _Instruments:
    def __init__(self, tracer: object, meter: object) -> None:
        from opentelemetry.metrics import CallbackOptions, Meter, Observation
        from opentelemetry.trace import Tracer

        assert isinstance(tracer, Tracer)  # noqa: S101 - what get_tracer returned
        assert isinstance(meter, Meter)  # noqa: S101 - what get_meter returned
        self._tracer = tracer
        self._meter = meter
        self._counters: dict[str, Counter] = {}
        self.left: Callable[[], Mapping[str, float]] = dict
        self.decisions = meter.create_counter("loom.decisions", description="decisions recorded")
        self.lookup_s = meter.create_histogram("loom.lookup.duration", unit="s", description="look-ups, by system")
        self.enrichment_s = meter.create_histogram("loom.enrichment.duration", unit="s", description="critics asked")
        self.confidence = meter.create_histogram("loom.enrichment.confidence", description="how sure critics are")

        def budget(_: CallbackOptions) -> list[Observation]:
            return [Observation(value, {"loom.unit": unit}) for unit, value in self.left().items()]

        meter.create_observable_gauge("loom.budget.left", callbacks=[budget], description="left of today's budget")

    def counter(self, name: str) -> Counter:
        """Return the counter of a name, the same one every time."""
        if name not in self._counters:
            self._counters[name] = self._meter.create_counter(name)
        return self._counters[name]

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, str | bool | float]) -> Iterator[Span]:
        """Give a span; a look-up's length goes into the histogram as well."""
        from opentelemetry.trace import Status, StatusCode

        began = time.perf_counter()
        # The words of an exception may quote what was looked up: only its type is sent.
        with self._tracer.start_as_current_span(
            name, attributes=dict(attributes), record_exception=False, set_status_on_exception=False
        ) as under_way:
            try:
                yield under_way
            except BaseException as error:
                under_way.set_attribute("loom.error", type(error).__name__)
                under_way.set_status(Status(StatusCode.ERROR))
                raise
            finally:
                if name == "loom.lookup":
                    system = str(attributes.get("loom.system", ""))
                    self.lookup_s.record(time.perf_counter() - began, {"loom.system": system})
