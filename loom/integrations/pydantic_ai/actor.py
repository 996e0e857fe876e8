"""`AgentActor`: an agent of pydantic-ai as an actor. A run is a turn, and its output a decision."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, JsonValue
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.messages import ModelMessage
from pydantic_core import to_jsonable_python

from loom.actors.actor import Actor
from loom.actors.command import Command
from loom.actors.keeping import without_texts
from loom.actors.turn_context import current_turn
from loom.errors import ConfigError
from loom.integrations.pydantic_ai.durability import LoomDurability

__all__ = ["AgentActor", "RunAgent"]

_LONGEST = 2_000
"""The number of characters of an output that the rationale of its decision repeats."""


class RunAgent(Command[JsonValue]):
    """Run the agent of an `AgentActor`; the reply is its output, as JSON."""

    prompt: str


class AgentActor(Actor[None]):
    """An actor whose turns are runs of an agent of pydantic-ai.

    Set `agent`, which has the capability `LoomDurability`. It handles `RunAgent`; for a command of your own, override
    `execute` and call `run_agent`. The decision refers to the look-ups and approvals of the run, and `loom why` shows
    its model calls and effects as well.
    """

    agent: ClassVar[AbstractAgent[Any, Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        agent = cls.__dict__.get("agent")
        if agent is not None and LoomDurability.from_agent(agent) is None:
            raise ConfigError(
                f"agent of [{cls.__name__}] lacks the capability [LoomDurability]; expected it, as its calls would be "
                "made again after a crash: write capabilities=[LoomDurability()]"
            )

    def deps(self, command: Any) -> Any:
        """Return the dependencies of a run; by default none."""
        return None

    if TYPE_CHECKING:  # a subclass may handle a command of its own

        async def execute(self, command: Any) -> Any:
            """Run the agent, and return its output."""

    else:

        async def execute(self, command: RunAgent) -> Any:
            """Run the agent, and return its output."""
            return await self.run_agent(command.prompt, deps=self.deps(command))

    async def run_agent(
        self,
        prompt: str | None,
        *,
        deps: Any = None,
        message_history: Sequence[ModelMessage] | None = None,
        decision_type: str = "agent_run",
        rationale: str | None = None,
        context: Mapping[str, object] | None = None,
    ) -> Any:
        """Run the agent in this turn, record its output as a decision, and return the output.

        Without a `rationale` the decision has the output's own words.
        """
        result = await self.agent.run(prompt, deps=deps, message_history=message_history)
        output = _as_json(result.output)
        await self.record_decision(
            rationale=rationale or _in_words(output),
            rationale_author="model" if rationale is None else "developer",
            outcome={"output": without_texts(current_turn(self, "run_agent"), output)},
            decision_type=decision_type,
            context=context,
        )
        return result.output


def _as_json(output: Any) -> JsonValue:
    written: JsonValue = output.model_dump(mode="json") if isinstance(output, BaseModel) else to_jsonable_python(output)
    return written


def _in_words(output: JsonValue) -> str:
    words = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    words = words.strip() or "the agent returned nothing"
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"
