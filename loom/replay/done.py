"""What was done: the recorded outcome of a decision, read as an effect by a mapping that the caller gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import JsonValue

from loom.errors import AdmissionError
from loom.policies.evaluation import EffectName

__all__ = ["OutcomeMap"]

_MOST = 1_000
_EFFECTS = get_args(EffectName)


class OutcomeMap:
    """Reads outcomes as effects: `{"granted:true": "allow", "granted:false": "deny"}`. The first match counts."""

    def __init__(self, mapping: Mapping[str, str]) -> None:
        """Take a mapping of `name:value` to an effect; raise `AdmissionError` for an invalid one."""
        if not 0 < len(mapping) <= _MOST:
            raise AdmissionError(
                f"the mapping of outcomes has [{len(mapping)}] lines; expected [1 to {_MOST}]: say what was done in "
                "which outcome"
            )
        self._lines = [(*_place(each), _effect(each, effect)) for each, effect in mapping.items()]
        self.plain = dict(mapping)
        """As it was given."""

    def done(self, outcome: Mapping[str, JsonValue] | None) -> str | None:
        """Return the effect of an outcome; None if no line of the mapping matches."""
        if outcome is None:
            return None
        for path, text, effect in self._lines:
            found: Any = outcome
            for name in path:
                found = found.get(name, _NOTHING) if isinstance(found, dict) else _NOTHING
            if found is not _NOTHING and _text(found) == text:
                return effect
        return None


_NOTHING = object()


def _place(written: str) -> tuple[tuple[str, ...], str]:
    name, colon, value = written.partition(":")
    if not name or not colon:
        raise AdmissionError(
            f"line [{written!r:.80}] of the mapping of outcomes has no name and value; expected [name:value], as in "
            "granted:true: write it so"
        )
    return tuple(name.split(".")), value


def _effect(written: str, effect: str) -> str:
    if effect not in _EFFECTS:
        raise AdmissionError(
            f"line [{written!r:.80}] of the mapping of outcomes maps to [{effect!r:.40}]; expected one of "
            f"[{', '.join(_EFFECTS)}]: name an effect"
        )
    return effect


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
