"""The outcome of a decision: in plain for its precedent class, and as it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel, JsonValue

from loom.actors.keeping import hold_keys, keys_at_hand, names_of, plain_result, subject_of_turn
from loom.actors.turn import Turn
from loom.journal.admission import json_value
from loom.journal.entry import Step
from loom.sealing import Node, Parts, declared_in, declared_paths, merged, protect_with, subjects_in, texts_in
from loom.sealing.markers import placeholder_of

__all__ = ["Outcome", "protected_outcome"]

_WHERE = "outcome"


class Outcome(NamedTuple):
    """The outcome as it is written; and in plain, with its declarations, where that differs."""

    written: dict[str, JsonValue]
    plain: dict[str, JsonValue]
    declared: Node | None = None

    def is_like(self, earlier: Mapping[str, JsonValue]) -> bool:
        """Tell whether an earlier decision has the same outcome, as far as both can be read."""
        if self.declared is None:
            return self.written == earlier
        return bool(_readable(self.written) == _readable(dict(earlier)))


async def protected_outcome(
    turn: Turn, step: Step, given: BaseModel | Mapping[str, object] | None, protect: Mapping[str, str] | None
) -> Outcome:
    """Return the outcome of a decision, protected by paths or by its model, for the subject that the command names.

    Raises `AdmissionError` where the command names none, or the outcome is not JSON; `ConfigError` without a vault.
    """
    own = declared_in(given) if isinstance(given, BaseModel) else None
    declared = own if protect is None else merged(own, declared_paths(protect))
    raw = given if own is None else plain_result(given)
    plain: Any = json_value(raw if isinstance(raw, BaseModel) else dict(raw or {}), limits=turn.services.limits)
    if declared is None:
        return Outcome(plain, plain)
    subject, whole, node = subject_of_turn(turn), {_WHERE: plain}, Parts({_WHERE: declared})
    subjects = subjects_in(whole, node, subject=subject)
    await hold_keys(turn, subjects)
    turn.protected.add(subjects, texts_in(whole, node, subject=subject))
    once = f"{turn.command_id} {step}"
    keys = keys_at_hand(turn, subjects)
    hidden: Any = protect_with(keys, whole, node, subject=subject, once=once, names=names_of(turn))
    return Outcome(hidden[_WHERE], plain, declared)


def _readable(value: JsonValue) -> JsonValue:
    if placeholder_of(value) is not None:
        return "protected"
    if isinstance(value, dict):
        return {name: _readable(each) for name, each in value.items()}
    return [_readable(each) for each in value] if isinstance(value, list) else value
