"""The part of an explanation that says what was done: the effects of the decision's turn."""

from __future__ import annotations

from collections.abc import Iterator

from loom.decisions.layout import ExplanationLine, Tone, after_failures, in_words, labelled, moment, took
from loom.decisions.trace import DecisionTrace, Effect
from loom.identity import short

__all__ = ["done"]

_TONES: dict[str, Tone] = {"performed": "good", "failed": "bad", "unknown": "bad"}


def done(trace: DecisionTrace) -> Iterator[ExplanationLine]:
    """Yield the effects of the decision's turn, before and after it, with their status."""
    for effect in trace.effects:
        when = "before it was decided" if effect.before else "after it was decided"
        yield labelled(effect.action, f"{_status(trace, effect)}, {when}", _TONES[effect.status])
        if effect.arguments is not None:
            under = "" if effect.under is None else f"; as approved in {short(effect.under)}"
            yield labelled("", f"with {in_words(effect.arguments)}{under}", "quiet")
        again = "" if effect.repeatable else "; not repeatable"
        lasted = "" if effect.duration_ms is None else f", took {took(effect.duration_ms / 1000)}"
        after = "".join(f", {words}" for words in after_failures(effect.failed_attempts))
        yield labelled("", f"key {effect.key}, begun {moment(effect.intended_at)}{lasted}{after}{again}", "quiet")
        if effect.status == "performed":
            yield labelled("", f"result: {in_words(effect.result)}", "quiet")
    if trace.effects_left_out:
        yield labelled("", f"{trace.effects_left_out:,} more are not shown", "quiet")
    if not trace.effects:
        what = "nothing outside, by its turn" if trace.command_id else "nothing: no turn made it"
        yield labelled("done", what, "quiet")


def _status(trace: DecisionTrace, effect: Effect) -> str:
    if effect.failure is not None:
        return f"failed: {effect.failure.type_name}: {effect.failure.message}"
    if effect.status == "performed":
        return "done"
    if trace.status == "open":
        return "not known yet whether it was done: there is no result so far"
    return "unknown whether it was done: its turn ended without a result"
