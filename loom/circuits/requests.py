"""Which requests there were: an id that a caller chose names one request of the workspace, for whichever client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from loom.actors import Actor, Command
from loom.errors import CommandConflictError
from loom.extension import Host
from loom.identity import By, Identity
from loom.journal.kinds import CommandReceivedEntry

__all__ = ["Claim", "Claims", "Requests", "Send"]

Send: TypeAlias = Callable[[Command[Any]], asyncio.Future[Any]]
"""Sends a command and returns its reply to come."""

# The rows say where to look: what counts is the journal.
_ELSEWHERE = """
SELECT journal FROM turns WHERE command_id = ? AND journal <> ? AND actor_type IN ('circuits', 'strategy')
"""

Claims: TypeAlias = dict[str, dict[str, "Claim"]]
"""The requests that are under way, by id and then by journal."""


@dataclass(slots=True)
class Claim:
    """A request that is under way: who sent it, and how many wait for it."""

    by: str | None
    waiting: int = 0


class Requests:
    """Tells a request that is sent again from another one of the same id."""

    def __init__(self, host: Host, under_way: Claims) -> None:
        self._host = host
        self._under_way = under_way

    @contextlib.asynccontextmanager
    async def begun(
        self, cls: type[Actor[Any]], key: str, command_id: str, *, by: By | None, is_new: bool = False
    ) -> AsyncIterator[Send]:
        """Yield what sends a command to an actor, once its id was found to be free or that of the same request.

        The id is taken from now until the turn ends. Raises `CommandConflictError` for an id that was sent by someone
        else or, where the caller is known, for something else; one that `is_new` was never sent before.
        """
        journal = f"{cls.actor_type}/{key}"
        caller = None if by is None else Identity.of(by).name
        self._begin(journal, command_id, caller)
        sent = False

        def send(command: Command[Any]) -> asyncio.Future[Any]:
            nonlocal sent
            asking = self._host.actor(cls, key).ask(command, id=command_id, by=by)
            asked = self._host.background.start(asking, name=f"loom-circuits {command_id}", awaited=True)
            asked.add_done_callback(ended)
            sent = True
            return asked

        def ended(asked: asyncio.Future[Any]) -> None:
            self._end(journal, command_id)
            if not asked.cancelled():
                asked.exception()  # a caller who still waits gets it

        try:
            if not is_new and caller is not None:
                await self._check(journal, command_id, caller)
            yield send
        finally:
            if not sent:
                self._end(journal, command_id)

    def _begin(self, journal: str, command_id: str, by: str | None) -> None:
        known = self._under_way.get(command_id, {})
        mine = known.get(journal)
        if mine is not None and mine.by != by:
            raise _of_another_caller(command_id)
        if by is not None and any(name != journal and each.by is not None for name, each in known.items()):
            raise _of_another_client(command_id)
        claim = self._under_way.setdefault(command_id, {}).setdefault(journal, Claim(by))
        claim.waiting += 1

    def _end(self, journal: str, command_id: str) -> None:
        claims = self._under_way[command_id]
        claims[journal].waiting -= 1
        if not claims[journal].waiting:
            del claims[journal]
        if not claims:
            del self._under_way[command_id]

    async def _check(self, journal: str, command_id: str, by: str) -> None:
        store = self._host.store
        received = await store.find_command(journal, command_id)
        if received is not None and isinstance(received.entry, CommandReceivedEntry) and received.entry.by != by:
            raise _of_another_caller(command_id)
        for row in await self._host.queries.fetch(_ELSEWHERE, (command_id, journal), names=("turns",)):
            if await store.find_command(str(row["journal"]), command_id) is not None:
                raise _of_another_client(command_id)


def _of_another_caller(command_id: str) -> CommandConflictError:
    return CommandConflictError(
        f"execution [{command_id:.80}] is another caller's; expected an id of your own: choose another"
    )


def _of_another_client(command_id: str) -> CommandConflictError:
    return CommandConflictError(
        f"id [{command_id:.80}] was sent before, for another client or with another request; expected an id of its own "
        "for each request: choose another"
    )
