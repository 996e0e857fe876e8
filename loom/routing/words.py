"""Routing in words: the reason of a decision, and its entry on the timeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from loom.decisions import Decision

__all__ = ["TimelineEntry", "confidence_of", "known_in", "missing_in", "reason_of"]


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
"""Signals that are numbers, in the order in which they are listed."""

_FLAGS = {"recovery_occurred": "recovery", "agent_availability": "availability", "context_size_bucket": "context size"}


def reason_of(agent: str, signals: Mapping[str, Mapping[str, Any]]) -> str:
    """Return why an agent was chosen: in what it is better than the baseline's, and in what it is not."""
    return f"Optimization selected {agent} ({_differences(signals)})"


def known_in(signals: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the names of the signals of which something was known, of the baseline's agent or of the optimised one."""
    return tuple(sorted(name for name, seen in signals.items() if any(value is not None for value in seen.values())))


def confidence_of(*, executions: int, lead: float) -> tuple[float, str]:
    """Return a confidence, and the formula it is made by with its numbers.

    `executions` are those of that one of the two agents that was seen less, `lead` is between their scores.
    """
    confidence = round(executions / (executions + 10) * (0.5 + min(lead, 0.5)), 6)
    formula = "n / (n + 10) * (0.5 + min(lead, 0.5))"
    numbers = f"{executions} / {executions + 10} * (0.5 + {round(min(lead, 0.5), 6):g})"
    return (
        confidence,
        f"{formula} = {numbers} = {confidence:g}, for n = {executions} executions of either agent at least",
    )


def missing_in(decision: Decision) -> str | None:
    """Return what the timeline entry of a decision lacks in its record; None where all of it is there.

    It has to say what the baseline would have chosen, what was chosen, by which signals with which values, and how
    confident the optimiser was (docs/routing.md).
    """
    context: Any = decision.context
    for name in ("request_id", "baseline_agent", "optimized_agent"):
        if not isinstance(context.get(name), str) or not context[name]:
            return name.replace("_", " ")
    used, values = context.get("signals_used"), context.get("signals")
    if not isinstance(used, list | tuple) or not used:
        return "signals"
    if not isinstance(values, Mapping):
        return "values of signals"
    for name in used:
        seen = values.get(name)
        if not isinstance(seen, Mapping) or not {"baseline", "optimized"} <= seen.keys():
            return f"value of {name}"
    if not isinstance(context.get("confidence_score"), float | int):
        return "confidence"
    try:
        entry = TimelineEntry.of(decision)
    except (ValidationError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return f"timeline entry ({type(error).__name__})"
    return None if entry.reason else "reason"


class TimelineEntry(BaseModel):
    """One decision as people read it: what the baseline was, what was chosen, why, and how sure it was."""

    model_config = ConfigDict(frozen=True)

    decision_id: str
    request_id: str
    baseline_agent: str
    optimized_agent: str
    reason: str
    confidence: float
    confidence_formula: str | None = None
    """How the confidence came about; None where the record does not give it by the formula."""
    signals: tuple[str, ...]
    """Those that counted and of which something was known."""
    selected: str = "optimized_selected"
    not_used: str | None = None
    """Why the choice was not used after all, where it was not."""

    @classmethod
    def of(cls, decision: Decision, *, not_used: str | None = None) -> TimelineEntry:
        """Return the entry of a decision, from its record alone."""
        context: Any = decision.context
        used = {name: context["signals"][name] for name in context["signals_used"]}
        differences = _differences(used)
        return cls(
            decision_id=decision.decision_id,
            request_id=context["request_id"],
            baseline_agent=context["baseline_agent"],
            optimized_agent=context["optimized_agent"],
            reason=differences[:1].upper() + differences[1:],
            confidence=context["confidence_score"],
            confidence_formula=_formula_of(decision),
            signals=known_in(used),
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

    @property
    def explained(self) -> str:
        """The entry in lines, and how its confidence came about."""
        return (
            self.text if self.confidence_formula is None else f"{self.text}\nConfidence is {self.confidence_formula}."
        )


def _formula_of(decision: Decision) -> str | None:
    """Return how the confidence of a decision came about, from what its record holds of scores and executions."""
    context: Any = decision.context
    facts: Any = decision.facts or {}
    details: Mapping[str, Any] = context.get("details") or {}
    samples = {each.get("agent"): each.get("samples") for each in facts.get("candidates") or ()}
    seen = [samples.get(context[name]) for name in ("baseline_agent", "optimized_agent")]
    scores = [details.get(name) for name in ("baseline_score", "optimized_score")]
    numbers = [each for each in (*seen, *scores) if isinstance(each, int | float)]
    if len(numbers) < 4:
        return None
    executions, lead = int(min(numbers[:2])), round(numbers[3] - numbers[2], 6)
    confidence, formula = confidence_of(executions=executions, lead=lead)
    return formula if abs(confidence - context["confidence_score"]) < 1e-6 else None


def _differences(signals: Mapping[str, Mapping[str, Any]]) -> str:
    better, worse = _compared(signals)
    gains = ", ".join([*better, *_flags(signals)]) or "higher score"
    return f"{gains}; despite {', '.join(worse)}" if worse else gains


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
        f"{words} {_in_words(signals[name]['optimized'])} vs {_in_words(signals[name]['baseline'])}"
        for name, words in _FLAGS.items()
        if name in signals and signals[name]["optimized"] != signals[name]["baseline"]
    ]


def _in_words(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)
