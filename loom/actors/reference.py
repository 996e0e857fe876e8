"""The handle of an actor for code outside it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any, Generic, cast

from typing_extensions import TypeVar

from loom.actors.actor import Actor
from loom.actors.command import Command, Handles, Message, Sent, decode_reply
from loom.actors.dispatch import TellReceipt
from loom.actors.progress import Progress, Replied
from loom.actors.system import ActorSystem
from loom.actors.turn_context import turn_of_caller
from loom.background import awaiting
from loom.errors import AdmissionError, NoTurnError
from loom.identity import By, journal_name

__all__ = ["ActorRef"]


A = TypeVar("A", covariant=True, default=Any)
C = TypeVar("C")
R = TypeVar("R")


class ActorRef(Generic[A]):
    """A reference to one actor, awake or not: it costs nothing until a command is sent.

    Typed by the actor's class: a type checker refuses a command that its `execute` does not take, and knows the reply
    of one that it takes.
    """

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
        self: ActorRef[Handles[C]],
        command: Sent[C, R],
        *,
        id: str | None = None,
        by: By | None = None,
        timeout_s: float | None = None,
    ) -> R:
        """Send a command and return its reply, once everything that its turn wrote is durable.

        The same `id` with the same contents returns the recorded reply and runs nothing. `timeout_s` ends the wait with
        an `AskTimeoutError`, never the turn. A turn that raised is an `ActorFailedError`; one that was cut short a
        `TurnInterruptedError`, and is resumed.
        """
        self._not_from_a_turn("ask")
        sent = cast("Command[R]", command)
        plain = await self._system.messenger.ask(self._cls, self._key, sent, command_id=id, by=by, timeout_s=timeout_s)
        reply: R = decode_reply(type(sent), plain)
        return reply

    async def stream(
        self: ActorRef[Handles[C]],
        command: Sent[C, R],
        *,
        id: str | None = None,
        by: By | None = None,
    ) -> AsyncGenerator[Progress | Replied[R], None]:
        """Send a command and yield the progress of its turn, and at last its reply, as `Replied`.

        Steps begin and end, and a model that `call_model` asks gives its text as it comes. Progress is not journaled; a
        slow reader is given `LeftOut` in place of what it missed, and never slows the turn. To stop reading does not
        stop the turn. Raises what `ask` does; use it with `contextlib.aclosing` where it is not read to its end.
        """
        self._not_from_a_turn("stream")
        services = self._system.services
        known_id = id or services.sources.new_id()
        with services.watchers.watch(self.journal, known_id) as watch:
            async with awaiting(self.ask(command, id=known_id, by=by)) as asking:  # what is cancelled is the wait
                asking.add_done_callback(lambda _: watch.end())
                async for progress in watch:
                    yield progress
                yield Replied(await asking)

    async def tell(
        self: ActorRef[Handles[C]],
        command: Sent[C, Any],
        *,
        id: str | None = None,
        by: By | None = None,
        at: datetime | None = None,
    ) -> TellReceipt:
        """Send a command and return once it is durable; its turn runs by itself, not before the time `at` (UTC)."""
        self._not_from_a_turn("tell")
        sent = cast("Command[Any]", command)
        return await self._system.messenger.tell(self._cls, self._key, sent, command_id=id, by=by, at=at)

    async def send(self, message: Message, *, id: str | None = None, by: By | None = None) -> TellReceipt:
        """Send a message and return once it is durable; a turn that waits for its type gets it, now or later.

        The same `id` with the same contents is one message. Raises `MailboxFullError` where the actor keeps as many
        messages that no turn has waited for as its mailbox may hold.
        """
        self._not_from_a_turn("send")
        given: object = message
        if not isinstance(given, Message) or not given.command_type:
            raise AdmissionError(
                f"[{type(message).__name__}] is sent to [{self.journal}] as a message; expected a subclass of Message: "
                "ask or tell a command"
            )
        return await self._system.messenger.tell(self._cls, self._key, message, command_id=id, by=by)

    async def restart(self) -> None:
        """Let the actor take commands again after it was stopped, and resume its turns."""
        await self._system.restart(self.journal)

    def _not_from_a_turn(self, verb: str) -> None:
        turn = turn_of_caller()
        if turn is not None:
            raise NoTurnError(
                f"[{verb}] of {self!r} was called within turn [{turn}], where it would not be recorded; expected the "
                f"verb of the actor itself: write self.{verb}({self._cls.__name__}, {self._key!r}, …)"
            )
