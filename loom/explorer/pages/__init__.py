"""The pages of the explorer: a module for each, found by being here. See `loom.explorer.page`."""

from __future__ import annotations

__all__: list[str] = []
