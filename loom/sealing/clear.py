"""Declared values that stand in clear: in what was written before the field was declared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydantic import JsonValue

from loom.errors import AdmissionError
from loom.sealing.declaring import Node
from loom.sealing.markers import Handling, placeholder_of
from loom.sealing.walking import declared_values

__all__ = ["Clear", "clear_in"]


class Clear(NamedTuple):
    """A declared value in clear: its path in the JSON, what is declared of it, and whose it is, if that is known."""

    path: str
    handling: Handling
    subject: str | None


def clear_in(value: JsonValue, declaration: Node, *, subject: str | None = None) -> Iterator[Clear]:
    """Yield the declared values of JSON that nothing protected. `subject` is the default of the whole.

    JSON of an earlier shape, in which a declaration cannot be followed, counts as one value as a whole.
    """
    try:
        found = list(declared_values(value, declaration, subject=subject))
    except AdmissionError:
        yield Clear("", "seal", subject)
        return
    for each in found:
        if placeholder_of(each.value) is None:
            yield Clear(each.path, each.leaf.handling, each.subject)
