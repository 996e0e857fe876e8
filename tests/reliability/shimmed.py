"""What the children do whose system calls are tampered with: a small workload, and an honest account of it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from loom.errors import AppendUnknownError, LoomError
from loom.journal import Append, Receipt
from loom.journal.sqlite import SqliteOptions, SqliteStore, WriterOptions
from tests.journal.support import note
from tests.reliability.jobs import say
from tests.reliability.shim import Mode, Shim

BATCHES = (1, 1, 3, 1, 1, 1, 3, 1, 1, 2)
"""How many appends are put in line at once, one after the other: fifteen in all."""


def options(durability: str = "full") -> SqliteOptions:
    """Return options under which every kind of housekeeping falls due within the workload."""
    writer = WriterOptions(
        durability=durability, head_every=4, checkpoint_pages=12, min_free_bytes=0, busy_timeout_s=1.0
    )
    return SqliteOptions(writer=writer)


def count(path: str) -> None:
    """Do the whole workload and say how many calls it made."""
    shim = Shim()
    shim.arm(Path(path).parent, mode=Mode.COUNT)
    asyncio.run(_work(Path(path), leaves=False))
    say("seen", shim.seen())


def struck(path: str, mode: int, at: int, error: int, *, leaves: bool) -> None:
    """Do the workload with one call, or all from one on, tampered with; perhaps leave at the first error."""
    Shim().arm(Path(path).parent, mode=Mode(mode), at=at, error=error)
    asyncio.run(_work(Path(path), leaves=leaves))
    say("end")


async def _work(path: Path, *, leaves: bool) -> None:
    try:
        store = await SqliteStore.open(path, options=options())
    except LoomError as error:
        say("unopened", type(error).__name__)
        return
    texts = iter(range(100))
    for size in BATCHES:
        at = (await _head(store)) or 0
        batch = [f"t{next(texts)}" for _ in range(size)]
        futures = [store.submit(Append("a/1", at + n, [note(text)])) for n, text in enumerate(batch)]
        for text, future in zip(batch, futures, strict=True):
            well = await _account(store, text, future)
            if leaves and not well:
                os._exit(0)
    await store.close()


async def _head(store: SqliteStore) -> int | None:
    try:
        return (await store.head("a/1")).sequence
    except LoomError as error:
        say("headless", type(error).__name__)
        return None


async def _account(store: SqliteStore, text: str, future: asyncio.Future[Receipt]) -> bool:
    """Say what became of an append; every answer is held against the file afterwards."""
    try:
        receipt = await future
    except AppendUnknownError as unknown:
        try:
            resolved = await store.resolve(unknown)
        except LoomError as error:
            say("unresolved", text, type(error).__name__)
        else:
            say("resolved" if resolved else "absent", text, resolved.entry_hash.hex() if resolved else "-")
        return False
    except LoomError as error:
        say("refused", text, type(error).__name__)
        return False
    say("ack", text, receipt.entry_hash.hex())
    return True


def recorded(path: str, log: str, durability: str) -> None:
    """Do a workload while every call is written down, with its acknowledgements between the calls."""
    shim = Shim()
    shim.record_to(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    shim.arm(Path(path).parent, mode=Mode.COUNT)
    asyncio.run(_recorded(Path(path), shim, durability))


async def _recorded(path: Path, shim: Shim, durability: str) -> None:
    store = await SqliteStore.open(path, options=options(durability))
    at = 0
    for size in (*BATCHES, *BATCHES):
        futures = [store.submit(Append("a/1", at + n, [note("x" * 100 * n)])) for n in range(size)]
        for future in futures:
            receipt = await future
            shim.mark(f"{receipt.position} {receipt.entry_hash.hex()}")
        at += size
    await store.close()
