"""Replay with local code and a reader: while a loom runs, in a read-only directory, or anywhere else.

Nothing is registered, adopted or written: an actor class and its policy are known to this process only (law 5).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from loom.actors import Actor, ActorSystem, Services
from loom.config import LoomConfig
from loom.journal.entry import Entry
from loom.journal.read_only import ReadOnlyStore
from loom.journal.sqlite import JournalFiles
from loom.journal.store import Draft, draft
from loom.policies.registry import PolicyRegistry
from loom.precedents import EquivalenceRegistry, Precedents
from loom.projections import Queries
from loom.replay.replay import Replay
from loom.replay.sealed import Sights
from loom.sealing import Erasures

__all__ = ["CodeOf", "ReplayHost", "replaying"]


@dataclass(frozen=True)
class ReplayHost:
    """The part of the host of an extension that the reader of a journal can offer."""

    store: ReadOnlyStore
    files: JournalFiles
    policies: PolicyRegistry
    config: LoomConfig
    queries: Queries
    register: Callable[..., Awaitable[None]]
    by: str = "replay"
    """In whose name nothing is registered."""
    resumes: bool = False

    def draft(self, entry: Entry) -> Draft:
        """Make an entry ready for a journal; the store refuses it."""
        return draft(entry)

    def now(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC)


CodeOf: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]
"""Makes the actors of an extension known on a `ReplayHost`, for as long as it is entered."""


@contextlib.asynccontextmanager
async def replaying(
    store: ReadOnlyStore,
    *,
    queries: Queries,
    files: JournalFiles,
    config: LoomConfig,
    actors: Iterable[type[Actor[Any]]],
    extensions: Iterable[CodeOf] = (),
) -> AsyncIterator[Replay]:
    """Yield a replay of journals that are read, with the code of actor classes and of extensions."""
    policies, rules, erasures = PolicyRegistry(store.reader), EquivalenceRegistry(store.reader), Erasures(store.reader)
    for each in (policies, rules, erasures):
        await each.load()
    services = Services(store=store, policies=policies, rules=rules, precedents=Precedents(queries))
    system = ActorSystem(services, resumes=False, by=ReplayHost.by)
    for cls in actors:
        await system.register(cls)
    host = ReplayHost(store, files, policies, config, queries, system.register)
    async with contextlib.AsyncExitStack() as stack:
        for code_of in extensions:
            await stack.enter_async_context(code_of(host))
        yield Replay(store, system, queries=queries, policies=policies, sights=Sights(erasures))
