"""Distinguishes a turn that will never ask for its recorded steps from one that is only slow.

A stall is certain if the next recorded step is not requested, and every task of the turn waits in a verb for a later
step, or for other tasks that do: all that could change this is recorded after the missing step. A task that runs,
sleeps or waits for anything but a verb may still ask for it, and so may a timer of the turn. Such a turn is stopped
only after its patience, a timeout.

Which tasks belong to a turn, and what they wait for, is not in asyncio's public interface. Where an event loop or a
version of Python does not show it, nothing is certain, and the timeout alone decides.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
from collections.abc import Collection, Iterable, Iterator
from types import FrameType
from typing import Any

from loom.actors.steps import RecordedSteps
from loom.actors.turn import Turn
from loom.actors.turn_context import turn_in
from loom.errors import DivergenceError

__all__ = ["Stall", "StallWatch", "divergence", "settled"]

_FIRST_LOOK_S = 0.05
_LOOK_AT_LEAST_EVERY_S = 1.0
_LOOKS = 2
"""This many checks in a row must be certain before a turn that could continue is stopped."""


class Stall:
    """Checks a turn repeatedly; `look` returns what is wrong with it, `delay_s` the time until the next check.

    `looks` is the number of certain checks that it takes, without any progress in between.
    """

    def __init__(self, turn: Turn, steps: RecordedSteps, patience_s: float, *, looks: int = _LOOKS) -> None:
        self._turn = turn
        self._steps = steps
        self._patience_s = patience_s
        self._looks = looks
        self._certain = 0
        self._progress = -1
        self._since = 0.0
        self._delay_s = _FIRST_LOOK_S / 2

    def look(self) -> DivergenceError | None:
        """Return the error of a turn that makes no progress, or None if it still may."""
        now = asyncio.get_running_loop().time()
        if self._steps.progress != self._progress or self._steps.continuing_live:
            self._progress, self._since = self._steps.progress, now
            self._certain, self._delay_s = 0, _FIRST_LOOK_S / 2
        elif now - self._since >= self._patience_s:
            return divergence(self._turn, self._steps, f"it stalled for {self._patience_s:g} s")
        self._certain = self._certain + 1 if _certain(self._turn, self._steps) else 0
        if self._certain >= self._looks:
            return divergence(self._turn, self._steps, "it waits, and nothing in it can ask for what was recorded")
        self._delay_s = _FIRST_LOOK_S if self._certain else min(self._delay_s * 2, _LOOK_AT_LEAST_EVERY_S)
        return None

    @property
    def delay_s(self) -> float:
        """The time until the next check."""
        return min(self._delay_s, self._patience_s)


class StallWatch:
    """Stops a turn that makes no progress through its recorded steps."""

    def __init__(self, turn: Turn, steps: RecordedSteps, patience_s: float) -> None:
        self._turn = turn
        self._steps = steps
        self._stall = Stall(turn, steps, patience_s)
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        if self._steps.finished:
            return
        error = self._stall.look()
        if error is not None:
            self._turn.stop(error)
            return
        # In a context of its own: a timer in that of the turn would look like one that the turn has set.
        self._timer = asyncio.get_running_loop().call_later(
            self._stall.delay_s, self._look, context=contextvars.Context()
        )


def divergence(turn: Turn, steps: RecordedSteps, what: str) -> DivergenceError:
    """Return the error of a turn whose code does not do what its journal says; it names both sides."""
    expected, found = steps.expected(), steps.found()
    asked = f", asking for [{', '.join(found)}]" if found else ""
    return DivergenceError(
        f"turn [{turn}] does not do what its journal says: {what}{asked}; expected it to ask next for "
        f"[{', '.join(expected[:5])}{', …' if len(expected) > 5 else ''}]: nothing was done; bring back the code that "
        "recorded it and `loom turns retry`, or `loom turns abandon`",
        what=what,
        expected=expected,
        found=found,
    )


def settled(turns: Collection[Turn]) -> list[Turn]:
    """Return those of some parked turns in which nothing goes on before one of their waits ends.

    Each of their tasks waits in a verb, or for such tasks, and no timer of theirs is set. Where the event loop does not
    show that, there are none.
    """
    own: dict[Turn, set[asyncio.Task[Any]]] = {turn: set() for turn in turns}
    for task in asyncio.all_tasks():
        context = _context_of(task)
        if context is None:
            return []
        turn = turn_in(context)
        if turn in own:
            own[turn].add(task)
    for handle in _handles():
        if handle is None:
            return []
        context = getattr(handle, "_context", None)
        if context is None and not handle.cancelled():
            return []
        turn = None if context is None or handle.cancelled() else turn_in(context)
        if turn is not None:
            own.pop(turn, None)
    return [
        turn
        for turn, tasks in own.items()
        if tasks and turn.task in tasks and all(_waits(task, turn.parking.inside, tasks) for task in tasks)
    ]


# --- certainty -----------------------------------------------------------------------------------


def _certain(turn: Turn, steps: RecordedSteps) -> bool:
    """Return whether nothing in a turn can ask for its next recorded step any more."""
    if not steps.starved:
        return False
    own: list[asyncio.Task[Any]] = []
    for task in asyncio.all_tasks():
        context = _context_of(task)
        if context is None:
            return False
        if turn_in(context) is turn:
            own.append(task)
    waiting = set(own)
    if not own or not all(_waits(task, steps.inside, waiting) for task in own):
        return False
    return not any(_sets_going(handle, turn) for handle in _handles())


def _waits(task: asyncio.Task[Any], inside: Collection[asyncio.Task[Any] | None], own: set[asyncio.Task[Any]]) -> bool:
    """Return whether a task waits in a verb, as those `inside` do, or for tasks of the same turn and nothing else."""
    awaited = getattr(task, "_fut_waiter", None)
    if awaited is None or awaited.done() or task.cancelling():
        return False
    if task in inside:
        return True
    children = _children(task, awaited)
    return bool(children) and all(child in own for child in children)


def _children(task: asyncio.Task[Any], awaited: Any) -> Iterable[Any]:
    """Return the tasks that a task waits for, as far as that can be seen: by await, gather, wait or a task group."""
    if isinstance(awaited, asyncio.Task):
        return (awaited,)
    gathered = getattr(awaited, "_children", None)
    if gathered is not None:
        return [child for child in gathered if not child.done()]
    frame = _innermost(task)
    if frame is None:
        return ()
    if frame.f_code.co_filename == asyncio.tasks.__file__ and frame.f_code.co_name == "_wait":
        return [each for each in frame.f_locals.get("fs", ()) if not each.done()]
    group = frame.f_locals.get("self")
    anyio = sys.modules.get("anyio._backends._asyncio")
    if isinstance(group, asyncio.TaskGroup) or (anyio is not None and isinstance(group, anyio.TaskGroup)):
        return list(getattr(group, "_tasks", ()))
    return ()


def _innermost(task: asyncio.Task[Any]) -> FrameType | None:
    """Return the frame in which a task waits."""
    coroutine: Any = task.get_coro()
    while (inner := getattr(coroutine, "cr_await", None)) is not None and hasattr(inner, "cr_frame"):
        coroutine = inner
    return getattr(coroutine, "cr_frame", None)


def _context_of(task: asyncio.Task[Any]) -> contextvars.Context | None:
    """Return the context that a task runs in; from Python 3.12 on the task itself returns it."""
    if hasattr(task, "get_context"):
        context: contextvars.Context = task.get_context()
        return context
    return next((each for each in gc.get_referents(task) if isinstance(each, contextvars.Context)), None)


def _handles() -> Iterator[Any]:
    """Yield the pending calls of the event loop; None in place of those that cannot be seen."""
    loop = asyncio.get_running_loop()
    for name in ("_ready", "_scheduled"):
        yield from list(getattr(loop, name, (None,)))


def _sets_going(handle: Any, turn: Turn) -> bool:
    """Return whether a pending call belongs to a turn, or may belong to it."""
    if handle is None:
        return True
    context = getattr(handle, "_context", None)
    return not handle.cancelled() and (context is None or turn_in(context) is turn)
