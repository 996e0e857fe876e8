"""What retention has come to an end for, what is left of that and why, and carrying it out for who adopted it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from loom.archive.adopting import Adoption
from loom.archive.reading import Archive
from loom.archive.register import ActorBlocker, Archives, Pruned
from loom.archive.sealing import look, seal
from loom.clock import datetime_from_us, us_from_datetime
from loom.identity import Identity
from loom.journal.store import JournalStore
from loom.sealing import Erasures

__all__ = ["CarriedOut", "Due", "DueJournal"]


class DueJournal(NamedTuple):
    """A journal whose retention is over; `left` is why it is not pruned all the same, None where it is to be."""

    journal: str
    entries: int
    last_at: datetime
    kept_until: datetime
    left: str | None


class CarriedOut(NamedTuple):
    """What was pruned, for which archive, and in whose name; no file where nothing was due."""

    file: Path | None
    pruned: Pruned
    by: Identity


class Due:
    """Tells what is due by the retention that is set, and prunes it where a person adopted that setting."""

    def __init__(
        self, store: JournalStore, adoption: Adoption, erasures: Erasures, *, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._now = now
        self._adoption = adoption
        self._erasures = erasures

    @property
    def adoption(self) -> Adoption:
        """Whether the setting was adopted."""
        return self._adoption

    async def listed(self) -> list[DueJournal]:
        """Return the journals of actors whose retention is over, the oldest first, but for those that were pruned."""
        await self._erasures.load()
        now, held = self._now(), self._erasures.held()
        seen, ended = await look(self._store, until=self._store.acknowledged)
        found = []
        for name, each in seen.items():
            last_at = datetime_from_us(each.last_at_us)
            until = self._adoption.retention.kept_until(name, last_at)
            if not each.is_an_actors or each.is_pruned or until > now:
                continue
            left = each.why_left(us_from_datetime(now) + 1, is_kept=False, ended=ended, held=held)
            found.append(DueJournal(name, each.entries, last_at, until, left))
        return sorted(found, key=lambda each: (each.kept_until, each.journal))

    async def carry_out(
        self, archives: Archives, directory: Path, *, blocker: ActorBlocker | None = None
    ) -> CarriedOut:
        """Seal what is due into a new archive of a directory and prune it, in the name of who adopted the setting.

        Raises `RetentionError` where nobody adopted it, or where it was changed since. What is left is left with why.
        Killed in between, what was pruned is in the archive, and the rest is due the next time.
        """
        adopted = await self._adoption.check()
        who = Identity(adopted.by, adopted.identity_source, adopted.via)
        due = await self.listed()
        left = {each.journal: each.left for each in due if each.left is not None}
        if len(left) == len(due):
            return CarriedOut(None, Pruned((), left), who)
        now = self._now()
        until = self._store.acknowledged
        file = directory / f"{self._store.workspace}-{now:%Y-%m-%d}-{until}.loom.zip"
        sealed = await seal(
            self._store, file, workspace=self._store.workspace, until=until, before=now,
            by=who.name, now=now, retention=self._adoption.retention, held=self._erasures.held(),
        )  # fmt: skip
        if sealed is None:
            return CarriedOut(None, Pruned((), left), who)
        archive = await asyncio.to_thread(Archive, file)
        try:
            await archives.add(archive, by=who)
            reason = f"retention [{adopted.digest[:12]}] that was adopted: {adopted.reason}"
            pruned = await archives.prune(archive, by=who, reason=reason, blocker=blocker)
        finally:
            archive.close()
        context = {name for name, why in pruned.left.items() if why == "context"}
        rest = {name: why for name, why in pruned.left.items() if name not in context}
        return CarriedOut(file, Pruned(pruned.journals, {**left, **rest}), who)
