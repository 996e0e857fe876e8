"""Which kinds this process writes in an older shape, as processes of an earlier loom read the same journal.

It is one answer for the process: the lowest that any journal asks for which it has open. An older shape can be read by
every loom, so that another journal gets no worse for it.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from loom.errors import AdmissionError
from loom.journal.admission import Limits, admit, parse_json
from loom.journal.entry import Entry

__all__ = ["CHANGES", "LEVEL", "LOWERED", "ask", "lowered", "stop_asking"]

LEVEL = 1
"""The level of the shapes that this loom writes. A release that changes the shape of a kind, or adds one, raises it."""

CHANGES: dict[int, Mapping[str, tuple[int, int]]] = {}
"""Level → the kinds that changed with it: schema before, 0 for a new kind, and since."""

LOWERED: dict[str, int] = {}
"""Kind → the schema that it is written in for now, of those that are not written in their own; mostly empty."""

_asked: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()


def ask(journal: object, level: int) -> None:
    """Have this process write at most the shapes of a level while a journal is open."""
    _asked[journal] = level
    _settle()


def stop_asking(journal: object) -> None:
    """A journal was closed: it asks for nothing any more."""
    _asked.pop(journal, None)
    _settle()


def _settle() -> None:
    lowest = min(_asked.values(), default=LEVEL)
    found: dict[str, int] = {}
    for level in sorted(CHANGES, reverse=True):
        if level > lowest:
            found |= {kind: before for kind, (before, _) in CHANGES[level].items()}
    LOWERED.clear()
    LOWERED.update(found)


def lowered(of: Entry | type[Entry], body: bytes, *, schema: int, limits: Limits) -> bytes:
    """Return a body in the shape of an older schema; raise `AdmissionError` where that cannot say the same."""
    from pydantic_core import to_json

    shape: Any = parse_json(body)
    try:
        for version in range(of.schema_version - 1, schema - 1, -1):
            shape = of.downcast(version, shape) if schema else None
    except Exception as error:
        raise AdmissionError(_not_yet(of.kind, schema, f"{type(error).__name__}: {error}")) from error
    if shape is None:
        raise AdmissionError(_not_yet(of.kind, schema, "it says what that cannot"))
    return admit(to_json(shape, inf_nan_mode="constants"), limits=limits)


def _not_yet(kind: str, schema: int, why: str) -> str:
    return (
        f"an entry of kind [{kind}] cannot be written in schema [{schema}] [{why}]; expected that, while processes of "
        "an earlier loom may read the journal: replace them, then `loom upgrade` raises the floor (nothing was written)"
    )
