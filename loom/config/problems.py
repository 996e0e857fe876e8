"""From pydantic's errors to lines that a person can act on: the key as it was spelled, what was expected, the cure.

What a value of the environment holds is never shown, only `${VAR}` as it is written in the file; nor is a `Secret`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from pydantic import SecretBytes, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from loom.config.models import Section, canonical_key
from loom.config.reading import HIDDEN, KeyPath, dotted, shown

__all__ = ["Explainer", "is_secret", "two_spellings", "unknown_key"]

_SECRETS = (SecretStr, SecretBytes)
_LONGEST_KEY = 64
_NUMBER = ("a number", "correct it")
_WHOLE = ("a whole number", "correct it")
_BOOLEAN = ("true or false", "write one of them")
_TEXT = ("text", "write it, in quotes if in doubt")
_LIST = ("a list", "write [ ] around it, or one item a line after dashes")
_MAPPING = ("a mapping of keys to values", "write its keys below it, indented")
_EXPECTED = {
    "bool_parsing": _BOOLEAN,
    "bool_type": _BOOLEAN,
    "dict_type": _MAPPING,
    "finite_number": ("a finite number", "correct it"),
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_type": _WHOLE,
    "list_type": _LIST,
    "mapping_type": _MAPPING,
    "model_type": _MAPPING,
    "path_type": _TEXT,
    "string_type": _TEXT,
    "tuple_type": _LIST,
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


@dataclass(slots=True)
class _Place:
    """Where an error is: the key path as spelled, what is there, and what the models say about it."""

    path: list[str | int]
    value: object = None
    secret: bool = False
    models: list[type[Section]] = field(default_factory=list)


class Explainer:
    """Puts the errors of one file into words."""

    def __init__(
        self, values: Mapping[str, object], *, written: Mapping[KeyPath, str], used_at: set[KeyPath], source: str
    ) -> None:
        self._values = values
        self._written = written
        self._used_at = used_at
        self._source = source

    def explain(
        self, error: ValidationError, model: type[Section], *, at: str | None = None
    ) -> Iterable[tuple[KeyPath, str]]:
        """Yield (key path, message) for each error of a model that is at a top-level key, or is the whole file."""
        for details in error.errors(include_url=False, include_input=False):
            place = self._place(details, model, at)
            yield tuple(place.path), self._message(details, place)

    def _place(self, details: ErrorDetails, model: type[Section], at: str | None) -> _Place:
        place = _Place([], self._values, models=[model])
        if at is not None:
            place.path.append(at)
            place.value = self._values[at]
        for part in details["loc"]:
            value = place.value
            key: str | int | None = None
            if isinstance(value, dict):
                key = next((k for k in value if part in (k, canonical_key(k))), None)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                key = part
            if key is not None:
                place.path.append(key)
                place.value = value[key]  # type: ignore[index]
            elif details["type"] == "missing" and part == details["loc"][-1]:
                place.path.append(part)
            if details["type"] != "extra_forbidden" or part != details["loc"][-1]:
                _descend(place, part)
        return place

    def _message(self, details: ErrorDetails, place: _Place) -> str:
        kind = details["type"]
        path = tuple(place.path)
        where = f"key [{dotted(path)}] in [{self._source}]"
        if kind == "extra_forbidden":
            known = [name for model in place.models for name in model.model_fields]
            return unknown_key(path, known, source=self._source)
        if kind == "loom_twice":
            context = details["ctx"]
            first, second = (*path, context["first"]), (*path, context["second"])
            return two_spellings(context["name"], first, second, source=self._source)
        if kind == "missing":
            return f"{where} is missing; expected [a value]: add it"
        if kind == "loom_newer":
            newest = details["ctx"]["newest"]
            return (
                f"{where} is {self._quoted(place)}; expected [at most {newest}]: update loom, it is older than the file"
            )
        expected, cure = self._expected(details, place)
        reads = ""
        if kind in ("string_type", "path_type") and isinstance(place.value, bool | int | float):
            reads = (
                ", which YAML reads as a boolean" if isinstance(place.value, bool) else ", which YAML reads as a number"
            )
        return f"{where} is {self._quoted(place)}{reads}; expected [{expected}]: {cure}"

    def _expected(self, details: ErrorDetails, place: _Place) -> tuple[str, str]:
        kind, context = details["type"], details.get("ctx", {})
        if kind == "loom_expected":
            return context["expected"], context["cure"]
        if kind in ("string_type", "path_type") and isinstance(place.value, bool | int | float):
            quoted = "" if place.secret else f', as in "{shown(self._text(place))}"'
            return "text", f"quote it{quoted}"
        if kind in _EXPECTED:
            return _EXPECTED[kind]
        if kind in _BOUNDS:
            name, words = _BOUNDS[kind]
            return f"{words} {context[name]}", "correct it"
        if kind == "literal_error":
            return f"one of {context['expected']}", "write one of them"
        # The message of an extension's validator may quote the value, that of a section any value in it.
        if place.secret or (kind in ("value_error", "assertion_error") and self._may_quote_a_secret(place)):
            return "a value that its validator accepts", "correct it"
        return shown(details["msg"]), "correct it"

    def _quoted(self, place: _Place) -> str:
        if isinstance(place.value, dict):
            return "a mapping"
        if isinstance(place.value, list):
            return "a list"
        if place.value is None:
            return "empty"
        if place.secret:
            return f"[{HIDDEN}]"
        return f"[{shown(self._text(place))}]" + (", filled in from the environment" if self._filled(place) else "")

    def _may_quote_a_secret(self, place: _Place) -> bool:
        path = tuple(place.path)
        filled = any(used[: len(path)] == path for used in self._used_at)
        return filled or (isinstance(place.value, dict) and any(map(_holds_a_secret, place.models)))

    def _filled(self, place: _Place) -> bool:
        return tuple(place.path) in self._used_at

    def _text(self, place: _Place) -> str:
        return self._written.get(tuple(place.path), str(place.value))


def unknown_key(path: KeyPath, known: Iterable[str], *, source: str) -> str:
    """Return the message about a key that nothing knows, with the known keys and the nearest of them."""
    names = sorted(set(known))
    key = str(path[-1])
    near = difflib.get_close_matches(canonical_key(key.lower()), names, n=1) if len(key) <= _LONGEST_KEY else []
    cure = f"did you mean [{near[0]}]?" if near else "remove it"
    if not near and len(path) == 1:
        cure = "remove it, or open loom with the extension that brings this section"
    return f"key [{dotted(path)}] in [{source}] is unknown; expected [{', '.join(names)}]: {cure}"


def two_spellings(name: str, first: KeyPath, second: KeyPath, *, source: str) -> str:
    """Return the message about one key that is given in two spellings."""
    both = f"keys [{dotted(first)}] and [{dotted(second)}] in [{source}] are two spellings of one"
    return f"{both}; expected [{name}] once: remove one of the two"


def is_secret(path: KeyPath, model: type[Section]) -> bool:
    """Return whether a key path of a model, as spelled, lies in a field that holds a secret."""
    place = _Place([], models=[model])
    for part in path:
        _descend(place, canonical_key(part) if isinstance(part, str) else part)
    return place.secret


def _descend(place: _Place, part: str | int) -> None:
    fields = [model.model_fields[part] for model in place.models if part in model.model_fields]
    place.secret = place.secret or any(_mentions(info.annotation, _SECRETS) for info in fields)
    inner = [found for info in fields for found in _mentions(info.annotation, (Section,))]
    place.models = inner or place.models


def _holds_a_secret(model: type[Section]) -> bool:
    return any(_mentions(info.annotation, _SECRETS) for info in model.model_fields.values())


def _mentions(annotation: Any, kinds: tuple[type, ...]) -> list[type]:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation] if issubclass(annotation, kinds) else []
    return [found for part in get_args(annotation) for found in _mentions(part, kinds)]
