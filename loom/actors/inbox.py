"""Messages to an actor: each is given once, to the turn that has waited longest for its type, or kept until one waits.

A message is journaled as a command is, so it has an id, a sender, and protected fields. No turn runs for it: it is open
until a turn takes it, and the entry that says which turn took it, and its own end, are one append. So after a crash a
message was taken or was not.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol, TypeAlias, TypeVar

from loom.actors.actor import commands_of
from loom.actors.asleep import Asleep
from loom.actors.command import COMMANDS
from loom.actors.services import Services
from loom.actors.turn import Turn
from loom.actors.wait_entries import WaitEndedEntry
from loom.errors import LoomError, MailboxFullError
from loom.journal.entry import Entry, Recorded, Step
from loom.journal.kinds import CommandReceivedEntry, TurnCompletedEntry
from loom.journal.store import Draft, Receipt

__all__ = ["Inbox", "is_message"]

K = TypeVar("K")


class InboxHost(Protocol):
    """The actor whose messages these are, while it is awake."""

    journal: str
    cls: type[Any]
    services: Services
    turns: dict[str, Turn]
    asleep: Asleep
    invalidated_by: LoomError | None

    def draft(self, entry: Entry, *, command_id: str, policy_hash: bytes | None = None) -> Draft:
        """Make an entry ready for the journal."""
        ...

    def write_together(self, drafts: tuple[Draft, ...]) -> asyncio.Future[Receipt]:
        """Queue entries of several turns for the journal: all of them are written, or none."""
        ...

    def ended(self, command_id: str, receipt: Receipt | None) -> None:
        """Note that a turn has ended."""
        ...


_Place: TypeAlias = tuple[str, Step]
"""The command id and the step of a wait."""


class Inbox:
    """The messages that are kept, and the steps that wait for one: of each type the oldest first."""

    def __init__(self, host: InboxHost) -> None:
        self._host = host
        self.types: dict[str, str] = {}
        """Message id → type, of the messages that are kept."""
        self._kept: dict[str, dict[str, bytes | None]] = {}
        """Type → message id → the policy version in the header of its entry."""
        self._waiting: dict[str, dict[_Place, bytes | None]] = {}
        """Type → wait → the policy version of its turn."""
        self.steps: dict[str, dict[Step, str]] = {}
        """Command id → step → type, of the steps that wait."""

    def __contains__(self, command_id: object) -> bool:
        return command_id in self.types

    def check_room(self) -> None:
        """Raise `MailboxFullError` where as many messages are kept as an actor keeps."""
        most = self._host.services.options.mailbox_size
        if len(self.types) >= most:
            raise MailboxFullError(
                f"[{self._host.journal}] keeps [{len(self.types)}] messages that no turn has waited for; expected "
                f"fewer than [{most}]: have a turn wait for them, `loom turns abandon` those that none will, or raise "
                "actors.mailbox_size"
            )

    def keep(self, command_id: str, message_type: str, policy_hash: bytes | None) -> None:
        """Keep a message whose entry is queued, or give it to the turn that waits for it."""
        self.types[command_id] = message_type
        self._kept.setdefault(message_type, {})[command_id] = policy_hash
        self._match(message_type)

    def keep_again(self, received: Recorded) -> bool:
        """Keep a message that was not taken when its journal was read; False if it is a command."""
        entry, command_id = received.entry, str(received.command_id)
        if not isinstance(entry, CommandReceivedEntry) or not is_message(entry.command_type, self._host.cls):
            return False
        self.types[command_id] = entry.command_type
        self._kept.setdefault(entry.command_type, {})[command_id] = received.policy_hash
        return True

    def wait(self, command_id: str, step: Step, message_type: str, policy_hash: bytes | None) -> None:
        """Note that a step waits for a message, and give it the oldest one that is kept."""
        self.wait_again(command_id, step, message_type, policy_hash)
        self._match(message_type)

    def wait_again(self, command_id: str, step: Step, message_type: str, policy_hash: bytes | None) -> None:
        """Note that a step waits, when the journal is read: `match` then gives all of them what is kept."""
        self._waiting.setdefault(message_type, {})[command_id, step] = policy_hash
        self.steps.setdefault(command_id, {})[step] = message_type

    def match(self) -> None:
        """Give the messages that are kept to the steps that wait, and end the waits whose time was over before."""
        for message_type in list(self._kept):
            self._match(message_type)
        timer, journal = self._host.services.timer, self._host.journal
        for command_id, steps in list(self.steps.items()):
            for step in list(steps):
                if timer.passed((journal, command_id), step):
                    self.time_out(command_id, step)

    def waits(self, command_id: str, step: Step) -> bool:
        """Tell whether a step waits for a message."""
        return step in self.steps.get(command_id, ())

    def give_up(self, command_id: str, step: Step) -> None:
        """Note that a step does not wait any more."""
        steps = self.steps.get(command_id)
        message_type = None if steps is None else steps.pop(step, None)
        if not steps:
            self.steps.pop(command_id, None)
        if message_type is not None:
            _remove(self._waiting, message_type, (command_id, step))

    def ended(self, command_id: str) -> None:
        """Forget a turn that has ended, or a message that was taken or abandoned."""
        message_type = self.types.pop(command_id, None)
        if message_type is not None:
            _remove(self._kept, message_type, command_id)
        for step, awaited in self.steps.pop(command_id, {}).items():
            _remove(self._waiting, awaited, (command_id, step))

    def time_out(self, command_id: str, step: Step) -> bool:
        """End the wait of a step without a message; False if it waits for none."""
        if not self.waits(command_id, step):
            return False
        if self._host.invalidated_by is None:
            self._end(command_id, step, None, ())
        return True

    def _match(self, message_type: str) -> None:
        kept, waiting = self._kept.get(message_type), self._waiting.get(message_type)
        while kept and waiting and self._host.invalidated_by is None:
            (message_id, policy_hash), place = next(iter(kept.items())), next(iter(waiting))
            taken = TurnCompletedEntry(reply=None)
            ready = self._host.draft(taken, command_id=message_id, policy_hash=policy_hash)
            self._end(*place, message_id, (ready,))
            self._host.ended(message_id, None)

    def _end(self, command_id: str, step: Step, message_id: str | None, also: tuple[Draft, ...]) -> None:
        policy_hash = self._waiting[self.steps[command_id][step]][command_id, step]
        self.give_up(command_id, step)
        entry = WaitEndedEntry(wait=step, message_id=message_id)
        ready = self._host.draft(entry, command_id=command_id, policy_hash=policy_hash)
        self._host.write_together((*also, ready))
        turn = self._host.turns.get(command_id)
        if turn is None:
            self._host.asleep.wake(command_id)
        else:
            turn.parking.end(step, entry)


def _remove(by_type: dict[str, dict[K, bytes | None]], message_type: str, key: K) -> None:
    found = by_type.get(message_type)
    if found is not None:
        found.pop(key, None)
        if not found:
            del by_type[message_type]


def is_message(command_type: str, cls: type[Any]) -> bool:
    """Tell whether a command type is that of a message, as far as its class is known in this process.

    Several messages may have one name: the turn that waits says which of them it is.
    """
    declared = [each for each in commands_of(cls) if each.command_type == command_type]
    classes = declared or COMMANDS.classes_of(command_type)
    return bool(classes) and all(each.is_message for each in classes)
