"""Replay with local code and a reader: while a loom runs, in a read-only directory, or anywhere else.

Nothing is registered, adopted or written: an actor class and its policy are known to this process only (law 5).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from loom.actors import ActorSystem, Services
from loom.archive import Archive
from loom.cli.reading import Readings
from loom.cli.shell import Shell
from loom.config import LoomConfig
from loom.errors import AppendUnknownError, JournalReadOnlyError
from loom.extension import installed
from loom.identity import By, Identity
from loom.journal.chain import genesis
from loom.journal.entry import Entry, Part, Recorded
from loom.journal.sqlite import JournalFiles, Reader
from loom.journal.store import Append, Draft, Head, Receipt, Submitted
from loom.policies import AnyPolicy, Document, implicit_document, version_hash, version_id
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.precedents import EquivalenceRegistry, EquivalenceRule, Precedents, RuleVersion
from loom.projections import Queries, Views
from loom.replay import Replay
from loom.replay.sealed import Sights
from loom.sealing import Erasures
from loom.workspace import actors_of

__all__ = ["ReadOnlyStore", "registry_of", "replaying", "replaying_archive", "rules_of"]

_NOBODY = "replay"
"""In whose name nothing is registered."""


class JournalSource(Protocol):
    """What a replay reads: the reader of a journal, or an archive."""

    def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream one journal by sequence."""
        ...

    def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream all of it by position."""
        ...

    async def find_command(self, journal: str, command_id: str) -> Recorded | None:
        """Return the entry with which a command was received, or None."""
        ...

    async def at(self, positions: Collection[int]) -> dict[int, Recorded]:
        """Return position → entry of those positions at which there is one."""
        ...

    async def parts(self, positions: Collection[int], paths: Sequence[str]) -> dict[int, Part]:
        """Return position → what the bodies of entries hold at two or more paths, of names joined by dots."""
        ...

    async def steps(self, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], Recorded]:
        """Return (journal, sequence) → entry of those at which there is one: what decisions refer to is read so."""
        ...

    async def commands(self, turns: Collection[tuple[str, str]], paths: Sequence[str]) -> dict[tuple[str, str], Part]:
        """Return turn → what the entry with which its command was received holds at two or more paths."""
        ...

    async def marks(self, turns: Collection[tuple[str, str]]) -> list[Recorded]:
        """Return the entries of `MARKS` that turns have."""
        ...

    def unfinished(self, *, asked: bool = False) -> AsyncIterator[Recorded]:
        """Stream the `CommandReceivedEntry` of every turn without an end, or of those that have `asked`."""
        ...

    async def journals(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """Return names and last sequences of journals by name."""
        ...


async def registry_of(reader: Reader) -> PolicyRegistry:
    """Return the policy registry according to a journal, for reading only."""
    registry = _ReadOnlyRegistry(await ReadOnlyStore.over(reader))
    await registry.load()
    return registry


async def rules_of(reader: Reader) -> EquivalenceRegistry:
    """Return the registry of equivalence rules according to a journal, for reading only."""
    rules = _ReadOnlyRules(await ReadOnlyStore.over(reader))
    await rules.load()
    return rules


@contextlib.asynccontextmanager
async def replaying(readings: Readings, shell: Shell) -> AsyncIterator[Replay]:
    """Yield a replay of the journals of a workspace, with the code of the config's modules and extensions."""
    store = await ReadOnlyStore.over(readings.reader)
    async with _replaying(store, readings.queries, readings.precedents, readings.files, shell.settings) as replay:
        yield replay


@contextlib.asynccontextmanager
async def replaying_archive(archive: Archive, shell: Shell) -> AsyncIterator[Replay]:
    """Yield a replay of the journals of an archive: states and turns. It has no views to judge decisions."""
    store = ReadOnlyStore(archive, workspace=archive.workspace, last=None)
    files = JournalFiles(archive.path)
    queries = Queries(Views(files.views))  # opened when it is asked, which it is not
    async with _replaying(store, queries, Precedents(queries), files, shell.settings) as replay:
        yield replay


@contextlib.asynccontextmanager
async def _replaying(
    store: ReadOnlyStore, queries: Queries, precedents: Precedents, files: JournalFiles, config: LoomConfig
) -> AsyncIterator[Replay]:
    policies, rules = _ReadOnlyRegistry(store), _ReadOnlyRules(store)
    await policies.load()
    await rules.load()
    services = Services(store=store, policies=policies, rules=rules, precedents=precedents, snapshots=_NoSnapshots())
    system = ActorSystem(services, resumes=False, by=_NOBODY)
    for cls in actors_of(config.modules):
        await system.register(cls)
    host: Any = _ReplayHost(store, files, policies, config, queries, system.register)
    async with contextlib.AsyncExitStack() as stack:
        for extension in installed().values():  # whether the config asks for them or not: they only provide code
            if extension.replays is not None:
                await stack.enter_async_context(extension.replays(host))
        erasures = Erasures(store, make_draft=host.draft)
        await erasures.load()
        yield Replay(store, system, queries=queries, policies=policies, sights=Sights(erasures))


@dataclass(frozen=True)
class _ReplayHost:
    """The host of an extension in a replay: the part of a `Host` that a reader of a journal can offer."""

    store: ReadOnlyStore
    files: JournalFiles
    policies: PolicyRegistry
    config: LoomConfig
    queries: Queries
    register: Callable[..., Awaitable[None]]
    by: str = _NOBODY
    resumes: bool = False

    def draft(self, _: Entry) -> Draft:
        """Refuse."""
        raise _refusal("loom")

    def now(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC)


class ReadOnlyStore:
    """A `JournalStore` that is read and never written; it holds the entries that existed when it was created."""

    def __init__(self, reader: JournalSource, *, workspace: str, last: Recorded | None) -> None:
        self._reader = reader
        self._workspace = workspace
        self._last = last

    @classmethod
    async def over(cls, reader: Reader) -> ReadOnlyStore:
        """Return the store of the entries that a reader finds now."""
        page = await reader.page(after=await reader.tail() - 1)
        return cls(reader, workspace=await reader.workspace() or "", last=page[-1] if page else None)

    @property
    def workspace(self) -> str:
        """The workspace whose journals these are."""
        return self._workspace

    @property
    def acknowledged(self) -> int:
        """The last position at creation."""
        return 0 if self._last is None else self._last.position

    @property
    def recorded_at_us(self) -> int:
        """The time of the last entry at creation."""
        return 0 if self._last is None else self._last.recorded_at_us

    def submit(self, append: Append) -> Submitted:
        """Refuse."""
        raise _refusal(append.journal)

    def extend(self, submitted: asyncio.Future[Receipt], draft: Draft) -> bool:
        """Add nothing: nothing is queued."""
        return False

    async def append(self, append: Append) -> Receipt:
        """Refuse."""
        raise _refusal(append.journal)

    @property
    def has_room(self) -> bool:
        """Nothing waits to be written."""
        return True

    async def room(self) -> None:
        """Return at once: nothing waits to be written."""

    async def resolve(self, unknown: AppendUnknownError) -> Receipt | None:
        """Refuse: nothing can be unknown here."""
        raise _refusal(unknown.journal)

    async def head(self, journal: str) -> Head:
        """Return the head of a journal."""
        head = Head(0, genesis(self._workspace, journal))
        async for recorded in self._reader.read(journal):
            head = Head(recorded.sequence, recorded.entry_hash)
        return head

    async def find_command(self, journal: str, command_id: str) -> Recorded | None:
        """Return the `CommandReceivedEntry` of a command, or None."""
        return await self._reader.find_command(journal, command_id)

    def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream a journal by sequence."""
        return self._reader.read(journal, after=after, until=until)

    def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream the workspace by position."""
        return self._reader.read_all(after=after, until=until)

    async def at(self, positions: Collection[int]) -> dict[int, Recorded]:
        """Return position → entry of those positions at which there is one."""
        return await self._reader.at(positions)

    async def parts(self, positions: Collection[int], paths: Sequence[str]) -> dict[int, Part]:
        """Return position → what the bodies of entries hold at two or more paths, of names joined by dots."""
        return await self._reader.parts(positions, paths)

    async def steps(self, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], Recorded]:
        """Return (journal, sequence) → entry of those at which there is one: what decisions refer to is read so."""
        return await self._reader.steps(wanted)

    async def commands(self, turns: Collection[tuple[str, str]], paths: Sequence[str]) -> dict[tuple[str, str], Part]:
        """Return turn → what the entry with which its command was received holds at two or more paths."""
        return await self._reader.commands(turns, paths)

    async def own_ids(self, ids: Collection[str]) -> dict[str, int]:
        """Refuse: nothing is imported here."""
        raise _refusal("of an import")

    async def marks(self, turns: Collection[tuple[str, str]]) -> list[Recorded]:
        """Return the entries of `MARKS` that turns have."""
        return await self._reader.marks(turns)

    def unfinished(self, *, asked: bool = False) -> AsyncIterator[Recorded]:
        """Stream the `CommandReceivedEntry` of every turn without an end, or of those that have `asked`."""
        return self._reader.unfinished(asked=asked)

    async def journals(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """Return names and last sequences of journals by name."""
        return await self._reader.journals(after=after, limit=limit)

    def on_commit(self, callback: Callable[[int], None]) -> None:
        """Never call it."""

    async def close(self) -> None:
        """Do nothing: the reader is another's."""


class _ReadOnlyRegistry(PolicyRegistry):
    """Attaches the code of an actor's policy, without registering its version."""

    async def register(self, policy: AnyPolicy, *, by: By, reason: str | None = None) -> PolicyVersion:
        """Attach the code; return the version it gives, whether that is registered or not."""
        self.attach(policy)
        return self._at_hand(policy.name, policy.document, by=by)

    async def register_code(self, policy: AnyPolicy, *, by: By, reason: str) -> PolicyVersion:
        """Attach the code; return the version it gives, whether that is registered or not."""
        return await self.register(policy, by=by)

    async def ensure(self, policy: AnyPolicy, *, by: By) -> PolicyVersion:
        """Attach the code, and adopt nothing."""
        return await self.register(policy, by=by)

    async def register_implicit(self, name: str, *, by: By) -> PolicyVersion:
        """Return the version without a rule of an actor type."""
        return self._at_hand(name, implicit_document(name), by=by)

    def _at_hand(self, name: str, document: Document, *, by: By) -> PolicyVersion:
        full_hash = version_hash(document)
        for known in self.versions(name):
            if known.hash == full_hash:
                return known
        return PolicyVersion(
            name=name, number=0, version=version_id(0, full_hash), hash=full_hash, document=document, about={},
            by=Identity.of(by).name, reason=None, registered_at=datetime.now(UTC), trigger="code",
        )  # fmt: skip


class _ReadOnlyRules(EquivalenceRegistry):
    """Holds the equivalence rules of an actor's code, without registering them."""

    async def register(self, rule: EquivalenceRule, *, by: By, reason: str | None = None) -> RuleVersion:
        """Return the version of a rule, whether that is registered or not."""
        return self.at_hand(rule, by=by, reason=reason)


class _NoSnapshots:
    """A replay folds a journal from its first entry."""

    async def get(self, journal: str) -> None:
        """Return none."""

    async def put(
        self,
        journal: str,
        *,
        actor_type: str,
        state_version: int,
        sequence: int,
        entry_hash: bytes,
        body: bytes,
        subjects: Collection[str] = (),
    ) -> None:
        """Keep none."""

    async def delete(self, journal: str) -> None:
        """Forget nothing: nothing is kept."""

    async def forget(self, subject: str) -> None:
        """Do nothing: there are none."""


def _refusal(journal: str) -> JournalReadOnlyError:
    return JournalReadOnlyError(
        f"journal [{journal}] is being replayed; expected nothing to be written: that is a fault"
    )
