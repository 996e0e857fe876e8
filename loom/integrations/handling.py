"""How a tool is journaled: as an effect, as one that may be repeated, as a look-up, or not as a step of its own.

It is said in the tool's metadata, under `loom`: `Tool(refund, metadata=handled(approver="lead"))`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import to_json, to_jsonable_python

from loom.errors import ConfigError

__all__ = ["KEY", "ToolHandling", "arguments_json", "handled", "handling_of", "in_short"]

KEY = "loom"
"""The key of the metadata of tools."""


class ToolHandling(BaseModel):
    """How the calls of a tool are journaled, and who may approve those that need it.

    `effect` is done once: a turn that was cut short in between waits for a person. `repeatable` is done again then,
    with the same `loom.effect_key()`. `look_up` only reads, and is made again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: Literal["effect", "repeatable", "look_up"] = "effect"
    system: str | None = Field(default=None, min_length=1)
    """The system that a look-up reads; by default the agent's toolset."""
    entity: str | None = Field(default=None, min_length=1)
    """What a look-up reads there; by default the name of the tool."""
    approver: str | None = Field(default=None, min_length=1)
    timeout_s: float | None = Field(default=None, ge=0)
    """The time that the approver has, in seconds; then the call is denied, or passed on."""
    escalate_to: tuple[str, ...] = ()


def handled(
    calls: Literal["effect", "repeatable", "look_up"] = "effect",
    *,
    system: str | None = None,
    entity: str | None = None,
    approver: str | None = None,
    timeout_s: float | None = None,
    escalate_to: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the metadata of a tool; see `ToolHandling`. `metadata={"loom": False}` makes a tool no step of its own.

    Such a tool runs again when its turn is resumed: what it does with verbs, and with agents that are durable
    themselves, are steps.
    """
    handling = ToolHandling(
        calls=calls,
        system=system,
        entity=entity,
        approver=approver,
        timeout_s=timeout_s,
        escalate_to=tuple(escalate_to),
    )
    return {KEY: handling.model_dump(exclude_defaults=True)}


def handling_of(config: Mapping[str, Any] | None, tool: str) -> ToolHandling:
    """Return how a tool is handled, by its metadata; raise `ConfigError` for metadata that is not understood."""
    try:
        return ToolHandling.model_validate(config or {})
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(str(part) for part in wrong["loc"])
        raise ConfigError(
            f"metadata [{KEY}] of tool [{tool}] has [{where}: {wrong['msg']}]; expected [calls, system, entity, "
            "approver, timeout_s, escalate_to]: write it with handled(…)"
        ) from error


def arguments_json(arguments: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return the arguments of a call as JSON; what is no JSON is named by its type."""
    written: dict[str, JsonValue] = to_jsonable_python(
        dict(arguments), fallback=lambda value: f"({type(value).__qualname__})", inf_nan_mode="strings"
    )
    return written


def in_short(arguments: Mapping[str, JsonValue]) -> str:
    """Return arguments as the query of a look-up: a single text as it is, others as JSON."""
    if len(arguments) == 1:
        [only] = arguments.values()
        if isinstance(only, str):
            return only
    return to_json(arguments).decode()
