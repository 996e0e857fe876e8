"""What the actor of a client needs: circuits, the versions that they are judged under, escalations, sealing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic import JsonValue

from loom.circuits.definition import Circuit
from loom.circuits.fields import ClientFields
from loom.policies import Evaluation

__all__ = ["Band", "Dependencies", "band_of"]

Band: TypeAlias = Literal["act", "monitor", "escalate"]
"""What a confidence calls for."""


class Dependencies(NamedTuple):
    """What the actor of a client is given."""

    circuit: Callable[[str], Circuit | None]
    version: Callable[[Circuit], Awaitable[str]]
    """The hash of the version that an execution is judged under: with the thresholds that a person adopted."""
    judge: Callable[[str, Mapping[str, Any]], Evaluation]
    """What the version of a hash says of facts."""
    escalate: Callable[[str, str, Mapping[str, JsonValue], str], Awaitable[str]]
    fields: ClientFields
    most_bytes: int
    """Of an entry: what a circuit comes to has to fit into one, and what a chain comes to as well."""
    raw: dict[tuple[str, str], dict[tuple[int, str], JsonValue]]
    """Values as they are, by client and execution, then place and name: while it runs, as they are written nowhere."""


def band_of(said: Evaluation) -> Band:
    """Return the band that an evaluation puts a confidence in; rules of other names act where they allow."""
    bands: dict[str, Band] = {"act": "act", "monitor": "monitor", "escalate": "escalate"}
    return bands.get(said.rule, "act" if said.effect == "allow" else "escalate")
