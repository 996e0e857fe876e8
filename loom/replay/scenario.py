"""Scenarios: the same decisions on other facts. The changes are declared; a missing fact is never invented."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from functools import partial
from typing import Any, TypeAlias

from pydantic import JsonValue

from loom.errors import AdmissionError
from loom.journal.admission import json_value

__all__ = ["RELATIVE", "Change", "Scenario", "WhatIf"]

Change: TypeAlias = Callable[[dict[str, Any]], Mapping[str, object]]
"""Gets a copy of the recorded facts, and returns those to judge instead."""

WhatIf: TypeAlias = Mapping[str, object]
"""The changes, by fact: `"-10 %"` and `"+3"` change the recorded number, any other value replaces it."""

RELATIVE = re.compile(r"(?P<by>[+-][0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(?P<percent>%?)\Z")
"""A relative change of the recorded number: a sign, a number, and a percent sign if it is a share of it."""

_DECIMAL = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?\Z")
_MOST = 64


@dataclass(frozen=True, slots=True)
class Scenario:
    """Other facts: the change, and its description for a recorded result."""

    change: Change
    said: dict[str, JsonValue]

    @classmethod
    def of(cls, facts: Change | None, what_if: WhatIf | None) -> Scenario | None:
        """Return the scenario of a function or of a declaration; None without both. Raises `AdmissionError`."""
        if facts is not None and what_if is not None:
            raise AdmissionError(
                f"a scenario is given as a function and as [{', '.join(map(str, what_if))}]; expected one of [facts, "
                "what_if]: leave out one"
            )
        if facts is not None:
            return cls(facts, {"facts": getattr(facts, "__qualname__", type(facts).__name__)})
        if what_if is None:
            return None
        if not 0 < len(what_if) <= _MOST or not all(what_if):
            raise AdmissionError(
                f"a scenario changes [{len(what_if)}] facts; expected [1 to {_MOST}] names of facts: name what differs"
            )
        plain: Any = json_value(dict(what_if))
        return cls(partial(_changed, plain), {"what_if": plain})

    def facts(self, recorded: Mapping[str, JsonValue]) -> dict[str, JsonValue] | None:
        """Return the facts to judge; None if the change cannot be applied to the recorded facts."""
        try:
            changed: Any = json_value(dict(self.change(copy.deepcopy(dict(recorded)))))
        except Exception:
            return None
        found: dict[str, JsonValue] = changed
        return found

    def in_words(self) -> str:
        """Return the changes as text: `percent -10 %, industry bank`."""
        changes = self.said.get("what_if")
        if isinstance(changes, dict):
            return ", ".join(f"{name} {value}" for name, value in changes.items())
        return f"the facts that {self.said['facts']} gives"


def _changed(what_if: Mapping[str, JsonValue], facts: dict[str, Any]) -> dict[str, Any]:
    for name, change in what_if.items():
        home, last = _place(facts, name)
        home[last] = _other(home, last, change)
    return facts


def _place(facts: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """Return the object that holds a fact, and its name there: by the whole name, or by its parts between dots."""
    if name in facts:
        return facts, name
    *parents, last = name.split(".")
    home: Any = facts
    for part in parents:
        home = home[part]
    if not isinstance(home, dict):
        raise KeyError(name)
    return home, last


def _other(home: Mapping[str, Any], name: str, change: JsonValue) -> JsonValue:
    if isinstance(change, dict) and set(change) == {"set"}:
        return change["set"]
    relative = RELATIVE.match(change.strip()) if isinstance(change, str) else None
    if relative is None:
        return change
    return _reckoned(home[name], Decimal(relative["by"]), is_percent=bool(relative["percent"]))


def _reckoned(recorded: object, by: Decimal, *, is_percent: bool) -> JsonValue:
    """Return a number changed exactly, with its type kept: an integer is rounded half to even."""
    if isinstance(recorded, bool) or recorded is None:
        raise TypeError("not a number")
    if isinstance(recorded, str) and not _DECIMAL.match(recorded):
        raise TypeError("not a number")
    number = Decimal(repr(recorded) if isinstance(recorded, float) else str(recorded))
    changed = number * (1 + by / 100) if is_percent else number + by
    if isinstance(recorded, int):
        return int(changed.to_integral_value(ROUND_HALF_EVEN))
    return float(changed) if isinstance(recorded, float) else format(changed.normalize(), "f")
