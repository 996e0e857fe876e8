"""The verbs of an actor that wait, for a time or for a message, and the one that sends a message."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from loom.actors import verbs
from loom.actors.command import Message
from loom.actors.turn_context import current_turn

if TYPE_CHECKING:
    from loom.actors.ports import Decider

__all__ = ["WaitingVerbs"]

M = TypeVar("M", bound=Message)


class WaitingVerbs:
    """What an actor can wait for, besides the answers of people: base of `Actor`."""

    async def sleep(
        self, seconds: float | None = None, *, until: datetime | None = None, key: str | None = None
    ) -> None:
        """Wait for so many seconds, or until a time (UTC), for a moment or for months; a restart loses nothing.

        The turn is parked meanwhile: other turns of the actor run. A wrong clock neither ends the wait nor holds it up:
        in one process it is measured in elapsed time. Sleeps at the same time need a `key` each. Raises
        `AdmissionError` for a length that is negative, no number, or over a hundred years.
        """
        await verbs.sleep(current_turn(cast("Decider", self), "sleep"), seconds, until=until, key=key)

    @overload
    async def wait_for(self, message: type[M], *, timeout_s: None = None, key: str | None = None) -> M: ...

    @overload
    async def wait_for(self, message: type[M], *, timeout_s: float, key: str | None = None) -> M | None: ...

    async def wait_for(self, message: type[M], *, timeout_s: float | None = None, key: str | None = None) -> M | None:
        """Wait for a message of a type to this actor, and return it; None where none came within `timeout_s`.

        A message goes to one turn: to the one that has waited longest for its type. Those that came before anything
        waited for them are kept, as many as the mailbox holds, and the oldest is taken. The turn is parked meanwhile.
        To give up after a time use `timeout_s`: a wait that is cancelled from outside may lose what it just got.
        """
        turn = current_turn(cast("Decider", self), "wait_for")
        return await verbs.wait_for(turn, message, timeout_s=timeout_s, key=key)

    async def send(self, actor: type[Any], actor_key: str, message: Message, *, key: str | None = None) -> None:
        """Send another actor a message and return once it is durable there; a turn that waits for it gets it."""
        await verbs.tell(current_turn(cast("Decider", self), "send"), actor, actor_key, message, key=key)
