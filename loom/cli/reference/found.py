"""Everything that this loom and its installed extensions define: all modules, imported."""

from __future__ import annotations

import contextlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TypeVar

__all__ = ["every_module", "loaded", "subclasses"]

C = TypeVar("C")


@cache
def every_module() -> frozenset[str]:
    """Import all modules of loom and of the packages of extensions; return the names of these packages.

    A module that needs a package that is not installed is left out: what it defines cannot be met here either.
    """
    groups = ("loom.extensions", "loom.commands")
    packages = {"loom", *(point.module.partition(".")[0] for group in groups for point in entry_points(group=group))}
    for package in sorted(packages):
        with contextlib.suppress(ImportError):
            for name in _modules(package):
                with contextlib.suppress(ImportError):
                    import_module(name)
    return frozenset(packages)


def subclasses(of: type[C]) -> Iterator[type[C]]:
    """Yield all classes below one that `every_module` defines."""
    packages = every_module()
    return (each for each in loaded(of) if each.__module__.partition(".")[0] in packages)


def loaded(of: type[C]) -> Iterator[type[C]]:
    """Yield all classes below one that are imported by now, each once."""
    seen, waiting = set[type[C]](), [of]
    while waiting:
        new = [each for each in waiting.pop().__subclasses__() if each not in seen]
        seen.update(new)
        waiting += new
        yield from new


def _modules(package: str) -> Iterator[str]:
    path = getattr(import_module(package), "__path__", None)
    yield package
    if path is not None:
        for module in pkgutil.walk_packages(path, f"{package}.", onerror=lambda _: None):
            if not module.name.endswith("__main__"):
                yield module.name
