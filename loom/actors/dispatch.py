"""Delivers commands to actors and replies to callers: each command id is handled once, however often it is sent."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from pydantic import JsonValue, ValidationError
from pydantic_core import from_json, to_json

from loom.actors.actor import Actor
from loom.actors.cell import Cell
from loom.actors.circles import check_circle
from loom.actors.classes import ActorClasses
from loom.actors.command import Command
from loom.actors.keyed_lock import KeyedLock
from loom.actors.protected import Protected, check_not_erased, is_protected, protected
from loom.actors.protected_replies import declared_reply
from loom.actors.repeated import check_same
from loom.actors.sent_before import Sent, reply_of, sent_before
from loom.actors.services import Services
from loom.actors.turn import Turn
from loom.decisions.runs import current_run
from loom.errors import (
    AdmissionError,
    AppendUnknownError,
    AskTimeoutError,
    LoomError,
)
from loom.identity import By, Identity, journal_name
from loom.journal.kinds import CommandReceivedEntry
from loom.journal.plain import is_plain_model
from loom.journal.serialisation import EntryText, json_text, name_text
from loom.journal.store import check_name
from loom.sealing.wording import problems, without_words

__all__ = ["Cells", "Dispatcher", "Origin", "TellReceipt"]


_NO_LIMIT: AbstractAsyncContextManager[object] = nullcontext()


class Cells(Protocol):
    """The part of the actor system that a dispatcher uses to find actors."""

    services: Services
    classes: ActorClasses

    async def know(self, cls: type[Actor[Any]]) -> None:
        """Register a class by first use."""
        ...

    async def cell(self, journal: str) -> Cell:
        """Return the cell of an actor, waking it if need be."""
        ...

    def waits_for(self, journal: str) -> list[str]:
        """Return the journals whose actors the running turn of an actor has asked and waits for."""
        ...


class TellReceipt(NamedTuple):
    """The result of `tell`: the command is durable, at this position. To get its reply, ask with the same id."""

    journal: str
    command_id: str
    sequence: int
    position: int


class Origin(NamedTuple):
    """What a command that another process passes on says of the turn, or the caller, that sent it there."""

    correlation_id: str
    causation_id: str | None = None
    run_id: str | None = None
    waiting: tuple[str, ...] = ()


class _Outgoing(NamedTuple):
    """A command to be delivered: its entry, that entry as it will be written, and the JSON of the command alone."""

    entry: CommandReceivedEntry
    in_text: EntryText
    payload: str


class Dispatcher:
    """Sends commands. A turn names itself as `sender`: its requester and correlation id are passed on."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._services = cells.services
        self._lock = KeyedLock()

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
        """Send a command and return its reply as plain JSON; the timeout ends the wait, never the turn.

        `origin` says where a command comes from that another process passes on. `fresh` says that `command_id` was made
        for this call alone, so that the journal cannot have it.
        """
        journal = journal_name(cls.actor_type, key)
        known_id = command_id or self._services.sources.new_id()
        if command.is_message:
            raise AdmissionError(
                f"message [{command.command_type}] is asked of [{journal}]; expected a command, as a message has no "
                "reply: send it"
            )
        if sender is not None:
            check_circle(self._cells, (sender.host.journal,), journal)
            sender.asking[journal] = sender.asking.get(journal, 0) + 1
        elif origin is not None and origin.waiting:
            check_circle(self._cells, origin.waiting, journal)
        try:
            async with _NO_LIMIT if timeout_s is None else asyncio.timeout(timeout_s):
                waiting = (*sender.received.waiting, sender.host.journal) if sender else ()
                outgoing = await self._outgoing(
                    command, known_id, journal=journal, by=by, sender=sender, waiting=waiting, origin=origin
                )
                sent = await self._send(cls, journal, command, outgoing, known_id, fresh=fresh or command_id is None)
                return await sent.reply()
        except TimeoutError:
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
        """Send a command, which may begin only `at` a time, and return once it is durable; `origin` is as in `ask`."""
        check_time(command, at)
        known_id = command_id or self._services.sources.new_id()
        journal = journal_name(cls.actor_type, key)
        outgoing = await self._outgoing(
            command, known_id, journal=journal, by=by, sender=sender, waiting=(), origin=origin
        )
        sent = await self._send(cls, journal, command, outgoing, known_id, fresh=command_id is None, at=at)
        try:
            receipt = await asyncio.shield(sent.accepted)
        except AppendUnknownError as unknown:
            resolved = await self._services.store.resolve(unknown)
            if resolved is None:
                raise
            receipt = resolved
        except LoomError as error:
            raise sent.cell.refusal(error) from error
        after = receipt.sequence - sent.sequence  # entries of its turn may have been appended together with it
        return TellReceipt(receipt.journal, known_id, sent.sequence, receipt.position - after)

    # --- sending --------------------------------------------------------------------------------

    async def _outgoing(
        self,
        command: Command[Any],
        command_id: str,
        *,
        journal: str,
        by: By | None,
        sender: Turn | None,
        waiting: tuple[str, ...],
        first: CommandReceivedEntry | None = None,
        origin: Origin | None = None,
    ) -> _Outgoing:
        before = origin if first is None else first
        who = Identity.of(by) if by is not None else sender.received.identity if sender else None
        who = who if first is None else first.identity
        hidden: Protected | None = None
        declared_reply(type(command))  # what cannot be protected is refused before anything is done
        if is_protected(type(command)):
            hidden = await protected(self._services, command, journal=journal, command_id=command_id)
        try:
            payload = command.model_dump_json() if hidden is None else hidden.plain
            plain = from_json(payload) if hidden is None else hidden.payload
        except ValueError as error:  # a lone surrogate, say
            raise not_json(command, error) from error
        entry = CommandReceivedEntry(
            command_type=command.command_type,
            payload=plain,
            **({} if who is None else who.written()),
            correlation_id=(
                before.correlation_id if before else sender.received.correlation_id if sender else command_id
            ),
            causation_id=before.causation_id if before else sender.command_id if sender else None,
            waiting=waiting if origin is None else origin.waiting,
            run_id=(
                before.run_id if before else sender.received.run_id if sender else current_run(self._services.store)
            ),
            subject=None if hidden is None else hidden.subject,
            proofs={} if hidden is None else dict(hidden.proofs),
            command_version=type(command).schema_version,
        )
        # What pydantic writes of other models may have a key twice: then what was read back is written.
        text = payload.encode() if hidden is None and is_plain_model(type(command)) else to_json(plain)
        return _Outgoing(entry, _in_text(entry, text), payload)

    async def again(
        self, command: Command[Any], command_id: str, *, journal: str, first: CommandReceivedEntry
    ) -> EntryText:
        """Return the entry of a command that takes up the turn of an earlier one: its requester stays the same."""
        outgoing = await self._outgoing(
            command, command_id, journal=journal, by=None, sender=None, waiting=(), first=first
        )
        return outgoing.in_text

    async def _send(
        self,
        cls: type[Actor[Any]],
        journal: str,
        command: Command[Any],
        outgoing: _Outgoing,
        command_id: str,
        *,
        fresh: bool,
        at: datetime | None = None,
    ) -> Sent:
        """Pass a command to its cell; one that was received before is answered from the journal."""
        check_name(command_id, what="command id")
        await self._cells.know(cls)
        if fresh:
            return await self._accept(cls, journal, command, outgoing, command_id, at)
        async with self._lock.hold((journal, command_id)):
            cell = await self._cells.cell(journal)
            turn = cell.turns.get(command_id)
            if turn is not None:
                check_not_erased(self._services.subjects, turn.received)
                check_same(type(command), turn.received, outgoing.entry, journal, command_id)
                return Sent(reply_of(self._services, turn, outgoing.entry), turn.accepted, turn.sequence, cell)
            if command_id in cell.open and cell.written is not None:  # it came just now, and no turn runs for it yet
                await asyncio.wait([cell.written])
            before = await self._services.store.find_command(journal, command_id)
            if before is None:
                return await self._accept(cls, journal, command, outgoing, command_id, at)
            check_not_erased(self._services.subjects, before.entry)
            check_same(type(command), before.entry, outgoing.entry, journal, command_id)
            return await sent_before(self._services, cell, before, command, outgoing.entry)

    async def _accept(
        self,
        cls: type[Actor[Any]],
        journal: str,
        command: Command[Any],
        outgoing: _Outgoing,
        command_id: str,
        at: datetime | None,
    ) -> Sent:
        copy = _read_back(command, outgoing.payload)
        if not self._services.store.has_room:
            await self._services.store.room()
        cell = await self._cells.cell(journal)
        turn = cell.accept(copy, outgoing.entry, outgoing.in_text, command_id, self._cells.classes.pin(cls), at=at)
        return Sent(turn.reply, turn.accepted, turn.sequence, cell)


def out_of_time(journal: str, command: Command[Any], command_id: str, timeout_s: float | None) -> AskTimeoutError:
    """Return the error for a caller whose wait for a reply ends; the turn goes on."""
    return AskTimeoutError(
        f"actor [{journal}] did not reply to [{command.command_type}] within [{timeout_s}] s; expected a reply: the "
        f"turn goes on; ask again with id [{command_id}] for it"
    )


def not_json(command: Command[Any], why: object) -> AdmissionError:
    """Return the refusal of a command that cannot be written as JSON."""
    return AdmissionError(
        f"command [{command.command_type}] cannot be written as JSON [{why}]; expected plain JSON values: correct the "
        "value"
    )


def check_time(command: Command[Any], at: datetime | None) -> None:
    """Raise `AdmissionError` for a time without a zone, and for a message, which begins no turn."""
    if at is None:
        return
    if at.tzinfo is None:
        raise AdmissionError(
            f"command [{command.command_type}] begins at [{at.isoformat()}], which has no time zone; expected an aware "
            "datetime: add tzinfo=UTC"
        )
    if command.is_message:
        raise AdmissionError(
            f"message [{command.command_type}] begins at [{at.isoformat()}]; expected a command: a message has no turn "
            "of its own, so send it when it is time"
        )


def _in_text(entry: CommandReceivedEntry, payload: bytes) -> EntryText:
    """Return the entry of a command as it will be written."""
    texts = {
        "command_type": name_text(entry.command_type),
        "payload": payload,
        "by": name_text(entry.by),
        "correlation_id": json_text(entry.correlation_id),
        "causation_id": json_text(entry.causation_id),
    }
    for name in ("identity_source", "via", "run_id", "subject"):
        value = getattr(entry, name)
        if value is not None:
            texts[name] = json_text(value)
    if entry.waiting:
        texts["waiting"] = to_json(entry.waiting)
    if entry.proofs:
        texts["proofs"] = to_json(entry.proofs)
    if entry.command_version != 1:
        texts["command_version"] = to_json(entry.command_version)
    return EntryText(CommandReceivedEntry, texts)


def _read_back(command: Command[Any], text: str) -> Command[Any]:
    """Return a command as a resumed turn gets it; its sender may change its own copy later."""
    try:
        return type(command).model_validate_json(text)
    except ValidationError as error:
        hides = is_protected(type(command))
        raise AdmissionError(
            f"command [{command.command_type}] cannot be read back from what is journaled of it "
            f"[{problems(error, hides=hides)}]; expected fields that survive JSON: correct its types"
        ) from (without_words(error) if hides else error)
