"""The agent of the benchmark, of pydantic-ai alone: three instant answers of a model, and two tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_ai import Agent, Tool
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

__all__ = ["MODEL_CALLS", "agent"]

MODEL_CALLS = 3
_NOTES = "three incidents in this quarter; " * 8


def _answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    said = sum(isinstance(message, ModelResponse) for message in messages)
    if said < 2:
        name = ("order", "refund")[said]
        return ModelResponse(parts=[ToolCallPart(name, {"order_id": "o-1"}, tool_call_id=f"call-{said}")])
    return ModelResponse(parts=[TextPart("It was paid back.")])


async def order(order_id: str) -> dict[str, Any]:
    """Look an order up."""
    return {"order_id": order_id, "paid_usd": 40, "notes": _NOTES}


async def refund(order_id: str) -> str:
    """Pay money back."""
    return f"paid back for {order_id}"


def agent(capabilities: Sequence[Any] = (), *, reads: Any = None, pays: Any = None) -> Agent[None, str]:
    """Return the agent; `reads` and `pays` are the metadata of its tools."""
    return Agent(
        FunctionModel(_answer, model_name="instant"),
        name="desk",
        tools=[Tool(order, metadata=reads), Tool(refund, metadata=pays)],
        capabilities=list(capabilities),
    )
