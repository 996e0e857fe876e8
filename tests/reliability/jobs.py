"""What the children of the zygote do: write journals until they are killed, stopped or overtaken."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from pathlib import Path

from pydantic import JsonValue

from loom.errors import AppendRefusedError, JournalLockedError, LoomError
from loom.journal import Append, Receipt
from loom.journal.control import control_call
from loom.journal.sqlite import SqliteOptions, SqliteStore, WriterOptions
from loom.journal.sqlite.writer_connection import WriterConnection
from tests.journal.support import note, received
from tests.postgres_server import open_at
from tests.reliability.journals import query, rows_of

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
        WriterConnection.check_epoch = lambda self: None  # type: ignore[method-assign]
    asyncio.run(_append_until_fenced(Path(path), journal, endless=not checks_epoch))


async def _append_until_fenced(path: Path, journal: str, *, endless: bool) -> None:
    options = SqliteOptions(writer=WriterOptions(busy_timeout_s=5.0, min_free_bytes=0, checkpoint_pages=64))
    store = await SqliteStore.open(path, options=options)
    say("epoch", store._writer._connection.epoch)
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


def append_to_server_until_fenced(address: str, journal: str, checks_epoch: bool) -> None:  # noqa: FBT001
    """Do the same on a server, where four appends are under way at a time."""
    from loom.journal.postgres import staging  # needs an extra

    if not checks_epoch:
        staging._epoch = lambda head, claim, *, writer, fresh: max(head.epoch, fresh or 0)
    asyncio.run(_append_to_server_until_fenced(address, journal, endless=not checks_epoch))


async def _append_to_server_until_fenced(address: str, journal: str, *, endless: bool) -> None:
    store = await open_at(address)
    at = (await store.acquire(journal)).sequence
    say("writer", store.writer)
    while not endless or at < 5_000:
        under_way = [store.submit(Append(journal, at + n, [note("x" * 60)])) for n in range(4)]
        outcomes = await asyncio.gather(*under_way, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Receipt):
                say("ack", outcome.position, outcome.entry_hash.hex())
        refused = [type(each).__name__ for each in outcomes if isinstance(each, AppendRefusedError)]
        other = [each for each in outcomes if not isinstance(each, Receipt | AppendRefusedError)]
        if other:
            say("other", other)
        if refused:
            say("refused", *refused)
        if refused or other:
            return
        at += len(outcomes)


def send_commands(lock: str, journal: str, name: int, calls: int) -> None:
    """Send commands to a running loom through its control socket, one after the other, and say what came of each."""
    asyncio.run(_send_commands(Path(lock), journal, name, calls))


async def _send_commands(lock: Path, journal: str, name: int, calls: int) -> None:
    for number in range(calls):
        asked: dict[str, JsonValue] = {
            "journal": journal,
            "command_type": "Add",
            "payload": {"number": 1},
            "id": f"client-{name}-{number}",
        }
        try:
            answer = await control_call(lock, "actors.send", asked)
        except LoomError as error:
            say(type(error).__name__, error)
        else:
            say(answer["status"] if isinstance(answer, dict) else "nonsense")


def append_for(path: str, seconds: float) -> None:
    """Append for so long, with checkpoints after every few pages, and acknowledge."""
    asyncio.run(_append_for(Path(path), seconds))


async def _append_for(path: Path, seconds: float) -> None:
    options = SqliteOptions(writer=WriterOptions(head_every=64, checkpoint_pages=4, min_free_bytes=0))
    store = await SqliteStore.open(path, options=options)
    say("open")
    end, at = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        receipt = await store.append(Append("a/1", at, [note("x" * 200)]))
        at = receipt.sequence
        say("ack", receipt.position, receipt.entry_hash.hex())
    await store.close()


def read_for(path: str, seconds: float) -> None:
    """Open, read and close a journal for so long: the number of entries never falls."""
    end, seen = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        [(count, last)] = query(Path(path), "SELECT count(*), coalesce(max(position), 0) FROM entries")
        if count < seen or count != last:
            say("lost", seen, count, last)
        seen = count
    say("read", seen)


def try_for(path: str, seconds: float) -> None:
    """Try to open a journal for writing for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end - 1.0:
        asyncio.run(_try_to_write(Path(path)))


def race(path: str, writer: int, seconds: float) -> None:
    """Write rows, or checkpoint passively, for so long, as loom does not; say how many were committed."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    connection.execute("PRAGMA wal_autocheckpoint = 20" if writer < 4 else "PRAGMA wal_autocheckpoint = 0")
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        if writer < 4:
            connection.execute("INSERT INTO rows VALUES (?, ?)", (writer, number))
            number += 1
        else:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    say(number)
