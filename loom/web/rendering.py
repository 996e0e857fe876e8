"""Templates of pages: every text in them is escaped, and a name that they do not have is an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["templates_of"]


def templates_of(package: str, *, finalize: Callable[[Any], Any] | None = None) -> Environment:
    """Return the templates in the folder `templates` of a package; `finalize` sees each value before it is escaped."""
    return Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,  # `select_autoescape` would leave a name that ends in .j2 unescaped
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
        auto_reload=False,
    )
