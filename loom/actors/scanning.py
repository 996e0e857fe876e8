"""Old data: entries that hold a declared field in clear, as they were written before it was declared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from loom.actors.actor import commands_of
from loom.actors.classes import ActorClasses
from loom.actors.command import COMMANDS, Command, reply_type
from loom.errors import UnknownActorError
from loom.identity import parse_journal_name
from loom.journal.entry import KINDS, Recorded
from loom.journal.export import Readable
from loom.journal.kinds import CommandReceivedEntry, TurnCompletedEntry
from loom.sealing import declaration_of, declaration_of_type
from loom.sealing.clear import Clear, clear_in

__all__ = ["ClearField", "scan"]


class ClearField(NamedTuple):
    """A declared field in clear: its place, its present declaration, and its subject, if that is known."""

    journal: str
    sequence: int
    position: int
    kind: str
    path: str
    """The names in the body down to the value, joined by slashes."""
    handling: str
    subject: str | None


class _Turn(NamedTuple):
    cls: type[Command[Any]] | None
    subject: str | None


async def scan(source: Readable, classes: ActorClasses, *, until: int | None = None) -> AsyncIterator[ClearField]:
    """Yield, by position, the declared fields in clear of commands, of replies, and of entries of users' own kinds.

    Declarations of classes that are unknown in this process are not covered, nor are those of single look-ups and
    facts.
    """
    turns: dict[tuple[str, str], _Turn] = {}
    async for recorded in source.read_all(until=until):
        if recorded.command_id is None or recorded.body is None or recorded.journal.startswith("loom/"):
            continue
        key = (recorded.journal, recorded.command_id)
        if recorded.kind == CommandReceivedEntry.kind:
            turns[key] = _turn_of(recorded, classes)
        for path, clear in _clear_in(recorded, turns.get(key, _Turn(None, None))):
            yield ClearField(
                journal=recorded.journal,
                sequence=recorded.sequence,
                position=recorded.position,
                kind=recorded.kind,
                path=f"{path}{clear.path}".lstrip("/"),
                handling=clear.handling,
                subject=clear.subject,
            )


def _turn_of(recorded: Recorded, classes: ActorClasses) -> _Turn:
    """Return the command class of a turn, if it is known, and its subject."""
    body = recorded.plain or {}
    actor_type = parse_journal_name(recorded.journal).actor_type
    among = commands_of(classes.get(actor_type)) if classes.knows(actor_type) else ()
    try:
        cls = COMMANDS.class_of(str(body.get("command_type")), among=among)
    except UnknownActorError:
        return _Turn(None, body.get("subject"))
    subject, payload = body.get("subject"), body.get("payload")
    if subject is None and cls.subject_field is not None and isinstance(payload, dict):
        named = payload.get(cls.subject_field)
        subject = named if isinstance(named, str) else None
    return _Turn(cls, subject)


def _clear_in(recorded: Recorded, turn: _Turn) -> Iterator[tuple[str, Clear]]:
    body = recorded.plain
    if body is None:
        return
    if recorded.kind == CommandReceivedEntry.kind:
        if turn.cls is not None and (declared := declaration_of(turn.cls)):
            yield from (("payload", each) for each in clear_in(body["payload"], declared, subject=turn.subject))
    elif recorded.kind == TurnCompletedEntry.kind:
        node = None if turn.cls is None else declaration_of_type(reply_type(turn.cls))
        if node is not None:
            yield from (("reply", each) for each in clear_in(body["reply"], node, subject=turn.subject))
    else:
        cls = KINDS.get(recorded.kind)
        if cls is not None and (declared := declaration_of(cls)):
            named = body.get(getattr(cls, "subject_field", None) or "")
            subject = named if isinstance(named, str) else turn.subject
            yield from (("", each) for each in clear_in(dict(body), declared, subject=subject))
