"""Commands that go to the process where their actor lives: here at once, elsewhere by the engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

from pydantic import JsonValue
from pydantic_core import to_json

from loom.actors.actor import Actor
from loom.actors.circles import check_circle
from loom.actors.command import Command
from loom.actors.dispatch import Dispatcher, Origin, TellReceipt, check_time, not_json, out_of_time
from loom.actors.protected import declared_of, is_protected
from loom.actors.system import ActorSystem
from loom.actors.turn import Turn
from loom.decisions.runs import current_run
from loom.engine.port import Delivery, Engine, Reply
from loom.errors import (
    AskTimeoutError,
    LoomClosedError,
    LoomError,
    NodeUnreachableError,
    NotOwnerError,
    TurnInterruptedError,
    WriterFencedError,
)
from loom.identity import By, Identity, journal_name
from loom.sealing import declared_plain

__all__ = ["AGAIN", "RoutedDispatcher", "Sender"]

T = TypeVar("T")

AGAIN = (LoomClosedError, NodeUnreachableError, NotOwnerError, TurnInterruptedError, WriterFencedError)
"""What says nothing of a command itself: it is delivered again, under its id."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


class Sender:
    """Delivers until there is an answer, or until no node has answered for `patience_s`."""

    def __init__(self, system: ActorSystem, engine: Engine, *, patience_s: float) -> None:
        self.engine = engine
        self._system = system
        self._patience_s = patience_s

    def mine(self, journal: str) -> bool:
        """Tell whether an actor lives in this process."""
        return self.engine.ownership.mine(journal)

    async def here_or_there(
        self,
        journal: str,
        here: Callable[[], Awaitable[T]],
        there: Delivery,
        taken: Callable[[Any], T],
        *,
        done_before: Callable[[LoomError], Awaitable[T]] | None = None,
    ) -> T:
        """Do something where an actor lives: here, or as a delivery whose reply is `taken` for the result.

        `done_before` is asked about a refusal where an earlier delivery had no answer: that one may be the reason.
        """
        loop = asyncio.get_running_loop()
        end, pause_s, lost = loop.time() + self._patience_s, _FIRST_PAUSE_S, False
        while True:
            try:
                if self.mine(journal):
                    return await here()
                reply = await self.engine.deliver(there)
            except AGAIN as error:
                if self._system.closing or loop.time() >= end:
                    raise
                await self._look_again(journal)
                lost = lost or isinstance(error, NodeUnreachableError)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            except LoomError as error:
                if not lost or done_before is None:
                    raise
                return await done_before(error)
            else:
                if "reply" in reply:
                    return taken(reply["reply"])
                end, pause_s = loop.time() + self._patience_s, _FIRST_PAUSE_S  # it is under way: a node has said so

    async def _look_again(self, journal: str) -> None:
        """Have the engine compare what it takes for its own with the journal: the actor may have moved."""
        with contextlib.suppress(LoomError):
            await self.engine.owner(journal)

    async def seen(self, position: int) -> None:
        """Wait until what was written elsewhere can be read here."""
        store = self._system.services.store
        if store.acknowledged < position:
            await store.refresh()


class RoutedDispatcher(Dispatcher):
    """A dispatcher that has commands of actors elsewhere delivered by an engine."""

    def __init__(self, system: ActorSystem, sender: Sender) -> None:
        super().__init__(system)
        self._sender = sender

    async def ask(
        self,
        cls: type[Actor[Any]],
        key: str,
        command: Command[Any],
        *,
        command_id: str | None = None,
        by: By | None = None,
        timeout_s: float | None = None,
        sender: Turn | None = None,
        origin: Origin | None = None,
        fresh: bool = False,
    ) -> JsonValue:
        """Send a command to where its actor lives, and return its reply as plain JSON."""
        journal = journal_name(cls.actor_type, key)
        if origin is not None or command.is_message:  # it was brought here, or is refused
            return await super().ask(
                cls,
                key,
                command,
                command_id=command_id,
                by=by,
                timeout_s=timeout_s,
                sender=sender,
                origin=origin,
                fresh=fresh,
            )
        known_id = command_id or self._services.sources.new_id()
        delivery = self._delivery("ask", journal, command, known_id, by=by, sender=sender)
        asked = super().ask
        first = command_id is None and self._sender.mine(journal)  # of what is tried again, the journal may know

        async def here() -> JsonValue:
            nonlocal first
            new, first = first, False
            return await asked(
                cls, key, command, command_id=known_id, by=by, timeout_s=timeout_s, sender=sender, fresh=new
            )

        if sender is not None:
            check_circle(self._cells, (sender.host.journal,), journal)
            sender.asking[journal] = sender.asking.get(journal, 0) + 1  # the process of another actor asks about it
        try:
            async with asyncio.timeout(timeout_s):
                return await self._sender.here_or_there(journal, here, delivery, lambda plain: plain)
        except TimeoutError as error:
            if isinstance(error, AskTimeoutError):
                raise
            raise out_of_time(journal, command, known_id, timeout_s) from None
        finally:
            if sender is not None:
                sender.asking[journal] -= 1

    async def tell(
        self,
        cls: type[Actor[Any]],
        key: str,
        command: Command[Any],
        *,
        command_id: str | None = None,
        by: By | None = None,
        at: datetime | None = None,
        sender: Turn | None = None,
        origin: Origin | None = None,
    ) -> TellReceipt:
        """Send a command to where its actor lives, and return once it is durable and can be read here."""
        if origin is not None:
            return await super().tell(
                cls, key, command, command_id=command_id, by=by, at=at, sender=sender, origin=origin
            )
        check_time(command, at)
        journal = journal_name(cls.actor_type, key)
        known_id = command_id or self._services.sources.new_id()
        delivery = self._delivery("tell", journal, command, known_id, by=by, sender=sender, at=at)
        sent = super().tell

        async def here() -> TellReceipt:
            return await sent(cls, key, command, command_id=known_id, by=by, at=at, sender=sender)

        receipt = await self._sender.here_or_there(journal, here, delivery, _receipt)
        await self._sender.seen(receipt.position)
        return receipt

    def _delivery(
        self,
        verb: str,
        journal: str,
        command: Command[Any],
        command_id: str,
        *,
        by: By | None,
        sender: Turn | None,
        at: datetime | None = None,
    ) -> Delivery:
        who = Identity.of(by) if by is not None else sender.received.identity if sender else None
        sealed = is_protected(type(command))
        try:
            plain = to_json(declared_plain(command, declared_of(type(command)))).decode() if sealed else None
            payload = command.model_dump_json() if plain is None else plain
        except ValueError as error:
            raise not_json(command, type(error).__name__) from error
        arguments: dict[str, JsonValue] = {
            "command_type": command.command_type,
            "payload": payload,
            "correlation_id": sender.received.correlation_id if sender else command_id,
            "causation_id": sender.command_id if sender else None,
            "run_id": sender.received.run_id if sender else current_run(self._services.store),
            "waiting": [*sender.received.waiting, sender.host.journal] if sender and verb == "ask" else [],
        }
        if at is not None:
            arguments["at"] = at.isoformat()
        return Delivery(verb, journal, command_id, arguments, who, sealed)


def _receipt(plain: Reply) -> TellReceipt:
    return TellReceipt(**plain)  # type: ignore[arg-type] # as another node of this version has written it
