"""Engines: which process an actor lives in, and how a command gets there.

Safety is the journal's alone: it refuses a process that does not own a journal. An engine that is wrong costs time, and
never a second decision.
"""

from __future__ import annotations

from loom.engine.config import ClusterConfig, RestateConfig
from loom.engine.local import LocalEngine
from loom.engine.port import Delivery, Engine, Node

__all__ = ["ClusterConfig", "Delivery", "Engine", "LocalEngine", "Node", "RestateConfig"]
