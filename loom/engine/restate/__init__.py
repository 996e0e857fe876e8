"""Restate as the engine: it places actors, brings them to life elsewhere when a node is gone, and keeps timers."""

from __future__ import annotations

from loom.engine.restate.engine import RestateEngine

__all__ = ["RestateEngine"]
