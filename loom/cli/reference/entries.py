"""Every kind of entry: what it says, its fields, and the version of its shape."""

from __future__ import annotations

import inspect

from loom.cli.reference.found import every_module
from loom.cli.reference.shapes import shapes_of, table
from loom.journal.entry import KINDS, Entry

__all__ = ["entries_page"]

_BEGINS = """# Entries

Every kind of entry that this loom writes or reads, from the classes. The header around a body is described by
`loom docs journal-format`. A field that a later loom brought came with a higher schema; older bodies are still read.
"""


def entries_page() -> str:
    """Return the page."""
    packages = every_module()
    classes = {kind: cls for kind in KINDS if (cls := KINDS.get(kind)) is not None}
    return "\n".join(
        [
            _BEGINS,
            *(_section(kind, cls) for kind, cls in classes.items() if cls.__module__.partition(".")[0] in packages),
        ]
    )


def _section(kind: str, cls: type[Entry]) -> str:
    fields = [each for each in shapes_of(cls) if each.name != "`step`"]
    said = [f"## {kind}", "", inspect.cleandoc(cls.__doc__ or ""), ""]
    if fields:
        said += [table(fields), ""]
    return "\n".join([*said, f"Class `{cls.__module__}.{cls.__qualname__}`, schema {cls.schema_version}.", ""])
