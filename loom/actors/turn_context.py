"""The turn in which a verb is called, in a context variable, so that verbs work inside task groups."""

from __future__ import annotations

from contextvars import Context, ContextVar

from loom.actors.ports import Decider
from loom.actors.turn import Turn
from loom.errors import NoTurnError

__all__ = ["current_turn", "enter", "turn_in", "turn_of_caller"]

_current: ContextVar[Turn] = ContextVar("loom_turn")


def enter(turn: Turn) -> None:
    """Make a turn the one that verbs find, in the current context."""
    _current.set(turn)


def current_turn(actor: Decider, verb: str) -> Turn:
    """Return the turn in which a verb was called; raise `NoTurnError` outside one, or in another actor's."""
    turn = _current.get(None)
    if turn is None or turn.actor is not actor:
        raise NoTurnError(
            f"[{verb}] of [{type(actor).__name__}] was called outside a turn; expected it within execute: "
            "send the actor a command instead"
        )
    if actor._state_ref.folding:
        raise NoTurnError(
            f"[{verb}] of [{type(actor).__name__}] was called from apply(); verbs cannot be called there: "
            "call them in execute"
        )
    return turn


def turn_in(context: Context) -> Turn | None:
    """Return the turn that a context belongs to, if any."""
    return context.get(_current)


def turn_of_caller() -> Turn | None:
    """Return the turn in whose context the caller runs, if any."""
    turn = _current.get(None)
    return None if turn is None or turn.closed else turn
