"""What the runs of agents in one turn count and remember: the numbers of their steps, and answers to their requests."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from loom.actors.turn import Turn
from loom.actors.turn_context import turn_of_caller
from loom.decisions.decision import ApprovalGiven

__all__ = ["Answered", "RunsOfTurn", "in_step", "runs_of", "turn_here"]

in_step: ContextVar[bool] = ContextVar("loom_agent_in_step", default=False)
"""Whether the code of a tool or a model runs: an agent that it runs is a part of that step."""


class Answered(NamedTuple):
    """The answer to a request for approval of a tool call, with the arguments as the model gave them."""

    given: ApprovalGiven
    arguments: dict[str, Any]


@dataclass(slots=True)
class RunsOfTurn:
    """Counts the runs and steps of a turn in the order in which its code makes them: the same when it is resumed."""

    turn: Turn
    answers: dict[str, Answered] = field(default_factory=dict)
    """By the id of the tool call."""
    _started: int = 0
    _steps: Counter[str] = field(default_factory=Counter)

    def next_run_id(self) -> str:
        """Return the id of the next run."""
        self._started += 1
        return f"{self._prefix}{self._started}"

    def name(self, operation: str, run_id: str | None) -> str:
        """Return the name of an operation within a turn: that of a second run differs from that of the first."""
        if run_id is None or run_id == f"{self._prefix}1":
            return operation
        return f"{operation}@{run_id.removeprefix(self._prefix)}"

    def numbered(self, name: str) -> str:
        """Return the name of the next of several steps with the same name."""
        self._steps[name] += 1
        return f"{name}#{self._steps[name]}"

    @property
    def _prefix(self) -> str:
        return f"{self.turn}/"


_runs: WeakKeyDictionary[Turn, RunsOfTurn] = WeakKeyDictionary()


def runs_of(turn: Turn) -> RunsOfTurn:
    """Return what the runs of a turn count; a turn that is resumed counts again from the start."""
    found = _runs.get(turn)
    if found is None:
        found = _runs[turn] = RunsOfTurn(turn)
    return found


def turn_here() -> Turn | None:
    """Return the turn whose steps a run makes here; None outside a turn, and within a step."""
    return None if in_step.get() else turn_of_caller()
