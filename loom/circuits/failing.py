"""Failure modes: what is done when a circuit fails. Each puts something definite in the place of the outputs, or fails.

Confidence is lowered each time by a penalty, and never raised again by what follows.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from loom.circuits.definition import Circuit, CircuitFunction, Result
from loom.circuits.inputs import REDACTED

__all__ = ["Failure", "FailureModeApplied", "apply_failure_mode", "called", "outcome_of"]

_CREATIVITY = 0.7
_REGENERATIONS = 3


class FailureModeApplied(NamedTuple):
    """What a failure mode made of a failure, and what it did in words."""

    result: Result
    reason: str


class Failure(NamedTuple):
    """What a circuit failed on, and what its mode may use."""

    inputs: Mapping[str, Any]
    problem: str
    last: Mapping[str, Any] | None
    """The outputs of the last successful execution of the circuit for the client."""
    in_words: Callable[[Exception], str]
    """What may be written of an error."""


async def outcome_of(run: CircuitFunction, inputs: Mapping[str, Any]) -> Result:
    """Run a circuit's function; plain outputs are a result with the usual confidence."""
    said = await called(run, inputs)
    if isinstance(said, Result):
        return said
    if not isinstance(said, Mapping):
        raise TypeError(f"a circuit returned a {type(said).__name__}; expected a mapping of outputs, or a Result")
    return Result(outputs=dict(said))


async def called(run: CircuitFunction, inputs: Mapping[str, Any]) -> Any:
    """Call a function of a user's: one that is not async runs in a thread, so that it keeps no one else waiting."""
    if inspect.iscoroutinefunction(run):
        return await run(dict(inputs))
    said = await asyncio.to_thread(_guarded, run, dict(inputs))
    return await said if inspect.isawaitable(said) else said


def _guarded(run: CircuitFunction, inputs: Mapping[str, Any]) -> Any:
    try:
        return run(inputs)
    except StopIteration as error:  # no future can carry it: a caller who waits for this would wait for ever
        raise RuntimeError(f"StopIteration: {error}") from error


async def apply_failure_mode(circuit: Circuit, failure: Failure) -> FailureModeApplied | None:
    """Return what the failure mode of a circuit makes of a failure; None where it makes nothing of it.

    Without all of its inputs a circuit is not run another way either.
    """
    if circuit.definition.failure_mode in _RUN_AGAIN and REDACTED in failure.inputs.values():
        return None
    return await _MODES[circuit.definition.failure_mode](circuit, failure)


def _instead(
    circuit: Circuit, outputs: Mapping[str, Any], confidence: float, words: str, problem: str
) -> FailureModeApplied:
    kept = {name: outputs.get(name) for name in circuit.definition.outputs}
    return FailureModeApplied(Result(outputs=kept, confidence=confidence), f"{words} ({problem})")


async def _last_successful(circuit: Circuit, failure: Failure) -> FailureModeApplied | None:
    if failure.last is None:
        return None
    return _instead(circuit, failure.last, 0.7, "what it said when it last succeeded", failure.problem)


async def _primary(circuit: Circuit, failure: Failure) -> FailureModeApplied | None:
    if not set(circuit.definition.outputs) <= set(circuit.definition.defaults):
        return None
    return _instead(circuit, circuit.definition.defaults, 0.6, "the primary one", failure.problem)


async def _without_state(circuit: Circuit, failure: Failure) -> FailureModeApplied | None:
    return _instead(circuit, {}, 0.75, "nothing is known, and it goes on without", failure.problem)


async def _alternate(circuit: Circuit, failure: Failure) -> FailureModeApplied | None:
    problem = failure.problem
    for place, alternate in enumerate(circuit.alternates, start=1):
        try:
            result = await outcome_of(alternate, failure.inputs)
        except Exception as error:
            problem = f"{problem}; alternate {place}: {failure.in_words(error)}"
            continue
        confidence = round(min(result.confidence, 0.95) * 0.8, 6)
        return _instead(circuit, result.outputs, confidence, f"alternate {place}", problem)
    return None


async def _rewritten(circuit: Circuit, failure: Failure) -> FailureModeApplied | None:
    if circuit.rewrite is None:
        return None
    try:
        result = await outcome_of(circuit.run, await called(circuit.rewrite, failure.inputs))
    except Exception:
        return None
    confidence = round(result.confidence * 0.7, 6)
    return _instead(circuit, result.outputs, confidence, "rewritten, with a penalty", failure.problem)


async def _less_creative(circuit: Circuit, failure: Failure) -> FailureModeApplied | None:
    given, problem = failure.inputs.get("creativity", _CREATIVITY), failure.problem
    creativity = float(given) if isinstance(given, int | float) and not isinstance(given, bool) else _CREATIVITY
    penalty = 1.0
    for _attempt in range(_REGENERATIONS):
        creativity, penalty = round(creativity / 2, 6), penalty * 0.85
        try:
            result = await outcome_of(circuit.run, {**failure.inputs, "creativity": creativity})
        except Exception as error:
            problem = f"{problem}; at {creativity:g}: {type(error).__name__}"
            continue
        confidence = round(result.confidence * penalty, 6)
        return _instead(circuit, result.outputs, confidence, f"regenerated with creativity {creativity:g}", problem)
    return None


async def _neutral(circuit: Circuit, failure: Failure) -> FailureModeApplied | None:
    neutral = {name: circuit.definition.defaults.get(name, "neutral") for name in circuit.definition.outputs}
    return _instead(circuit, neutral, 0.5, "marked as neutral", failure.problem)


async def _nothing(_: Circuit, __: Failure) -> FailureModeApplied | None:
    return None  # a person is asked: the actor opens an escalation


_RUN_AGAIN = frozenset({"rotate_to_alternate", "auto_rewrite_with_penalty", "regenerate_with_lower_creativity"})

_Mode = Callable[[Circuit, Failure], Awaitable[FailureModeApplied | None]]
_MODES: Mapping[str, _Mode] = {
    "fallback_to_last_successful": _last_successful,
    "default_to_primary": _primary,
    "proceed_without_state": _without_state,
    "rotate_to_alternate": _alternate,
    "auto_rewrite_with_penalty": _rewritten,
    "regenerate_with_lower_creativity": _less_creative,
    "mark_as_neutral": _neutral,
    "escalate_to_admin": _nothing,
}
