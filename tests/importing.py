"""Import every module of a package."""

from __future__ import annotations

import importlib
import pkgutil

__all__ = ["import_all"]

_MAY_LACK = ("loom.engine.restate", "loom.integrations.", "loom.mcp.")


def import_all(package: str) -> None:
    """Import all modules of a package, but those that need a framework or an extra that is not installed."""
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if not module.name.startswith(_MAY_LACK) or (error.name or "loom").startswith("loom"):
                    raise
