"""What a circuit is: declared inputs and outputs, a failure mode that acts, and the table that it is registered as."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from loom.policies import Table
from loom.sealing import Handling

__all__ = ["Circuit", "CircuitDefinition", "CircuitFunction", "FailureMode", "Result", "circuit", "policy_of"]

FailureMode: TypeAlias = Literal[
    "fallback_to_last_successful",
    "default_to_primary",
    "proceed_without_state",
    "rotate_to_alternate",
    "auto_rewrite_with_penalty",
    "regenerate_with_lower_creativity",
    "mark_as_neutral",
    "escalate_to_admin",
]
"""What is done when a circuit fails; each is a behaviour, see `loom.circuits.failing`."""

CircuitFunction: TypeAlias = Callable[[Mapping[str, Any]], Any | Awaitable[Any]]
"""Inputs → a mapping of outputs, or a `Result`; what it raises is a failure of the circuit."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class Result(BaseModel):
    """Outputs of a circuit, and how sure it is of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outputs: dict[str, JsonValue]
    confidence: float = Field(default=0.95, ge=0, le=1, allow_inf_nan=False)


class CircuitDefinition(BaseModel):
    """One registered step. `aliases` are further names under which a later step may find an output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    circuit_id: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{1,63}$")]
    category: str = Field(min_length=1, max_length=64)
    purpose: str = Field(min_length=1, max_length=500)
    inputs: tuple[Name, ...]
    optional: tuple[Name, ...] = ()
    outputs: tuple[Name, ...] = Field(min_length=1)
    aliases: dict[Name, tuple[Name, ...]] = Field(default_factory=dict)
    input_aliases: dict[Name, tuple[Name, ...]] = Field(default_factory=dict)
    """Further names under which an input may be given, or found among the outputs of earlier steps."""
    model_usage: str = "decision_only"
    failure_mode: FailureMode
    success_metric: str = Field(min_length=1, max_length=64)
    defaults: dict[Name, JsonValue] = Field(default_factory=dict)
    """What `default_to_primary` and `mark_as_neutral` put in the place of outputs."""
    fields: dict[Name, Handling] = Field(default_factory=dict)
    """What becomes of inputs and outputs before they are written; what is not named is kept."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> CircuitDefinition:
        unknown = sorted(set(self.aliases) - set(self.outputs))
        if unknown:
            raise ValueError(f"aliases are for outputs [{', '.join(unknown)}], which there are none of")
        declared = {*self.inputs, *self.optional}
        renamed = [alias for names in self.input_aliases.values() for alias in names]
        strange = sorted({*self.input_aliases} - declared) or sorted(declared & {*renamed})
        if strange or len({*renamed}) != len(renamed):
            raise ValueError(f"input_aliases [{', '.join(strange or renamed)}] are not further names of one input each")
        twice = sorted(set(self.inputs) & set(self.optional))
        if twice:
            raise ValueError(f"inputs [{', '.join(twice)}] are required and optional")
        strange = sorted(set(self.fields) - {*self.inputs, *self.optional, *self.outputs})
        if strange:
            raise ValueError(
                f"fields [{', '.join(strange)}] are neither inputs nor outputs: nothing would be protected"
            )
        lost = sorted(name for name in self.outputs if self.fields.get(name, "keep") not in ("keep", "seal"))
        if lost and self.failure_mode == "fallback_to_last_successful":
            raise ValueError(f"outputs [{', '.join(lost)}] are not kept, so there is nothing of them to fall back to")
        return self


@dataclass(frozen=True, slots=True)
class Circuit:
    """A definition with the code that runs it, and with what its failure mode needs."""

    definition: CircuitDefinition
    run: CircuitFunction
    alternates: tuple[CircuitFunction, ...] = ()
    """What `rotate_to_alternate` tries, in order."""
    rewrite: CircuitFunction | None = None
    """What `auto_rewrite_with_penalty` makes of the inputs before it runs the circuit again."""
    policy: Table = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "policy", policy_of(self.definition))


def circuit(
    circuit_id: str,
    *,
    category: str,
    purpose: str | None = None,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    failure_mode: FailureMode,
    success_metric: str,
    alternates: tuple[CircuitFunction, ...] = (),
    rewrite: CircuitFunction | None = None,
    **more: Any,
) -> Callable[[CircuitFunction], Circuit]:
    """Make a function a circuit: `@circuit("CX09_MINE", category=…, inputs=(…,), outputs=(…,), …)`."""

    def decorate(run: CircuitFunction) -> Circuit:
        said = (purpose or inspect.getdoc(run) or circuit_id).splitlines()[0].rstrip(".")
        definition = CircuitDefinition(
            circuit_id=circuit_id,
            category=category,
            purpose=said,
            inputs=inputs,
            outputs=outputs,
            failure_mode=failure_mode,
            success_metric=success_metric,
            **more,
        )
        return Circuit(definition, run, alternates, rewrite)

    return decorate


def policy_of(definition: CircuitDefinition) -> Table:
    """Return the table that a definition is registered as: all of it, and the bands of confidence as its rules.

    Above 0.85 a circuit acts, down to 0.5 it acts and is watched, below that a person is to look.
    """
    words = {
        "category": definition.category,
        "purpose": definition.purpose,
        "inputs": ",".join(definition.inputs),
        "optional": ",".join(definition.optional),
        "outputs": ",".join(definition.outputs),
        "aliases": ";".join(f"{name}={','.join(names)}" for name, names in sorted(definition.aliases.items())),
        "model_usage": definition.model_usage,
        "failure_mode": definition.failure_mode,
        "success_metric": definition.success_metric,
        "fields": ";".join(f"{name}={how}" for name, how in sorted(definition.fields.items())),
        "defaults": ";".join(f"{name}={value}" for name, value in sorted(definition.defaults.items())),
    }
    if definition.input_aliases:  # not where there are none: versions from before keep their hashes
        listed = sorted(definition.input_aliases.items())
        words["input_aliases"] = ";".join(f"{name}={','.join(names)}" for name, names in listed)
    bands = {
        "act_above": {"type": "decimal", "value": "0.85", "min": "0.5", "max": "1"},
        "escalate_below": {"type": "decimal", "value": "0.5", "min": "0", "max": "0.85"},
    }
    return Table.of(
        {
            "format": "loom.table/1",
            "name": f"circuit-{definition.circuit_id.lower().replace('_', '-')}",
            "description": definition.purpose,
            "facts": {"confidence": {"type": "decimal", "min": "0", "max": "1"}, "failed": {"type": "boolean"}},
            "parameters": {**{name: {"type": "string", "value": text} for name, text in words.items()}, **bands},
            "rules": [
                {"name": "failed", "when": [["failed", "=", True]], "effect": "deny", "why": "it did not succeed"},
                {
                    "name": "act",
                    "when": [["confidence", ">", {"param": "act_above"}]],
                    "effect": "allow",
                    "why": "confidence is high: act",
                },
                {
                    "name": "monitor",
                    "when": [["confidence", ">=", {"param": "escalate_below"}]],
                    "effect": "allow",
                    "why": "confidence is medium: log and monitor",
                },
            ],
            "otherwise": {
                "name": "escalate",
                "effect": "require_approval",
                "tier": "admin",
                "why": "confidence is low: a person is to look",
            },
        }
    )
