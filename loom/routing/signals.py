"""Signals: the seven things that history may say about an agent, and a reader that can say nothing else.

The reader has one statement over one table of aggregates. There is no way from here to what was asked, answered,
decided, or said by people.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict

from loom.errors import LoomError
from loom.projections import Queries
from loom.routing.request import Availability, Candidate, ContextSize
from loom.routing.seen import Executions, Seen

__all__ = [
    "ALLOWED_SIGNALS",
    "FORBIDDEN_SIGNALS",
    "SOURCES",
    "AgentSignals",
    "ForbiddenSignalError",
    "SignalKind",
    "SignalRangeError",
    "SignalReader",
    "SignalSource",
    "SignalValue",
    "check_signals",
    "checked",
    "source_named",
]

SignalValue: TypeAlias = float | bool | str | None


class SignalKind(NamedTuple):
    """What a signal is: its unit, method and window in words; what its values are, in words and as a check."""

    about: str
    values: str
    holds: Callable[[object], bool]


def _quantity(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value) and value >= 0
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _rate(value: object) -> bool:
    return isinstance(value, int | float) and _quantity(value) and value <= 1


_QUANTITY = "a number that is not negative"
_LATENCY = "ms; nearest rank over the last 100 executions"

ALLOWED_SIGNALS: Mapping[str, SignalKind] = {
    "latency_p50": SignalKind(_LATENCY, _QUANTITY, _quantity),
    "latency_p95": SignalKind(_LATENCY, _QUANTITY, _quantity),
    "cost_per_run": SignalKind(
        "US dollars; mean over those of the last 100 executions whose cost is known", _QUANTITY, _quantity
    ),
    "success_rate": SignalKind(
        "share of the last 100 executions that came to their end", "a number from 0 to 1", _rate
    ),
    "recovery_occurred": SignalKind(
        "whether there was a recovery in the last 100 executions",
        "true or false",
        lambda value: isinstance(value, bool),
    ),
    "agent_availability": SignalKind(
        "what the health check in the request says",
        f"one of {', '.join(get_args(Availability))}",
        lambda value: value in get_args(Availability),
    ),
    "context_size_bucket": SignalKind(
        "the bucket that was met most often in the last 100 executions",
        f"one of {', '.join(get_args(ContextSize))}",
        lambda value: value in get_args(ContextSize),
    ),
}
"""What may be learnt from. Every one may also be unknown, which is None."""

FORBIDDEN_SIGNALS: Mapping[str, str] = {
    "policy_outcome": "would create a feedback loop with policy",
    "budget_halt_reason": "would optimise around budget limits",
    "recovery_class": "would learn to avoid what needs recovery",
    "customer_content": "privacy: no routing by content",
    "safety_events": "would optimise around safety rails",
    "founder_overrides": "would learn to predict or bypass human judgement",
    "failure_details": "more than a boolean could leak what is sensitive",
    "user_feedback": "stands for the quality of content, and brings bias",
}
"""What may never be learnt from, and why."""


class ForbiddenSignalError(LoomError):
    """A signal was asked for, or given, that optimisation may not see.

    To do: name a signal that the catalogue allows: see `loom docs routing`.
    """

    kind = "refused"


class SignalRangeError(LoomError):
    """A source gave a value that is none of its signal's kind.

    To do: correct the source that gave the value.
    """

    kind = "fault"


class AgentSignals(BaseModel):
    """What history says about one agent; `samples` is the number of executions behind it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    samples: int = 0
    values: dict[str, SignalValue] = {}


class SignalSource(Protocol):
    """Where signals come from; `signals` says which, and is checked before anything is read."""

    @property
    def signals(self) -> Sequence[str]:
        """The names of what it gives."""
        ...

    async def read(self, candidates: Sequence[Candidate]) -> Mapping[str, AgentSignals]:
        """Return what is known of each agent; one that is not in it has no history."""
        ...


def check_signals(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of signals; raise `ForbiddenSignalError` for one that is forbidden or unknown."""
    asked = tuple(names)
    for name in asked:
        if name in FORBIDDEN_SIGNALS:
            raise ForbiddenSignalError(
                f"signal [{name}] is forbidden, it {FORBIDDEN_SIGNALS[name]}; expected one of "
                f"[{', '.join(ALLOWED_SIGNALS)}]: route without it"
            )
        if name not in ALLOWED_SIGNALS:
            raise ForbiddenSignalError(
                f"signal [{name!r:.80}] is unknown; expected one of [{', '.join(ALLOWED_SIGNALS)}]: use one of these"
            )
    return asked


def checked(read: Mapping[str, AgentSignals]) -> dict[str, AgentSignals]:
    """Return what a source gave; raise for a signal that it may not give, and for a value out of its signal's range."""
    for agent, signals in read.items():
        check_signals(signals.values)
        samples: object = signals.samples  # a source may have made it without looking at what it is
        if not isinstance(samples, int) or isinstance(samples, bool) or samples < 0:
            raise _out_of_range("samples", agent, samples, "a number of executions")
        for name, value in signals.values.items():
            kind = ALLOWED_SIGNALS[name]
            if value is not None and not kind.holds(value):
                raise _out_of_range(name, agent, value, kind.values)
    return dict(read)


def _out_of_range(name: str, agent: str, value: object, expected: str) -> SignalRangeError:
    # A text may hold personal data: the error is journaled, so it names only the type.
    shown = f"{value}" if isinstance(value, int | float) else type(value).__name__
    return SignalRangeError(
        f"signal [{name}] of agent [{agent:.80}] is [{shown:.80}]; expected {expected}: correct the source of signals"
    )


class SignalReader:
    """Reads signals out of executions, and availability out of the candidates themselves."""

    name: ClassVar[str] = "contracts.execution_metrics"
    """What it is called as a source: the view with the same figures, for any SQLite shell."""

    def __init__(self, queries: Queries, signals: Sequence[str] = tuple(ALLOWED_SIGNALS)) -> None:
        self.signals = check_signals(signals)
        self._executions = Executions(queries)

    async def read(
        self, candidates: Sequence[Candidate], signals: Sequence[str] | None = None
    ) -> Mapping[str, AgentSignals]:
        """Return the signals of agents, by default all that this reader was made for.

        They are those of the executions that the view names, which may be some milliseconds behind the journal, each
        read out of its entry: what was seen is what is recorded.
        """
        wanted = self.signals if signals is None else check_signals(signals)
        history = await self._executions.of([each.agent for each in candidates])
        found: dict[str, AgentSignals] = {}
        for each in candidates:
            samples, values = history.get(each.agent, _NOTHING)
            known: dict[str, Any] = {**values, "agent_availability": each.availability}
            found[each.agent] = AgentSignals(samples=samples, values={name: known.get(name) for name in wanted})
        return found


_NOTHING = Seen(0, {})

SOURCES: Mapping[str, Callable[[Queries], SignalSource]] = {SignalReader.name: SignalReader}
"""Where signals may come from by name: aggregated metrics of executions, and nothing of what was decided or said."""


def source_named(name: str, queries: Queries) -> SignalSource:
    """Return a source of signals by its name; raise `ForbiddenSignalError` for any that is none."""
    make = SOURCES.get(name)
    if make is None:
        raise ForbiddenSignalError(
            f"source of signals [{name!r:.80}] is none; expected one of [{', '.join(SOURCES)}]: name one of these"
        )
    return make(queries)
