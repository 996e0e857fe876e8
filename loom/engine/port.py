"""The port of an engine: what a loom needs of it, and what it is given in return.

An engine says in which process an actor lives (`ownership`, `owner`), brings deliveries there (`deliver`), and later
ones when their time comes (`schedule`). It gives them to the `Node` that it serves. It may deliver twice, late, or to a
process that is the owner no more: command ids make the first harmless, and the journal refuses the last.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from pydantic import JsonValue

from loom.actors.ownership import Ownership
from loom.errors import AdmissionError
from loom.identity import FORWARDED, Identity, check_person

__all__ = ["Delivery", "Engine", "Node", "Reply"]

Reply = dict[str, JsonValue]
"""What comes back: `{"reply": …}` with the result, or `{"waiting": true}` where there is none yet: deliver again."""

_SOURCES = frozenset({"api_key", "claimed", "invitation", "oidc", "os_user", "proxy", "system", FORWARDED})
_VIAS = frozenset({"code", "command", "config", "http", "python", "shell", "socket"})
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Delivery:
    """Something to be done where an actor lives: a command of it, an answer to one of its requests, a wake-up.

    `id` is the command id, or the id of the request: the same id is the same delivery. `sealed` says that values in
    `arguments` are sealed in the journal, so that no engine may keep them.
    """

    verb: str
    journal: str
    id: str
    arguments: dict[str, JsonValue] = field(default_factory=dict)
    by: Identity | None = None
    sealed: bool = False

    def as_json(self) -> dict[str, JsonValue]:
        """Return it as plain JSON."""
        who = None if self.by is None else {"name": self.by.name, "source": self.by.source, "via": self.by.via}
        return {
            "verb": self.verb,
            "journal": self.journal,
            "id": self.id,
            "arguments": self.arguments,
            "by": dict(who) if who else None,
            "sealed": self.sealed,
        }

    @classmethod
    def of_json(cls, plain: Any) -> Delivery:
        """Return what `as_json` gave; raise `AdmissionError` for anything else."""
        match plain:
            case {
                "verb": str(verb),
                "journal": str(journal),
                "id": str(known),
                "arguments": dict(arguments),
                "by": by,
                "sealed": bool(sealed),
                **rest,
            } if not rest:
                return cls(verb, journal, known, arguments, _identity(by), sealed)
        raise AdmissionError("delivery makes no sense; expected what another node of this version sends: compare them")


def _identity(plain: Any) -> Identity | None:
    if plain is None:
        return None
    match plain:
        case {"name": str(name), "source": str(source), "via": str() | None as via, **rest} if not rest:
            kind, colon, value = source.partition(":")
            known = kind in _SOURCES and bool(value) == bool(colon) and (via is None or via in _VIAS)
            if known and len(source) <= _LONGEST and source.isprintable():
                return Identity(check_person(name), source, via)
    raise AdmissionError(
        "identity makes no sense; expected a name and its source, as a node establishes them: send the identity itself"
    )


class Node(Protocol):
    """What an engine delivers to: the loom of this process."""

    async def receive(self, delivery: Delivery) -> Reply:
        """Do what is delivered; raise the `LoomError` with which it is refused."""
        ...

    def parked(self, journal: str, id: str) -> bool:
        """Tell whether the turn of a command waits for a person, a time or another actor."""
        ...

    def awake(self) -> Collection[str]:
        """Return the actors that are awake here."""
        ...

    def ownership_changed(self) -> None:
        """Give up actors that live elsewhere now, and resume the turns of those that have come here."""
        ...


class Engine(Protocol):
    """Brings deliveries to the process in which an actor lives.

    `deliver` and `schedule` may be called from `serve` on, until `close`.
    """

    @property
    def ownership(self) -> Ownership:
        """Says which actors live in this process."""
        ...

    async def serve(self, node: Node) -> None:
        """Begin to take deliveries for a node, and to say which actors live here."""
        ...

    async def deliver(self, delivery: Delivery) -> Reply:
        """Bring a delivery to where its actor lives, and return what came of it.

        Raises what the node there raises, and `NodeUnreachableError` where it cannot be known what came of it: deliver
        it again.
        """
        ...

    async def schedule(self, delivery: Delivery, *, at: datetime) -> None:
        """Have something delivered at a time, or a little later; the same id is scheduled once."""
        ...

    async def cancel(self, id: str) -> None:
        """Forget what was scheduled under an id, if it has not been delivered yet."""
        ...

    async def owner(self, journal: str) -> str | None:
        """Return the address of the process in which an actor lives; None where it lives nowhere yet."""
        ...

    async def close(self) -> None:
        """Take no more deliveries, and give up what lives here. Closing twice is harmless."""
        ...
