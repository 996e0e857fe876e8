"""Journals and bodies whose retention is over: list them, and prune them in the name of the person who adopted it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from loom.archive.adopting import Adoption, RetentionAdoptedEntry
from loom.archive.pruning import BodiesPruned, BodyPruning, Chosen, bodies_of_kinds
from loom.archive.reading import Archive
from loom.archive.register import ActorBlocker, Archives, Pruned
from loom.archive.sealing import look, seal
from loom.clock import datetime_from_us, us_from_datetime
from loom.identity import Identity
from loom.journal.store import JournalStore
from loom.sealing import Erasures, Vault

__all__ = ["CarriedOut", "Due", "DueJournal"]


class DueJournal(NamedTuple):
    """A journal whose retention is over; `left` is the reason why it is not pruned, None if it is to be pruned."""

    journal: str
    entries: int
    last_at: datetime
    kept_until: datetime
    left: str | None


class CarriedOut(NamedTuple):
    """What was pruned, into which archive, and in whose name; `file` is None if nothing was due."""

    file: Path | None
    pruned: Pruned
    by: Identity
    bodies: BodiesPruned | None = None
    """The single bodies that were pruned, if retention names kinds of bodies."""


class Due:
    """Lists what is due by the retention that is set, and prunes it if a person adopted that setting."""

    def __init__(
        self,
        store: JournalStore,
        adoption: Adoption,
        erasures: Erasures,
        *,
        now: Callable[[], datetime],
        vault: Vault | None = None,
        pruning: BodyPruning | None = None,
    ) -> None:
        self._store = store
        self._vault = vault
        self._pruning = pruning
        self._now = now
        self._adoption = adoption
        self._erasures = erasures

    @property
    def adoption(self) -> Adoption:
        """The adoption of the setting."""
        return self._adoption

    async def listed(self) -> list[DueJournal]:
        """Return the journals of actors whose retention is over, oldest first, without those that were pruned."""
        await self._erasures.load()
        now, held = self._now(), self._erasures.held()
        seen, ended = await look(self._store, until=self._store.acknowledged)
        found = []
        for name, each in seen.items():
            last_at = datetime_from_us(each.last_at_us)
            until = self._adoption.retention.kept_until(name, last_at)
            if not each.is_an_actors or not each.bodies or until > now:
                continue
            left = each.why_left(
                us_from_datetime(now) + 1, is_kept=False, ended=ended, held=held, is_encrypted=self._vault is not None
            )
            if self._vault is None and each.is_pruned:
                continue
            found.append(DueJournal(name, each.entries, last_at, until, left))
        return sorted(found, key=lambda each: (each.kept_until, each.journal))

    async def bodies(self) -> Chosen:
        """Return the single bodies whose days are over, of journals that are kept."""
        days = self._adoption.retention.bodies
        return await bodies_of_kinds(self._store, days, now=self._now) if days else {}

    async def carry_out(
        self, archives: Archives, directory: Path, *, blocker: ActorBlocker | None = None
    ) -> CarriedOut:
        """Seal what is due into a new archive in a directory and prune it, in the name of who adopted the setting.

        Raises `RetentionError` if the setting was not adopted, or was changed since. Each journal that is left has its
        reason. If the process is killed in between, what was pruned is in the archive, and the rest is due next time.
        """
        adopted = await self._adoption.check()
        who = Identity(adopted.by, adopted.identity_source, adopted.via)
        done = await self._journals(adopted, archives, directory, by=who, blocker=blocker)
        chosen = await self.bodies()
        if not chosen or self._pruning is None:
            return done
        file = directory / f"{self._store.workspace}-bodies-{self._now():%Y-%m-%d}-{self._store.acknowledged}.loom.zip"
        reason = _reason(adopted)
        return done._replace(bodies=await self._pruning.carry_out(chosen, file, by=who, reason=reason, is_due=True))

    async def _journals(
        self,
        adopted: RetentionAdoptedEntry,
        archives: Archives,
        directory: Path,
        *,
        by: Identity,
        blocker: ActorBlocker | None,
    ) -> CarriedOut:
        who = by
        due = await self.listed()
        left = {each.journal: each.left for each in due if each.left is not None}
        if len(left) == len(due):
            return CarriedOut(None, Pruned((), left), who)
        now = self._now()
        until = self._store.acknowledged
        file = directory / f"{self._store.workspace}-{now:%Y-%m-%d}-{until}.loom.zip"
        sealed = await seal(
            self._store,
            file,
            workspace=self._store.workspace,
            until=until,
            before=now,
            by=who.name,
            now=now,
            retention=self._adoption.retention,
            held=self._erasures.held(),
            vault=self._vault,
            erasures=self._erasures,
        )
        if sealed is None:
            return CarriedOut(None, Pruned((), left), who)
        archive = await asyncio.to_thread(Archive, file)
        try:
            await archives.add(archive, by=who)
            pruned = await archives.prune(archive, by=who, reason=_reason(adopted), blocker=blocker)
        finally:
            archive.close()
        context = {name for name, why in pruned.left.items() if why == "context"}
        rest = {name: why for name, why in pruned.left.items() if name not in context}
        return CarriedOut(file, Pruned(pruned.journals, {**left, **rest}), who)


def _reason(adopted: RetentionAdoptedEntry) -> str:
    return f"retention [{adopted.digest[:12]}] that was adopted: {adopted.reason}"
