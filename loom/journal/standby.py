"""One process runs a workspace, and others wait to take its place.

Where one process writes a file of SQLite's, the lock of that file says whether it lives: the kernel lets go of it when
the process ends, and not while it is stopped. Where several processes write, as on PostgreSQL, they elect the one that
runs: one that is silent for a lease is fenced, a stopped one too, and the next one begins where the journal ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from loom.errors import JournalLockedError
from loom.journal.election import LOOK_EVERY_S, Election, hears_writers
from loom.journal.entry import Entry
from loom.journal.store import Draft, JournalStore

__all__ = ["ACTIVE", "OnActive", "open_alone"]

ACTIVE = "active"
"""The role of the one process that runs a workspace."""

OnActive: TypeAlias = Callable[[str], None]
"""Takes who runs the workspace, each time that this changes while another process waits."""

_LOOK_AT_LOCK_S = 0.1


async def open_alone(
    open_store: Callable[[], Awaitable[JournalStore]],
    *,
    make_draft: Callable[[Entry], Draft],
    waits: OnActive | None = None,
) -> tuple[JournalStore, Election]:
    """Open a journal as the one process that runs its workspace; raise `JournalLockedError` where another one does.

    With `waits`, it waits until that one is gone. Resign the election before the store is closed.
    """
    store = await _unlocked(open_store, waits)
    try:
        election = Election(store, ACTIVE, make_draft=make_draft)
        if hears_writers(store):
            await _elected(election, waits)
    except BaseException:
        await store.close()
        raise
    return store, election


async def _unlocked(open_store: Callable[[], Awaitable[JournalStore]], waits: OnActive | None) -> JournalStore:
    announced: object = None
    while True:
        try:
            return await open_store()
        except JournalLockedError as error:
            if waits is None:
                raise
            holder = error.holder.get("pid")
            if announced != (holder,):
                announced = (holder,)
                waits("another process" if holder is None else f"process {holder}")
        await asyncio.sleep(_LOOK_AT_LOCK_S)


async def _elected(election: Election, waits: OnActive | None) -> None:
    """Be the one that runs it. Without `waits`, only a process that beats no more is waited for: it has crashed."""
    announced = 0
    while not await election.look():
        leader = election.leader
        if leader is not None and waits is not None and leader.writer != announced:
            announced = leader.writer
            waits(f"process {leader.name}")
        if leader is not None and waits is None and election.leader_lives:
            raise JournalLockedError(
                f"the workspace is run by process [{leader.name}]; expected no other, as one runs it without an "
                "engine: stop that one, or wait for its end with --standby",
                holder={"name": leader.name, "writer": leader.writer},
            )
        await asyncio.sleep(LOOK_EVERY_S)
