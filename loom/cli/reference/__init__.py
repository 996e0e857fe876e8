"""Reference pages that are written from the program itself: errors, entries, the config, the commands.

They are made when they are asked for, so that they say what this loom and its installed extensions have. `loom docs`
shows them, and `make docs` writes them into the site.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

__all__ = ["WRITTEN", "written"]

WRITTEN: Mapping[str, str] = {
    "commands": "Commands",
    "config": "Config",
    "entries": "Entries",
    "errors": "Errors",
}
"""The title of each page, by its name. A heading of the second level is the anchor of what it names."""


def written(name: str) -> str:
    """Return a page, made now."""
    make: Callable[[], str] = getattr(import_module(f"{__name__}.{name}"), f"{name}_page")
    return make()
