"""The subjects of a workspace: erased for good, held against it, and asked for; whatever keeps something of theirs.

An erasure is begun in the journal, then carried out: keys are destroyed and synced, whatever else holds something of
the subject lets go of it, and that is journaled. Success is answered only then. What was begun and not carried out,
because the process was killed, is carried out at the next start; nothing opens in the meantime.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from functools import partial
from pathlib import Path

from loom.background import finished
from loom.errors import AdmissionError, ConfigError, SubjectNotFoundError
from loom.identity import By
from loom.journal.entry import Entry
from loom.journal.postgres.url import PostgresUrl
from loom.journal.store import Draft, JournalStore, draft
from loom.sealing.choosing import key_store_of
from loom.sealing.concerning import sealed_in
from loom.sealing.config import SealingConfig
from loom.sealing.erasures import Erasures
from loom.sealing.naming import check_subject
from loom.sealing.vault import Vault
from loom.telemetry import get_logger

__all__ = ["Forget", "Knows", "Subjects"]

_log = get_logger(__name__)

Forget = Callable[[str], Awaitable[None]]
"""Lets go of everything that is kept of a subject outside the journal; called again, it does no harm."""

Knows = Callable[[str], Awaitable[bool]]
"""Tells whether there is anything of a subject."""


class Subjects:
    """Erases and holds subjects. `vault` is None if sealing is off: then no subject can be erased."""

    def __init__(self, erasures: Erasures, vault: Vault | None = None, *, readers: Collection[str] = ()) -> None:
        self.erasures = erasures
        self.vault = vault
        self.readers = frozenset(readers)
        """Who may open what is sealed: sources of identities, as the config names them."""
        self._forgetting: list[Forget] = []
        self._knowing: list[Knows] = []
        self._lock = asyncio.Lock()
        self._why_locked: str | None = None
        self._followed = 0
        erasures.on_followed(self._forget_followed)

    @classmethod
    async def open(
        cls,
        store: JournalStore,
        keys: Path,
        config: SealingConfig,
        *,
        make_draft: Callable[[Entry], Draft] = draft,
        needs_key: bool = True,
    ) -> Subjects:
        """Return the subjects of a workspace, with the vault that lies in a file where sealing is enabled.

        Raises `ConfigError` where the master key is missing, unless it is not needed: a workspace opened only to
        answer an approval seals nothing. One that is wrong, or a damaged file, is always refused.
        """
        erasures = Erasures(store, make_draft=make_draft)
        await erasures.load()
        own = cls(erasures, readers=config.readers)
        own._followed = erasures.sequence
        if not config.enabled:
            return own
        journal = getattr(store, "url", None)
        try:
            kept, where = key_store_of(
                config, keys, workspace=store.workspace, journal=journal if isinstance(journal, PostgresUrl) else None
            )
        except ConfigError as error:
            if needs_key:
                raise
            own._why_locked = str(error)
            return own
        before_first = None if config.keys_lost else partial(_refuse_lost, store, where)
        vault = Vault(kept, erasures, late_writes=config.late_writes, before_first=before_first)
        try:
            await vault.load()
        except BaseException:
            await vault.close()
            raise
        own.vault = vault
        return own

    async def close(self) -> None:
        """Close the vault."""
        if self.vault is not None:
            await self.vault.close()

    def add(self, *, forget: Forget | None = None, knows: Knows | None = None) -> None:
        """Have something take part: let go of what it keeps of a subject that is erased, or say whom it knows."""
        if forget is not None:
            self._forgetting.append(forget)
        if knows is not None:
            self._knowing.append(knows)

    async def knows(self, subject: str) -> bool:
        """Tell whether there is anything of a subject: a key, an erasure, a hold, or what a part of loom knows."""
        if self.erasures.get(subject) is not None or subject in self.erasures.held():
            return True
        if self.vault is not None and await self.vault.knows(subject):
            return True
        return any([await knows(subject) for knows in self._knowing])

    async def erase(self, subject: str, *, by: By, reason: str) -> bool:
        """Erase a subject in a person's name; False where that was done already. It cannot be taken back.

        Raises `SubjectNotFoundError` for one of whom there is nothing: a name that is spelled wrong must not look like
        an erasure. Raises `SubjectHeldError` where a hold is on it. Where the keys cannot be written it is a
        `KeysNotWrittenError`: nothing opens any more, and asked for again, or at the next start, it is carried out.
        """
        vault = self.opened_vault()
        check_subject(subject)
        if not reason.strip():
            raise AdmissionError("an erasure has no reason; expected one: say why")
        if not await self.knows(subject):
            raise SubjectNotFoundError(
                f"subject [{subject:.80}] is not known; expected one that something was sealed for: nothing was erased"
            )
        async with self._lock:
            generation = await vault.next_to_end(subject)
            begun = await self.erasures.begin(subject, generation=generation, by=by, reason=reason)
            done = await finished(self._carry_out(subject))
            return begun or subject in done

    async def carry_out(self) -> tuple[str, ...]:
        """Carry out what was begun and not finished, in its order; return which subjects are erased by that.

        What cannot be carried out now, as the keys cannot be written, is left to the next time, and logged.
        """
        if self.vault is None:
            return ()
        async with self._lock:
            return await self._carry_out(None)

    async def _forget_followed(self) -> None:
        """Let go of what this process has of subjects that another one erases; its own keys of theirs are destroyed."""
        async with self._lock:
            for subject, generation in self.erasures.ended_after(self._followed):
                if self.vault is not None:
                    await self.vault.destroy(subject, until=generation)
                for forget in self._forgetting:
                    await forget(subject)
            self._followed = self.erasures.sequence

    async def hold(self, subject: str, *, by: By, reason: str) -> bool:
        """Hold a subject in a person's name: it is not erased, and nothing of it pruned; False where it was held."""
        async with self._lock:
            return await self._hold(subject, by=by, reason=reason)

    async def _hold(self, subject: str, *, by: By, reason: str) -> bool:
        newest = None
        if self.erasures.get(subject) is not None and self.vault is not None:
            newest = await self.vault.next_to_end(subject)
        return await self.erasures.hold(subject, by=by, reason=reason, newest=newest)

    @contextlib.asynccontextmanager
    async def unheld(self, subjects: Collection[str]) -> AsyncIterator[str | None]:
        """Yield which of some subjects is held, None where none is; none of them can be held until this is left.

        For what takes something of theirs away, as pruning does.
        """
        async with self._lock:
            await self.erasures.load()
            yield next((each for each in sorted(subjects) if each in self.erasures.held()), None)

    async def lift(self, subject: str, *, by: By, reason: str) -> bool:
        """Lift the hold on a subject in a person's name; False where there was none."""
        return await self.erasures.lift(subject, by=by, reason=reason)

    def opened_vault(self) -> Vault:
        """Return the vault; raise `ConfigError` where there is none."""
        if self.vault is None:
            raise ConfigError(
                self._why_locked or "there is no vault; expected [sealing: {enabled: true}] in the config"
            )
        return self.vault

    async def _carry_out(self, wanted: str | None) -> tuple[str, ...]:
        vault, done = self.opened_vault(), []
        for erasure in self.erasures.unfinished():
            subject = erasure.entry.subject
            try:
                await vault.destroy(subject, until=erasure.entry.generation)
                for forget in self._forgetting:
                    await forget(subject)
                await self.erasures.finish(subject)
            except Exception as error:
                if subject == wanted:
                    raise
                _log.warning("erasure_not_carried_out", subject=subject, error=repr(error))
            else:
                done.append(subject)
        if not self.erasures.unfinished():
            await vault.note_destroyed(self.erasures.sequence)
        return tuple(done)


async def _refuse_lost(store: JournalStore, where: str) -> None:
    """Raise `ConfigError` where the keys of what the journal has sealed are not there: no others take their place.

    All of the journal is read, once in the life of a workspace: before its file of keys is made.
    """
    async for recorded in store.read_all():
        if any(sealed_in(recorded)):
            raise ConfigError(
                f"there is no key in {where}, and entry [{recorded.position}] has something sealed; expected "
                "what was there: restore it from a backup, or, where there is none, set [sealing: {keys_lost: true}]"
            )
