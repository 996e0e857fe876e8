"""The handle that everybody outside an actor holds."""

from __future__ import annotations

from typing import Any

from loom.actors.actor import Actor
from loom.actors.command import Command, Reply, decode_reply
from loom.actors.current import turn_of_caller
from loom.actors.system import ActorSystem, Told
from loom.errors import NoTurnError
from loom.identity import journal_name

__all__ = ["ActorRef"]


class ActorRef:
    """One actor, awake or not: it costs nothing until it is spoken to."""

    __slots__ = ("_cls", "_key", "_system", "journal")

    def __init__(self, system: ActorSystem, cls: type[Actor[Any]], key: str) -> None:
        self._system = system
        self._cls = cls
        self._key = key
        self.journal = journal_name(cls.actor_type, key)
        """The name of the actor's journal."""

    def __repr__(self) -> str:
        return f"<ActorRef {self.journal}>"

    async def ask(
        self,
        command: Command[Reply],
        *,
        id: str | None = None,
        by: str | None = None,
        timeout_s: float | None = None,
    ) -> Reply:
        """Send a command and return its reply, once everything that its turn wrote is durable.

        The same `id` with the same contents returns the recorded reply and runs nothing. `timeout_s` ends the wait with
        an `AskTimeoutError`, never the turn. A turn that raised is an `ActorFailedError`; one that was cut short a
        `TurnInterruptedError`, and is resumed.
        """
        self._not_from_a_turn("ask")
        plain = await self._system.ask(self._cls, self._key, command, command_id=id, by=by, timeout_s=timeout_s)
        reply: Reply = decode_reply(type(command), plain)
        return reply

    async def tell(
        self,
        command: Command[Any],
        *,
        id: str | None = None,
        by: str | None = None,
    ) -> Told:
        """Send a command and return once it is durable; its turn runs by itself."""
        self._not_from_a_turn("tell")
        return await self._system.tell(self._cls, self._key, command, command_id=id, by=by)

    async def restart(self) -> None:
        """Let the actor take commands again after it was stopped, and resume what it had begun."""
        await self._system.restart(self.journal)

    def _not_from_a_turn(self, verb: str) -> None:
        turn = turn_of_caller()
        if turn is not None:
            raise NoTurnError(
                f"[{verb}] of {self!r} was called within turn [{turn}], where it would not be recorded; expected the "
                f"verb of the actor itself: write self.{verb}({self._cls.__name__}, {self._key!r}, …)"
            )
