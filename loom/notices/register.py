"""How far each endpoint is: folded from the journal `loom/notices`, also for people who only read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from loom.errors import NoticeNotFoundError
from loom.identity import By, Identity
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft
from loom.notices.entries import (
    NOTICES_JOURNAL,
    NoticeDeadEntry,
    NoticeDeliveredEntry,
    NoticeRaisedEntry,
    NoticeRetriedEntry,
    NoticesReachedEntry,
)

__all__ = ["DeadLetter", "EndpointStatus", "NoticesRegister"]


class DeadLetter(NamedTuple):
    """A notice that was given up; `retried_by` is who has it sent again, as long as it is not delivered."""

    endpoint: str
    notice_id: str
    notice_type: str
    subject: str
    position: int
    attempts: int
    problem: str
    at: datetime
    retried_by: str | None = None


class EndpointStatus(NamedTuple):
    """How far an endpoint is: everything up to `position` is settled. `last_at` is that of the last delivery."""

    name: str
    position: int
    delivered: int
    dead: int
    last_at: datetime | None


class _Endpoint:
    """What is known of one endpoint. `settled` has the notices after `position` that are delivered or given up."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.settled: dict[str, int] = {}
        self.delivered = 0
        self.last_at: datetime | None = None
        self.dead: dict[str, DeadLetter] = {}


class NoticesRegister:
    """The state of all endpoints: `load` it first. Only the part that sends appends to it, and `retry`."""

    def __init__(self, store: JournalReader, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._journal = SingletonJournal(store, NOTICES_JOURNAL, self._fold, make_draft=make_draft)
        self._endpoints: dict[str, _Endpoint] = {}
        self._raised: set[str] = set()

    async def load(self) -> None:
        """Read what was journaled since the last call."""
        await self._journal.load()

    @property
    def endpoints(self) -> tuple[EndpointStatus, ...]:
        """Every endpoint that was ever begun, by name."""
        return tuple(
            EndpointStatus(name, each.position, each.delivered, len(each.dead), each.last_at)
            for name, each in sorted(self._endpoints.items())
        )

    @property
    def dead(self) -> tuple[DeadLetter, ...]:
        """Every dead letter that was not delivered later, oldest first."""
        letters = (letter for each in self._endpoints.values() for letter in each.dead.values())
        return tuple(sorted(letters, key=lambda each: (each.at, each.position, each.endpoint)))

    def position(self, endpoint: str) -> int | None:
        """Return the position up to which all is settled for an endpoint; None for a new one."""
        known = self._endpoints.get(endpoint)
        return None if known is None else known.position

    def is_settled(self, endpoint: str, notice_id: str) -> bool:
        """Tell whether a notice after the position of an endpoint was delivered or given up."""
        return notice_id in self._endpoints[endpoint].settled

    def to_retry(self, endpoint: str) -> tuple[DeadLetter, ...]:
        """Return the dead letters that a person has sent again."""
        return tuple(each for each in self._endpoints[endpoint].dead.values() if each.retried_by is not None)

    # --- appending ------------------------------------------------------------------------------

    async def reached(self, endpoint: str, position: int) -> None:
        """Journal that everything up to a position is settled."""
        entry = NoticesReachedEntry(endpoint=endpoint, position=position)
        await self._journal.append_if_missing(
            lambda: entry if position > (-1 if (at := self.position(endpoint)) is None else at) else None
        )

    async def settle(self, entry: NoticeDeliveredEntry | NoticeDeadEntry) -> None:
        """Journal that a notice was delivered, or given up."""
        await self._journal.append_if_missing(lambda: entry)

    async def raise_once(self, entry: NoticeRaisedEntry) -> bool:
        """Journal a notice that no other entry gives; return whether its key is new."""
        is_new = False

        def missing() -> Entry | None:
            nonlocal is_new
            is_new = entry.key not in self._raised
            return entry if is_new else None

        await self._journal.append_if_missing(missing)
        return is_new

    async def retry(self, notice_id: str | None, *, by: By) -> tuple[DeadLetter, ...]:
        """Have dead letters sent again, in the name of a person: that with this id at all endpoints, or all.

        Raises `NoticeNotFoundError` where there is no dead letter with that id, or none that begins with it.
        """
        await self.load()
        wanted = [
            each for each in self.dead if notice_id is None or (notice_id and each.notice_id.startswith(notice_id))
        ]
        if notice_id is not None and len({each.notice_id for each in wanted}) != 1:
            raise NoticeNotFoundError(
                f"dead letter [{notice_id!r:.80}] is {'ambiguous' if wanted else 'not known'}; expected [the id of "
                "one, or an unambiguous beginning of it]: see `loom notices`"
            )
        who = Identity.of(by)
        for each in wanted:
            entry = NoticeRetriedEntry(endpoint=each.endpoint, notice_id=each.notice_id, **who.written())
            await self._journal.append_if_missing(lambda entry=entry: entry)  # type: ignore[misc]
        return tuple(wanted)

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, NoticeRaisedEntry):
            self._raised.add(entry.key)
        elif isinstance(entry, NoticesReachedEntry):
            known = self._endpoints.setdefault(entry.endpoint, _Endpoint(entry.position))
            known.position = entry.position
            known.settled = {each: at for each, at in known.settled.items() if at > entry.position}
        elif isinstance(entry, NoticeRetriedEntry):
            letters = self._endpoints[entry.endpoint].dead if entry.endpoint in self._endpoints else {}
            if entry.notice_id in letters:
                letters[entry.notice_id] = letters[entry.notice_id]._replace(retried_by=entry.by)
        elif isinstance(entry, NoticeDeliveredEntry | NoticeDeadEntry) and entry.endpoint in self._endpoints:
            self._settled(recorded, entry)

    def _settled(self, recorded: Recorded, entry: NoticeDeliveredEntry | NoticeDeadEntry) -> None:
        known = self._endpoints[entry.endpoint]
        if entry.position > known.position:
            known.settled[entry.notice_id] = entry.position
        if isinstance(entry, NoticeDeliveredEntry):
            known.dead.pop(entry.notice_id, None)
            known.delivered, known.last_at = known.delivered + 1, recorded.recorded_at
        else:
            known.dead[entry.notice_id] = DeadLetter(
                entry.endpoint,
                entry.notice_id,
                entry.notice_type,
                entry.subject,
                entry.position,
                entry.attempts,
                entry.problem,
                recorded.recorded_at,
            )
