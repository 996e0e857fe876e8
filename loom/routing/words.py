"""Routing in words: the reason of a decision, and its entry on the timeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from loom.decisions import Decision

__all__ = ["TimelineEntry", "reason_of"]


class _Told(NamedTuple):
    words: str
    higher_is_better: bool
    show: Callable[[Any], str]


_MEASURES: Mapping[str, _Told] = {
    "success_rate": _Told("success rate", True, lambda value: f"{value:.0%}"),
    "latency_p50": _Told("p50 latency", False, lambda value: f"{value:.0f}ms"),
    "latency_p95": _Told("p95 latency", False, lambda value: f"{value:.0f}ms"),
    "cost_per_run": _Told("cost per run", False, lambda value: f"${value:.4f}"),
}
"""Signals that are numbers, in the order in which they are told."""

_FLAGS = {"recovery_occurred": "recovery", "agent_availability": "availability", "context_size_bucket": "context size"}


def reason_of(agent: str, signals: Mapping[str, Mapping[str, Any]]) -> str:
    """Return why an agent was chosen: in what it is better than the baseline's, and in what it is not."""
    return f"Optimization selected {agent} ({_told(signals)})"


class TimelineEntry(BaseModel):
    """One decision as people read it: what the baseline was, what was chosen, why, and how sure it was."""

    model_config = ConfigDict(frozen=True)

    decision_id: str
    request_id: str
    baseline_agent: str
    optimized_agent: str
    reason: str
    confidence: float
    signals: tuple[str, ...]
    selected: str = "optimized_selected"
    not_used: str | None = None
    """Why the choice was not used after all, where it was not."""

    @classmethod
    def of(cls, decision: Decision, *, not_used: str | None = None) -> TimelineEntry:
        """Return the entry of a decision, from its record alone."""
        context: Any = decision.context
        told = _told(context["signals"])
        return cls(
            decision_id=decision.decision_id,
            request_id=context["request_id"],
            baseline_agent=context["baseline_agent"],
            optimized_agent=context["optimized_agent"],
            reason=told[:1].upper() + told[1:],
            confidence=context["confidence_score"],
            signals=tuple(sorted(context["signals_used"])),
            not_used=not_used,
        )

    @property
    def text(self) -> str:
        """The entry in lines."""
        lines = [
            "[CARE Routing Optimized]",
            f"Baseline would have selected: {self.baseline_agent}",
            f"Optimization selected: {self.optimized_agent}",
            f"Reason: {self.reason}",
            f"Confidence: {self.confidence:.2f}",
            f"Signals: {', '.join(self.signals)}",
        ]
        return "\n".join(lines + ([f"Not used: {self.not_used}"] if self.not_used else []))


def _told(signals: Mapping[str, Mapping[str, Any]]) -> str:
    better, worse = _compared(signals)
    told = ", ".join([*better, *_flags(signals)]) or "higher score"
    return f"{told}; despite {', '.join(worse)}" if worse else told


def _compared(signals: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return in what the optimised agent is better and in what worse, each with both values."""
    better: list[str] = []
    worse: list[str] = []
    for name, measure in _MEASURES.items():
        if name not in signals:
            continue
        old, new = signals[name]["baseline"], signals[name]["optimized"]
        if old is None or new is None or old == new:
            continue
        words = f"{'higher' if new > old else 'lower'} {measure.words} ({measure.show(new)} vs {measure.show(old)})"
        (better if (new > old) == measure.higher_is_better else worse).append(words)
    return better, worse


def _flags(signals: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"{words} {_plain(signals[name]['optimized'])} vs {_plain(signals[name]['baseline'])}"
        for name, words in _FLAGS.items()
        if name in signals and signals[name]["optimized"] != signals[name]["baseline"]
    ]


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)
