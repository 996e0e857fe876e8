"""Agents of pydantic-ai in turns: `capabilities=[LoomDurability()]` makes a run durable and accountable.

Needs the extra `llm`. A request of a model is a `model_called` step, a tool is an effect or a look-up, and a tool that
needs approval waits for a person, with exactly its arguments bound.
"""

from __future__ import annotations

from loom.integrations.handling import ToolHandling, handled
from loom.integrations.pydantic_ai.actor import AgentActor, RunAgent
from loom.integrations.pydantic_ai.durability import LoomDurability

__all__ = ["AgentActor", "LoomDurability", "RunAgent", "ToolHandling", "handled"]
