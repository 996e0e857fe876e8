"""Names that a package gives out when they are asked for: of modules not imported yet, and of names it had before.

The shell asks a wing for its commands at each start, and must not wait for the wing: importing a module inside of a
lazy package imports nothing else.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["lazily", "renamed"]


def lazily(package: str, modules: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package: the first public name that is asked for imports the modules.

    `modules` are their names with spaces between, those in the package with a dot in front. Every name of the package's
    `__all__` is taken from the first of them that exports it.
    """

    def fetch(name: str) -> Any:
        names = vars(sys.modules[package])
        if name not in names["__all__"]:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        for module in [import_module(each, package) for each in reversed(modules.split())]:
            names.update({each: getattr(module, each) for each in module.__all__ if each in names["__all__"]})
        return names[name]

    return fetch


def renamed(package: str, **new_names: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package that gives names by what they were called before, and warns."""

    def fetch(name: str) -> Any:
        if name not in new_names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        warnings.warn(f"{package}.{name} is called {new_names[name]} now", DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[package], new_names[name])

    return fetch
