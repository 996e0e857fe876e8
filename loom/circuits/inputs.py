"""Where the inputs of a circuit come from, what may be written of them, and what may be said when it fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.circuits.chain import RunChain, Step
from loom.circuits.definition import Circuit, CircuitDefinition, Result
from loom.circuits.entries import Provenance
from loom.sealing import Handling

__all__ = ["GONE", "Found", "check_inputs", "check_outputs", "inputs_of", "problem_of", "protected_of"]

GONE = object()
"""Stands for an input that was not to be kept, in a turn that is resumed without it."""


class Found(NamedTuple):
    """What an earlier step found: where, as it is written, and the key of its raw value."""

    where: str
    written: JsonValue
    key: tuple[int, str]
    lost: bool
    """Whether what is written is not what it was: masked or hashed."""


def inputs_of(
    circuit: Circuit, command: RunChain, step: Step, found: Mapping[str, Found]
) -> tuple[dict[str, JsonValue], Provenance]:
    """Return what a circuit is given: what the step says itself wins over what an earlier one found."""
    inputs: dict[str, JsonValue] = {}
    provenance: Provenance = {}
    for name in (*circuit.definition.inputs, *circuit.definition.optional):
        if name in step.inputs:
            inputs[name], provenance[name] = step.inputs[name], "explicit"
        elif name in step.unwritten:
            provenance[name] = "explicit"
        elif name in found:
            provenance[name] = found[name].where
            if found[name].written is not None or not found[name].lost:
                inputs[name] = found[name].written
        elif name == "client_id":
            inputs[name], provenance[name] = command.client_id, "request"
    return inputs, provenance


def protected_of(definition: CircuitDefinition, names: Iterable[str]) -> dict[str, Handling]:
    """Return what became of those fields that are not written as they are."""
    said = definition.fields
    return {name: said[name] for name in names if said.get(name, "keep") != "keep"}


def check_inputs(inputs: Mapping[str, Any]) -> None:
    """Raise where an input is not there any more."""
    gone = [name for name, value in inputs.items() if value is GONE]
    if gone:
        raise ValueError(f"input [{', '.join(gone)}] was not to be kept, and is gone: the turn was resumed")


def problem_of(circuit: Circuit, error: Exception) -> str:
    """Return what is said of a failure; of a circuit that protects fields only the type, as a message may hold them."""
    if any(how != "keep" for how in circuit.definition.fields.values()):
        return f"{type(error).__name__} (what it says is not kept, as this circuit protects fields)"
    return f"{type(error).__name__}: {error}"[:500]


def check_outputs(circuit: Circuit, result: Result) -> None:
    """Raise where a circuit did not come to what it declares."""
    missing = [name for name in circuit.definition.outputs if name not in result.outputs]
    if missing:
        raise ValueError(f"outputs [{', '.join(missing)}] are missing")
