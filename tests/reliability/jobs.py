"""What the children of the zygote do: write journals until they are killed, stopped or overtaken."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

from loom.errors import AppendRefusedError, JournalLockedError, LoomError
from loom.journal import Append, Receipt
from loom.journal.sqlite import SqliteOptions, SqliteStore, WriterOptions
from loom.journal.sqlite.link import Link
from tests.journal.support import note, received
from tests.reliability.journals import rows_of

BUSY = SqliteOptions(writer=WriterOptions(head_every=16, checkpoint_pages=16, min_free_bytes=0))
"""Options under which checkpoints and heads fall due all the time."""


def say(*words: object) -> None:
    """Write one line in one system call: it is there as a whole or not at all."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def acknowledged(receipt: Receipt, command_id: str) -> None:
    """Tell the parent what is durable."""
    say("ack", command_id, receipt.position, receipt.journal, receipt.sequence, receipt.entry_hash.hex())


def append_until_killed(path: str, first: dict[str, int], pipelined: int) -> None:
    """Receive commands in several journals, numbered from where the parent says, and acknowledge each.

    The first of each journal may have been received in an earlier life: then it is refused as a duplicate.
    """
    asyncio.run(_append_until_killed(Path(path), first, pipelined))


async def _append_until_killed(path: Path, first: dict[str, int], pipelined: int) -> None:
    store = await SqliteStore.open(path, options=BUSY)

    async def produce(journal: str, number: int) -> None:
        at = (await store.head(journal)).sequence
        while await store.find_command(journal, f"c{number}") is not None:
            say("known", journal, f"c{number}")
            number += 1
        while True:
            waiting = []
            for _ in range(pipelined):
                drafts = [received(f"c{number}"), note("x" * 60)]
                waiting.append((f"c{number}", store.submit(Append(journal, at, drafts))))
                at, number = at + 2, number + 1
            for command_id, future in waiting:
                acknowledged(await future, command_id)

    await asyncio.gather(*(produce(journal, number) for journal, number in first.items()))


def look_and_leave(path: str) -> None:
    """Open the database as another program would, read, and close: the last to close folds the log away."""
    connection = sqlite3.connect(path)
    connection.execute("SELECT count(*) FROM entries").fetchall()
    connection.close()


def tell_hashes(path: str) -> None:
    """Say the hash of every entry that another process sees."""
    for entry in rows_of(Path(path)):
        say(entry.entry_hash.hex())


def try_to_write(path: str) -> None:
    """Open a journal as a second writer, and say what came of it."""
    asyncio.run(_try_to_write(Path(path)))


async def _try_to_write(path: Path) -> None:
    try:
        store = await SqliteStore.open(path)
    except JournalLockedError as error:
        say("refused", error.holder.get("pid"))
    except LoomError as error:
        say("other", type(error).__name__)
    else:
        say("opened", os.getpid())
        await store.close()


def append_until_fenced(path: str, journal: str, *, checks_epoch: bool) -> None:
    """Append one by one until it is refused, and say how; without the check of the epoch it is a zombie."""
    if not checks_epoch:
        Link.check_epoch = lambda self: None  # type: ignore[method-assign]
    asyncio.run(_append_until_fenced(Path(path), journal, endless=not checks_epoch))


async def _append_until_fenced(path: Path, journal: str, *, endless: bool) -> None:
    options = SqliteOptions(writer=WriterOptions(busy_timeout_s=5.0, min_free_bytes=0, checkpoint_pages=64))
    store = await SqliteStore.open(path, options=options)
    say("epoch", store._writer._link.epoch)
    at = 0
    while not endless or at < 5_000:
        try:
            receipt = await store.append(Append(journal, at, [note("x" * 60)]))
        except AppendRefusedError as error:
            say("refused", type(error).__name__)
            return
        except LoomError as error:
            say("other", type(error).__name__, error)
            return
        at = receipt.sequence
        say("ack", receipt.position, receipt.entry_hash.hex())

