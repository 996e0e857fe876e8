"""Places in plain JSON, as JSON pointers (RFC 6901): `/contacts/0/phone`; the empty one is the whole."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

__all__ = ["escaped", "names_in", "replaced", "unescaped", "value_at"]


def escaped(name: str) -> str:
    """Return a name as it stands in a path (RFC 6901), so that no two places have one path."""
    return name.replace("~", "~0").replace("/", "~1")


def unescaped(name: str) -> str:
    """Return a name that stands in a path as it is."""
    return name.replace("~1", "/").replace("~0", "~")


def names_in(path: str) -> list[str]:
    """Return the names and indexes of a path, from the top down; none for the whole."""
    return [unescaped(each) for each in path.split("/")[1:]]


def value_at(value: JsonValue, path: str) -> JsonValue:
    """Return the value at a path; None where there is none."""
    for name in names_in(path):
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def replaced(value: JsonValue, by_path: Mapping[str, JsonValue], *, path: str = "") -> JsonValue:
    """Return JSON with other values at some paths. `path` is its own, below which they are."""
    if path in by_path:
        return by_path[path]
    if isinstance(value, dict):
        return {name: replaced(each, by_path, path=f"{path}/{escaped(name)}") for name, each in value.items()}
    if isinstance(value, list):
        return [replaced(each, by_path, path=f"{path}/{place}") for place, each in enumerate(value)]
    return value
