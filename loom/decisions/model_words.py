"""Calls of models in words, for explanations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loom.decisions.layout import ExplanationLine, labelled, took
from loom.decisions.model_costs import ModelCall

__all__ = ["asked_models", "cost_in_words"]

_LIMIT = {"refused": "refused", "asked": "a person was asked", "fallback": "another model was asked"}


def asked_models(calls: Sequence[ModelCall]) -> Iterator[ExplanationLine]:
    """Yield each call: the model, tokens, cost and time, and what it answered or why there is no answer."""
    for call in calls:
        again = f", answer {call.attempt}" if call.attempt > 1 else ""
        if call.failed_attempts:
            again += f", after {call.failed_attempts} failed {'attempt' if call.failed_attempts == 1 else 'attempts'}"
        if call.failure is None:
            yield labelled("asked", f"{call.model} ({figures(call)}{again}): {call.said or 'nothing'}")
        elif not call.made:
            yield labelled("not asked", f"{call.model}: {call.failure.message}", "bad")
        else:
            failed = f"{call.failure.type_name}: {call.failure.message}"
            yield labelled("asked", f"{call.model} ({figures(call)}{again}) failed: {failed}", "bad")
            if call.said:
                yield labelled("", f"it answered: {call.said}", "quiet")
        if call.answering_model and not call.model.endswith(call.answering_model):
            yield labelled("", f"{call.answering_model} answered", "quiet")
        if call.at_limit is not None and call.made:
            instead = f" in place of {call.instead_of}" if call.instead_of else ""
            detail = f": {call.limit_detail}" if call.limit_detail else ""
            yield labelled("", f"at a limit of the budget, {_LIMIT[call.at_limit]}{instead}{detail}", "quiet")


def figures(call: ModelCall) -> str:
    """Return tokens, cost and duration."""
    tokens = None if call.usage is None else call.usage.input_tokens + call.usage.output_tokens
    counted = "tokens not counted" if tokens is None else f"{tokens:,} tokens"
    return f"{counted}, {cost_in_words(call)}, {took(call.duration_ms / 1000)}"


def cost_in_words(call: ModelCall) -> str:
    """Return what a call cost: four decimals, or as many as it takes."""
    if call.price == "free":
        return "free"
    if call.cost_usd is None:
        return "cost unknown"
    return f"${call.cost_usd:.4f}" if call.cost_usd >= 0.000_1 or not call.cost_usd else f"${call.cost_usd:.6f}"
