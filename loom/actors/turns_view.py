"""The turns of a workspace: which are finished, and what the others wait for.

An entry belongs to the turn that its header names by journal and command id. The rule for the status is in
`turns_view.sql`, next to the columns from which it is derived.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from loom.actors.turns_confirmed import TurnsInJournal
from loom.actors.turns_projection import TurnsProjection
from loom.clock import datetime_from_us
from loom.errors import TurnNotFoundError
from loom.identity import Identity, check_limit
from loom.journal.entry import Recorded
from loom.projections import Queries
from loom.projections.sql import prefix_range

__all__ = ["TurnStatus", "TurnSummary", "TurnsProjection", "TurnsView"]

TurnStatus: TypeAlias = Literal["received", "running", "parked", "stuck", "completed", "failed", "abandoned"]
"""The status of a turn, as far as its journal gives it."""


class TurnSummary(BaseModel):
    """The status of one turn. Its times are those of the journal; its input is in its command."""

    model_config = ConfigDict(frozen=True)

    journal: str
    command_id: str
    actor_type: str
    actor_key: str
    command_type: str | None
    by: str | None
    identity_source: str | None = None
    via: str | None = None
    correlation_id: str | None
    causation_id: str | None
    received_position: int
    received_sequence: int
    received_at: datetime
    status: TurnStatus
    attempts: int
    pending_effect: bool
    open_approvals: int
    open_waits: int = 0
    decisions: int
    last_position: int
    ended_at: datetime | None
    error_type: str | None
    error_message: str | None

    @property
    def requester(self) -> Identity | None:
        """Who sent the command, and the source of the name; None where no sender was named."""
        return None if self.by is None else Identity(self.by, self.identity_source, self.via)

    @property
    def unfinished(self) -> bool:
        """Whether it has no end yet."""
        return self.ended_at is None


_COLUMNS = """
journal, command_id, actor_type, actor_key, command_type, by, identity_source, via, correlation_id, causation_id,
received_position, received_sequence, received_at_us, status, attempts, pending_effects, open_approvals, open_waits,
decisions,
last_position, ended_at_us, error_type, error_message, diverged_position
"""
_AT = f"""
SELECT {_COLUMNS} FROM turns WHERE ended IS NULL AND received_position IN (SELECT value FROM json_each(?))
"""  # noqa: S608 - constants only
_BY_PREFIX = f"""
SELECT {_COLUMNS} FROM turns
WHERE command_id >= ? AND command_id < ? AND (? IS NULL OR journal = ?) ORDER BY command_id LIMIT 3
"""  # noqa: S608
_LIST = f"SELECT {_COLUMNS} FROM turns WHERE received_position < :before"  # noqa: S608
_NEWEST = " ORDER BY received_position DESC LIMIT :limit"
# Conditions that follow from a status are added to it, so that an index can find rare ones.
_OF_STATUS = " AND status = :status"
_UNFINISHED = " AND ended IS NULL"
_ENDED_BADLY = " AND ended = :status AND ended IS NOT NULL AND ended <> 'completed'"
_IMPLIED: dict[TurnStatus, str] = {"completed": "", "failed": _ENDED_BADLY, "abandoned": _ENDED_BADLY}
_OF_JOURNAL = " AND journal = :journal"
_NAMES = ("turns",)
_PAGE = 1_000


class TurnsView:
    """Queries turns and their status: the view finds them, and their entries confirm them."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    @property
    def _journal(self) -> TurnsInJournal:
        return TurnsInJournal(self._queries.entries, TurnsProjection(), self._queries.differences)

    async def unfinished(
        self, *, journal: str | None = None, limit: int = 1_000, after: int = 0
    ) -> tuple[TurnSummary, ...]:
        """Return turns without an end, oldest first; `after` is the received position of the last one already seen."""
        found: list[TurnSummary] = []
        async with aclosing(self._unfinished(journal, after=after, page=min(check_limit(limit), _PAGE))) as pages:
            async for page in pages:
                found += page
                if len(found) >= limit:
                    break
        return tuple(found[:limit])

    async def every(self, *, unfinished: bool, journal: str | None = None) -> AsyncIterator[TurnSummary]:
        """Yield all turns without an end, oldest first, or all turns, newest first; however many there are."""
        if unfinished:
            async for page in self._unfinished(journal, after=0, page=_PAGE):
                for each in page:
                    yield each
            return
        seen: int | None = None
        while True:
            rows = await self._rows(journal=journal, limit=_PAGE, before=seen)
            for row in await self._journal.confirmed(rows):
                yield _summary(row)
            if len(rows) < _PAGE:
                return
            seen = rows[-1]["received_position"]

    async def get(self, command_id: str, *, journal: str | None = None) -> TurnSummary:
        """Return the turn of a command, by its id or how that begins.

        Raises `TurnNotFoundError`; `ViewsDifferError` where the views name one that is not in the journal.
        """
        rows = await self._queries.fetch(_BY_PREFIX, (*prefix_range(command_id), journal, journal), names=_NAMES)
        found = [row for row in rows if row["command_id"] == command_id] or rows
        if len(found) == 1:
            received = await self._journal.received(found[0])
            if received is None:
                raise self._queries.differences.add("turns", found[0]["received_position"], "no entry gives it")
            return _summary(await self._journal.whole(received))
        hidden = [] if found else await self._hidden(command_id, journal)
        if len(hidden) == 1:
            return _summary(await self._journal.whole(hidden[0]))
        names = [(row["journal"], row["command_id"]) for row in found]
        names += [(each.journal, each.command_id) for each in hidden[:3]]
        several = ", ".join(f"{journal} {command_id}" for journal, command_id in names)
        raise TurnNotFoundError(
            f"turn [{command_id!r:.80}] is {f'ambiguous [{several}, …]' if names else 'not known'}; "
            "expected [the command id of one turn, or how only one begins]: see `loom turns`"
        )

    async def list(
        self,
        *,
        status: TurnStatus | None = None,
        journal: str | None = None,
        limit: int = 50,
        before: int | None = None,
    ) -> tuple[TurnSummary, ...]:
        """Return turns, newest first; `before` is the received position of the last one already seen."""
        rows = await self._rows(status=status, journal=journal, limit=limit, before=before)
        found = (_summary(row) for row in await self._journal.confirmed(rows))
        return tuple(each for each in found if status in (None, each.status))

    async def _rows(
        self, *, status: TurnStatus | None = None, journal: str | None, limit: int, before: int | None
    ) -> Sequence[sqlite3.Row]:
        bound = 2**63 - 1 if before is None else before
        parameters = {"status": status, "journal": journal, "limit": limit, "before": bound}
        statement = _LIST
        if status is not None:
            statement += _OF_STATUS + _IMPLIED.get(status, _UNFINISHED)
        if journal is not None:
            statement += _OF_JOURNAL
        return await self._queries.fetch(statement + _NEWEST, parameters, names=_NAMES)

    async def _unfinished(
        self, journal: str | None, *, after: int, page: int
    ) -> AsyncGenerator[Sequence[TurnSummary], None]:
        in_journal = self._journal
        async for received in in_journal.unfinished(journal=journal, after=after, page=page):
            positions = json.dumps([each.position for each in received])
            rows = await self._queries.fetch(_AT, (positions,), names=_NAMES)
            yield [_summary(row) for row in await in_journal.confirmed_unfinished(received, rows)]

    async def _hidden(self, command_id: str, journal: str | None) -> Sequence[Recorded]:
        """Return the turns without an end whose ids begin so, from the journal: the view may lack them."""
        found = []
        async for page in self._journal.unfinished(journal=journal, after=0, page=_PAGE):
            found += [each for each in page if command_id and str(each.command_id).startswith(command_id)]
        return [each for each in found if each.command_id == command_id] or found


def _summary(row: Mapping[str, Any]) -> TurnSummary:
    plain = {name: row[name] for name in _COLUMNS.replace(",", " ").split()}
    plain["pending_effect"] = plain.pop("pending_effects") > 0
    diverged_last = plain.pop("diverged_position") == plain["last_position"]
    if plain["ended_at_us"] is None and not diverged_last:
        plain["error_type"] = plain["error_message"] = None
    for name in ("received_at", "ended_at"):
        us = plain.pop(f"{name}_us")
        plain[name] = None if us is None else datetime_from_us(us)
    return TurnSummary(**plain)
