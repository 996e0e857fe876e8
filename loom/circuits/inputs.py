"""Where the inputs of a circuit come from, what may be written of them, and what may be said when it fails."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.circuits.chain import RunChain, Step
from loom.circuits.definition import Circuit, CircuitDefinition, Result
from loom.circuits.entries import Provenance
from loom.errors import AdmissionError
from loom.journal.admission import DEFAULT_LIMITS, Limits, json_value
from loom.sealing import Handling, SealedValue, Withheld, is_sealed
from loom.sealing.markers import placeholder_of
from loom.sealing.pointers import escaped

__all__ = [
    "REDACTED",
    "Found",
    "check_inputs",
    "check_outputs",
    "check_room",
    "check_step",
    "declared_inputs",
    "earlier_of",
    "inputs_of",
    "is_secret",
    "named",
    "named_step",
    "problem_of",
    "protected_of",
    "size_of",
]

_LIMITS = Limits(max_depth=24)
"""Of outputs: they are written several levels deep in their entries."""

_BYTES_OF_A_NODE = DEFAULT_LIMITS.max_bytes // DEFAULT_LIMITS.max_nodes

REDACTED = object()
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
    definition = circuit.definition
    for name in (*definition.inputs, *definition.optional):
        earlier = _found(definition, name, found)
        if name in step.inputs:
            inputs[name], provenance[name] = step.inputs[name], "explicit"
        elif name in step.unwritten:
            provenance[name] = "explicit"
        elif earlier is not None:
            provenance[name] = earlier.where
            if earlier.written is not None or not earlier.lost:
                inputs[name] = earlier.written
        elif name == "client_id":
            inputs[name], provenance[name] = command.client_id, "request"
    return inputs, provenance


def declared_inputs(circuit: Circuit | None, inputs: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """Return what may be written of inputs at all: of a circuit that is not known none, as nothing says what they are.

    What is not declared reaches no circuit; where fields are protected it is not written either.
    """
    if circuit is None:
        return {}
    if not circuit.definition.fields:
        return inputs
    declared = {*circuit.definition.inputs, *circuit.definition.optional}
    return {field: value for field, value in inputs.items() if field in declared}


def named(definition: CircuitDefinition, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs under the names that a definition has for them; its own name wins over a further one."""
    own = {alias: name for name, aliases in definition.input_aliases.items() for alias in aliases}
    renamed = {own[name]: value for name, value in inputs.items() if name in own}
    return {**renamed, **{name: value for name, value in inputs.items() if name not in own}}


def named_step(definition: CircuitDefinition, step: Step) -> Step:
    """Return a step with its inputs under the names that a definition has for them."""
    if not definition.input_aliases:
        return step
    unwritten = tuple(named(definition, dict.fromkeys(step.unwritten)))
    return step.model_copy(update={"inputs": named(definition, step.inputs), "unwritten": unwritten})


def earlier_of(definition: CircuitDefinition, name: str, where: str, found: Mapping[str, Found]) -> Found | None:
    """Return what an earlier step found, if that is where an input came from."""
    earlier = _found(definition, name, found)
    return earlier if earlier is not None and where == earlier.where else None


def _found(definition: CircuitDefinition, name: str, found: Mapping[str, Found]) -> Found | None:
    names = (name, *definition.input_aliases.get(name, ()))
    return next((found[each] for each in names if each in found), None)


def protected_of(
    definition: CircuitDefinition, names: Iterable[str], written: Mapping[str, JsonValue]
) -> dict[str, Handling]:
    """Return what became of those fields that are not written as they are."""
    said = {name: definition.fields.get(name, "keep") for name in names}
    return {
        name: how for name, how in said.items() if how != "keep" and (how != "seal" or is_sealed(written.get(name)))
    }


def check_inputs(inputs: Mapping[str, Any]) -> None:
    """Raise where an input is not there any more."""
    gone = [name for name, value in inputs.items() if value is REDACTED]
    if gone:
        raise ValueError(f"input [{', '.join(gone)}] was not to be kept, and is gone: the turn was resumed")


def is_secret(
    definition: CircuitDefinition,
    step: Step,
    inputs: Mapping[str, JsonValue],
    provenance: Provenance,
    found: Mapping[str, Found],
) -> bool:
    """Tell whether a circuit works on anything that is not written as it is, or comes to it."""
    if any(how != "keep" for how in definition.fields.values()) or any(map(is_sealed, inputs.values())):
        return True
    for name, where in provenance.items():
        earlier = earlier_of(definition, name, where, found)
        if name in step.unwritten or (earlier is not None and earlier.lost):
            return True
    return False


def problem_of(error: Exception, *, secret: bool) -> str:
    """Return what may be written of a failure; of one on protected fields only the type, as messages repeat them."""
    if secret:
        return f"{type(error).__name__} (what it says is not kept, as there are protected fields)"
    return f"{type(error).__name__}: {error}"[:500]


def check_step(circuit: Circuit, step: Step, subject: str) -> None:
    """Refuse a step that did not come through `Circuits.run`: nothing in it would be protected."""
    for name in {*step.inputs, *step.unwritten}:
        value, how = step.inputs.get(name), circuit.definition.fields.get(name, "keep")
        match placeholder_of(value):
            case SealedValue() as sealed:
                is_made = how == "seal" and (sealed.subject, sealed.about) == (subject, f"/{escaped(name)}")
            case Withheld() as withheld:
                is_made = how == withheld.how
            case None:
                is_made = value is None or (how == "keep" and not is_sealed(value))
            case _:
                is_made = False
        if not is_made or isinstance(placeholder_of(value), Withheld) != (name in step.unwritten):
            raise AdmissionError(f"input [{name:.80}] was not protected; expected a chain that Circuits.run has made")


def check_outputs(circuit: Circuit, result: Result) -> None:
    """Raise where a circuit did not come to what it declares, or to what JSON can say."""
    missing = [name for name in circuit.definition.outputs if name not in result.outputs]
    if missing:
        raise ValueError(f"outputs [{', '.join(missing)}] are missing")
    json_value(result.outputs, limits=_LIMITS)


def check_room(what: str, values: Mapping[str, JsonValue], most_bytes: int) -> None:
    """Raise where values would not fit into an entry with whatever else is in it."""
    size = size_of(values)
    if size > most_bytes:
        raise ValueError(f"{what} of {size:,} bytes; expected at most {most_bytes:,}")


def size_of(values: Mapping[str, JsonValue]) -> int:
    """Return how many bytes values take up in an entry, or more where they are many small ones: both have a bound."""
    written = len(json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))
    return max(written, _nodes_in(dict(values)) * _BYTES_OF_A_NODE)


def _nodes_in(value: JsonValue) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(_nodes_in, value.values()))
    return 1 + sum(map(_nodes_in, value)) if isinstance(value, list) else 1
