"""Servers that are what the bad-input tests only say: a streaming replica, one that is too old, one that is stopped.

They take seconds each: `make cluster-test` runs them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loom.errors import (
    AppendUnknownError,
    JournalBusyError,
    JournalFormatError,
    JournalReadOnlyError,
    LoomError,
    WriterFencedError,
)
from loom.journal import Receipt
from loom.journal.postgres import PostgresOptions, PostgresReader, PostgresStore, PostgresUrl
from loom.journal.postgres.verify import verify_server
from loom.journal.sqlite import JournalFiles
from tests.journal.support import collected, notes
from tests.journal.test_postgres_bad_input import one_line
from tests.older_postgres import older_server
from tests.postgres_server import PASSWORD, QUOTED, Place, Server, served

pytestmark = pytest.mark.reliability


@pytest.fixture
def server() -> Iterator[Server]:
    with served() as server:
        yield server


@pytest.fixture
def standby(server: Server) -> Iterator[Server]:
    standby = server.standby()
    yield standby
    standby.remove()


@pytest.fixture(autouse=True)
def _no_password_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert not any(secret in caplog.text for secret in (PASSWORD, QUOTED))


def without_password(error: LoomError) -> str:
    said = one_line(error)
    assert not any(secret in said for secret in (PASSWORD, QUOTED))
    return said


async def until_streamed(primary: Place) -> None:
    """Wait until the one replica has replayed all that the primary has written."""
    connection = await primary.connect()
    try:
        async with asyncio.timeout(20):
            while not await connection.fetchval(
                "SELECT coalesce(bool_and(replay_lsn >= pg_current_wal_lsn()), false) FROM pg_stat_replication"
            ):
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def test_a_streaming_replica_is_read_and_refuses_to_be_written(
    server: Server, standby: Server, tmp_path: Path
) -> None:
    place = Place(server, tmp_path)
    store = await place.open()
    receipts = [await store.append(notes("a/1", number)) for number in range(5)]
    try:
        await until_streamed(place)
        url = standby.url(schema=place.schema)
        reader = PostgresReader(PostgresUrl.parse(url))
        there = [each.entry_hash for each in await collected(reader.read_all())]
        assert there == [receipt.entry_hash for receipt in receipts]
        await reader.close()
        assert (await verify_server(PostgresUrl.parse(url), tmp_path / "none")).ok
        files = JournalFiles(tmp_path / "on-replica" / "journal.db")
        with pytest.raises(JournalReadOnlyError, match=r"read-only replica.*name its host") as refused:
            await PostgresStore.open(url, files)
        without_password(refused.value)
        assert not files.heads.exists()
        assert (await store.append(notes("a/1", 5))).position == 6
    finally:
        await place.close(drop=False)


async def test_a_replica_that_is_promoted_goes_on_with_all_epochs(
    server: Server, standby: Server, tmp_path: Path
) -> None:
    """The servers are named in one URL. What was fenced, or overtaken, before the failover stays so after it."""
    schema = f"t_failover_{os.getpid()}"
    connection = await Place(server, tmp_path).connect()
    await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()

    async def opened(name: str, *, first: Server = server, then: Server = standby) -> PostgresStore:
        options = PostgresOptions(reconnect_timeout_s=20.0)
        url = first.url(schema=schema, then=then)
        return await PostgresStore.open(url, JournalFiles(tmp_path / name / "journal.db"), options=options)

    former, later, dead = (
        await opened("former"),
        await opened("later", first=standby, then=server),
        await opened("dead"),
    )
    try:
        await former.acquire("a/1")
        receipts = [await former.append(notes("a/1", number)) for number in range(3)]
        await later.acquire("a/1")
        receipts += [await later.append(notes("a/1", number)) for number in range(3, 5)]
        await later.fence(dead.writer)
        receipts.append(await former.append(notes("b/1", 0)))
        server.kill()
        waiting = asyncio.create_task(later.append(notes("a/1", 5)))
        promoting = Place(standby, tmp_path)
        promoting.schema = schema
        connection = await promoting.connect()
        await connection.fetchval("SELECT pg_promote()")
        receipts.append(await waiting)
        with pytest.raises(WriterFencedError, match="another process acquired it") as overtaken:
            await former.append(notes("a/1", 6))
        without_password(overtaken.value)
        with pytest.raises(WriterFencedError, match="end this one") as fenced:
            await dead.append(notes("c/1", 0))
        without_password(fenced.value)
        receipts.append(await former.append(notes("b/1", 1)))
        found = {each.entry_hash for each in await collected(later.read_all())}
        assert found == {receipt.entry_hash for receipt in receipts}
        await connection.close()
        assert (await verify_server(PostgresUrl.parse(standby.url(schema=schema)), later.files.heads)).ok
    finally:
        for store in (former, later, dead):
            await store.close()


@pytest.fixture
def older(request: pytest.FixtureRequest) -> Iterator[Server]:
    programs = older_server(request.param)
    if programs is None:
        pytest.skip(f"PostgreSQL {request.param} is not installed: `make cluster-servers` installs it")
    server = Server(programs=programs)
    try:
        yield server.make()
    finally:
        server.remove()


@pytest.mark.parametrize("older", [13], indirect=True)
async def test_a_server_that_is_too_old_is_refused_and_nothing_is_made_there(older: Server, tmp_path: Path) -> None:
    place = Place(older, tmp_path)
    with pytest.raises(JournalFormatError, match=r"version \[13\]; expected at least \[14\]: upgrade") as refused:
        await place.open(node="here")
    without_password(refused.value)
    reader = PostgresReader(place.url())
    with pytest.raises(JournalFormatError, match="at least"):
        await reader.tail()
    await reader.close()
    connection = await place.connect()
    assert await connection.fetchval("SELECT to_regnamespace($1)", place.schema) is None
    await connection.close()
    assert not list((tmp_path / "here").glob("*.heads"))


@pytest.mark.parametrize("older", [14], indirect=True)
async def test_the_oldest_server_that_is_supported_keeps_a_journal(older: Server, tmp_path: Path) -> None:
    place = Place(older, tmp_path)
    store, other = await place.open(), await place.open()
    await store.acquire("a/1")
    receipts = [await store.append(notes("a/1", number)) for number in range(3)]
    await other.acquire("a/1")
    with pytest.raises(WriterFencedError):
        await store.append(notes("a/1", 3))
    receipts.append(await other.append(notes("a/1", 3)))
    assert [each.entry_hash for each in await collected(store.read_all())] == [each.entry_hash for each in receipts]
    assert (await verify_server(place.url(), store.files.heads)).ok
    await place.close()


# --- a server that is slow, or does not answer at all --------------------------------------------


async def backend_of(place: Place, store: PostgresStore) -> int:
    """Return the process of the server that does what the writer of a store says."""
    connection = store._writer._connection
    assert connection is not None
    return int(connection.get_server_pid())


class StoppedAtCommit:
    """A connection whose server process is stopped right before it gets COMMIT."""

    def __init__(self, connection: Any, process: int) -> None:
        self._connection = connection
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, statement: str) -> Any:
        if statement == "COMMIT":
            os.kill(self._process, signal.SIGSTOP)
        return await self._connection.execute(statement)


async def test_a_postmaster_that_is_stopped_is_given_up_in_time(server: Server, tmp_path: Path) -> None:
    place = Place(server, tmp_path, connect_timeout_s=0.5)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(JournalBusyError, match="did not answer in time") as refused:
            await place.open()
        without_password(refused.value)
        assert time.monotonic() - began < 10
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert (await (await place.open()).append(notes("a/1", 0))).position == 1
    await place.close()


async def test_a_server_process_that_stops_before_commit_loses_nothing(server: Server, tmp_path: Path) -> None:
    """The append is tried again on another connection; what the stopped process has begun is never committed."""
    place = Place(server, tmp_path, answer_timeout_s=0.5, reconnect_timeout_s=20.0)
    store = await place.open()
    await store.append(notes("a/1", 0))
    stopped = await backend_of(place, store)
    os.kill(stopped, signal.SIGSTOP)
    try:
        receipt = await store.append(notes("a/1", 1))
    finally:
        os.kill(stopped, signal.SIGCONT)
    assert (receipt.sequence, receipt.position) == (2, 2)
    assert (await store.append(notes("a/1", 2))).position == 3
    assert len(await collected(store.read_all())) == 3
    await place.close()


async def test_a_server_process_that_stops_at_commit_leaves_an_outcome_that_is_found(
    server: Server, tmp_path: Path
) -> None:
    """It holds the tail: no other append goes by it. Woken, it commits, although its client has long given up.

    The server would end it where it is idle for half of `lock_timeout_s`, which is long here.
    """
    place = Place(server, tmp_path, answer_timeout_s=0.5, lock_timeout_s=120.0, reconnect_timeout_s=0.5)
    store, other = await place.open(), await place.open(lock_timeout_s=0.2)
    await store.append(notes("a/1", 0))
    stopped = await backend_of(place, store)
    store._writer._connection = StoppedAtCommit(store._writer._connection, stopped)
    try:
        with pytest.raises(AppendUnknownError, match="resolve it before anything else") as unknown:
            await store.append(notes("a/1", 1))
        assert "\n" not in str(unknown.value)
        assert "nothing was written" not in str(unknown.value)
        with pytest.raises(JournalBusyError, match="pg_stat_activity") as refused:
            await other.append(notes("b/1", 0))
        assert "(nothing was written)" in without_password(refused.value)
        with pytest.raises(JournalBusyError, match="did not answer in time") as looked:
            await store.resolve(unknown.value)
        assert "nothing was written" not in without_password(looked.value)
    finally:
        os.kill(stopped, signal.SIGCONT)
    found = await resolved(store, unknown.value)
    assert (found.sequence, found.position) == (2, 2)
    assert (await other.append(notes("b/1", 0))).position == 3
    assert (await store.append(notes("a/1", 2))).sequence == 3
    assert (await verify_server(place.url(), store.files.heads)).ok
    await place.close()


async def resolved(store: PostgresStore, unknown: AppendUnknownError) -> Receipt:
    async with asyncio.timeout(20):
        while True:
            try:
                receipt = await store.resolve(unknown)
            except JournalBusyError:
                continue
            assert receipt is not None
            return receipt
