"""Walks along a declaration through plain or protected JSON: what is declared where, and for whom."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from pydantic import JsonValue

from loom.errors import AdmissionError
from loom.sealing.declaring import Each, Leaf, Node, Parts
from loom.sealing.pointers import escaped

__all__ = ["DeclaredValue", "declared_values", "rebuilt", "texts_of"]


class DeclaredValue(NamedTuple):
    """A declared value: where it is, what is declared of it, and its subject."""

    path: str
    leaf: Leaf
    value: JsonValue
    subject: str | None


def declared_values(
    value: JsonValue, node: Node, *, path: str = "", subject: str | None = None
) -> Iterator[DeclaredValue]:
    """Yield the declared values of JSON, those of null left out. `subject` is the default of the whole.

    Raises `AdmissionError` where the JSON has another shape than declared, or a field names no subject.
    """
    if value is None:
        return
    match node:
        case Leaf():
            yield DeclaredValue(path, node, value, subject)
        case Parts(fields) if isinstance(value, dict):
            for name, inner in fields.items():
                if value.get(name) is None:
                    continue
                whose = _subject_of(inner, value, subject, path)
                if isinstance(inner, Leaf):  # most are: they need no walk of their own
                    yield DeclaredValue(path + _step(name), inner, value[name], whose)
                else:
                    yield from declared_values(value[name], inner, path=path + _step(name), subject=whose)
        case Each(item) if isinstance(value, dict):
            for name, each in value.items():
                yield from declared_values(each, item, path=f"{path}/{escaped(name)}", subject=subject)
        case Each(item) if isinstance(value, list):
            for place, each in enumerate(value):
                yield from declared_values(each, item, path=f"{path}/{place}", subject=subject)
        case _:
            raise AdmissionError(
                f"value at [{path or '/'}] is a [{type(value).__name__}], and something in it is declared to be "
                "protected; expected an object or a list: declare the whole of it"
            )


def rebuilt(
    value: JsonValue,
    node: Node,
    give: Callable[[DeclaredValue], JsonValue],
    *,
    path: str = "",
    subject: str | None = None,
) -> JsonValue:
    """Return JSON with each declared value replaced by what `give` returns for it; null stays null."""
    if value is None:
        return None
    match node:
        case Leaf():
            return give(DeclaredValue(path, node, value, subject))
        case Parts(fields) if isinstance(value, dict):
            return {
                name: rebuilt(
                    each,
                    fields[name],
                    give,
                    path=path + _step(name),
                    subject=_subject_of(fields[name], value, subject, path),
                )
                if name in fields
                else each
                for name, each in value.items()
            }
        case Each(item) if isinstance(value, dict):
            return {
                name: rebuilt(each, item, give, path=f"{path}/{escaped(name)}", subject=subject)
                for name, each in value.items()
            }
        case Each(item) if isinstance(value, list):
            return [
                rebuilt(each, item, give, path=f"{path}/{place}", subject=subject) for place, each in enumerate(value)
            ]
    return value


def _subject_of(node: Node, around: Mapping[str, JsonValue], subject: str | None, path: str) -> str | None:
    """Return whose a field is: the usual one's, or that of the one whom another field of the object names."""
    while isinstance(node, Each):
        node = node.item
    if not isinstance(node, Leaf) or node.subject is None:
        return subject
    named = around.get(node.subject)
    if not isinstance(named, str):
        raise AdmissionError(
            f"field [{path}/{node.subject}] names no subject [{named!r:.40}]; expected the name of one: fill it in"
        )
    return named


def texts_of(value: JsonValue) -> Iterator[str]:
    """Yield the values of plain JSON as text, those that are part of one included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_of(each)
    elif value is not None and not isinstance(value, bool):
        yield json.dumps(value)


@lru_cache(maxsize=4_096)
def _step(name: str) -> str:
    """Return what a declared name adds to a path."""
    return f"/{escaped(name)}"
