"""Words for people who know nothing of loom: durations, sources of names, conditions of rules, values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import JsonValue

from loom.identity import Identity
from loom.text import compact

__all__ = ["InWords", "PersonInWords", "condition", "named", "parameters_of", "relation", "since", "source", "value"]

_UNITS = ((86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute"))
_OPERATORS = {
    "=": "{}",
    "!=": "anything but {}",
    "<": "below {}",
    "<=": "at most {}",
    ">": "above {}",
    ">=": "at least {}",
    "in": "one of {}",
    "not in": "none of {}",
    "between": "from {} to {}",
    "starts with": "beginning with {}",
}
_RELATIONS = {"followed": "decided the same", "distinguished": "decided otherwise", "overruled": "overruled by this"}
_SOURCES = {
    "api_key": "signed in with a key",
    "invitation": "signed in by invitation",
    "oidc": "signed in with the company account",
    "proxy": "signed in through the company's gateway",
    "os_user": "an account of the server",
    "forwarded": "passed on by another server",
    "claimed": "name not checked",
    "system": "loom itself",
}


def since(seconds: float) -> str:
    """Return a duration as people say it, in its largest unit: `3 hours`."""
    for unit_s, name in _UNITS:
        if seconds >= unit_s:
            count = int(seconds // unit_s)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "less than a minute"


def source(text: str | None) -> str:
    """Return how a name was established."""
    return "how the name was checked is not recorded" if text is None else _SOURCES.get(text.partition(":")[0], text)


class InWords:
    """Marks a text that names a person together with how the name was established."""


PersonInWords: TypeAlias = Annotated[str, InWords()]
"""A person as pages show one: `robin (name not checked)`. See `named`."""


def named(identity: Identity | None, otherwise: str = "no one") -> str:
    """Return a person, and how the name was established, in words."""
    return otherwise if identity is None else f"{identity.name} ({source(identity.source)})"


def relation(text: str) -> str:
    """Return what a decision did with an earlier one."""
    return _RELATIONS.get(text, text.replace("_", " "))


def value(given: JsonValue) -> str:
    """Return a value on one line, with yes and no for truth values."""
    if isinstance(given, bool):
        return "yes" if given else "no"
    return "nothing" if given is None else compact(given, 2_000)


def condition(operator: str, wanted: Any) -> str:
    """Return what a condition of a rule asks of a fact: `at most 10`."""
    listed = wanted if isinstance(wanted, Sequence) and not isinstance(wanted, str) else (wanted,)
    words = [value(each) for each in listed]
    pattern = _OPERATORS.get(operator, operator + " {}")
    return pattern.format(*words) if pattern.count("{}") == len(words) else pattern.format(", ".join(words), "")


def parameters_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of the parameters of a table, by name."""
    return {name: each.get("value") for name, each in document.get("parameters", {}).items()}
