"""What is wrong with a URL, an account or a server is one line that says what to do, without a password."""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from loom import Loom
from loom.config import LoomConfig
from loom.errors import (
    AppendRefusedError,
    ConfigError,
    DiskFullError,
    JournalBusyError,
    JournalCorruptError,
    JournalForeignError,
    JournalFormatError,
    JournalNotFoundError,
    JournalReadOnlyError,
    LoomError,
    WriterFencedError,
)
from loom.journal.postgres import PostgresOptions, PostgresReader, PostgresStore, PostgresUrl
from loom.journal.postgres.faults import explained
from loom.journal.postgres.url import refuse_password, without_password
from loom.journal.sqlite import JournalFiles
from loom.workspace import locate
from tests.journal.support import collected, notes
from tests.postgres_server import PASSWORD, QUOTED, Place, Server

SECRET = "hunter2/x"
URL = PostgresUrl.parse("postgresql://robin:hunter2%2Fx@db.example:5432/acme?workspace=desk")
BRIEF = PostgresOptions(connect_timeout_s=2.0, answer_timeout_s=1.0, lock_timeout_s=0.2, reconnect_timeout_s=0.0)


def one_line(error: BaseException) -> str:
    """Return the message of an error, which says in one line what happened, what was expected, and what to do."""
    said = str(error)
    assert "\n" not in said
    assert "; expected" in said
    assert ":" in said.partition("; expected")[2] or "(nothing was written)" in said
    return said


# --- URLs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://robin:hunter2@db.example", "names no database"),
        ("postgresql://robin:hunter2@db.example/?workspace=x", "names no database"),
        ("postgresql://robin:hunter2@db.example/acme?nonsense=1", "unknown options"),
        ("postgresql://robin:hunter2@db.example/acme?password=hunter2", "unknown options"),
        ("postgresql://robin:hunter2@db.example/acme?workspace", "cannot be read"),
        ("postgresql://robin:hunter2@[db.example/acme", "cannot be read"),
        ("postgresql://robin:hunter2@db.example/acme?schema=" + "x" * 64, "no name for PostgreSQL"),
        ("postgresql://robin:a/hunter2@db.example/acme", "after a"),
        ("postgresql://robin:hunter2/b@db.example/acme", "after a"),
        ("mysql://robin:hunter2@db.example/acme", "of a kind loom does not know"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused_without_its_password(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        locate(url)
    assert "hunter2" not in one_line(refused.value)
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_a_workspace_that_no_directory_may_have_is_refused() -> None:
    with pytest.raises(LoomError, match="not a name"):
        locate("postgresql://db.example/acme?workspace=../x")
    with pytest.raises(ConfigError, match="names workspace"):
        locate("postgresql://db.example/acme?workspace=x", workspace="y")


def test_a_password_is_in_no_text_made_of_a_url() -> None:
    assert URL.password == SECRET
    for text in (repr(URL), str(URL), URL.dsn, repr(locate("postgresql://robin:hunter2%2Fx@db.example/acme"))):
        assert "hunter2" not in text
    assert without_password("postgresql://robin:a?b@db.example/acme?x=y") == "postgresql://robin@db.example/acme"
    assert without_password("postgresql://robin:a/b@c@db.example/acme") == "postgresql://robin@db.example/acme"
    with pytest.raises(ConfigError, match="PGPASSWORD") as refused:
        refuse_password("postgresql://robin:hunter2@db.example/acme")
    assert "hunter2" not in one_line(refused.value)


# --- errors of the server ----------------------------------------------------------------------

SERVER_ERRORS: dict[Callable[[str], BaseException], type[LoomError]] = {
    asyncpg.InvalidPasswordError: ConfigError,
    asyncpg.InvalidAuthorizationSpecificationError: ConfigError,
    asyncpg.InvalidCatalogNameError: ConfigError,
    asyncpg.DiskFullError: DiskFullError,
    asyncpg.ReadOnlySQLTransactionError: JournalReadOnlyError,
    asyncpg.InsufficientPrivilegeError: JournalReadOnlyError,
    asyncpg.TooManyConnectionsError: JournalBusyError,
    asyncpg.OutOfMemoryError: JournalBusyError,
    asyncpg.LockNotAvailableError: JournalBusyError,
    asyncpg.QueryCanceledError: JournalBusyError,
    asyncpg.CannotConnectNowError: JournalBusyError,
    asyncpg.AdminShutdownError: JournalBusyError,
    asyncpg.ConnectionDoesNotExistError: JournalBusyError,
    asyncpg.InterfaceError: JournalBusyError,
    asyncpg.UndefinedTableError: JournalForeignError,
    asyncpg.DataCorruptedError: JournalCorruptError,
    asyncpg.IndexCorruptedError: JournalCorruptError,
    ConnectionRefusedError: JournalBusyError,
    TimeoutError: JournalBusyError,
    asyncpg.DivisionByZeroError: AppendRefusedError,
}


@pytest.mark.parametrize("kind", SERVER_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_the_server_is_one_of_looms(kind: Callable[[str], BaseException]) -> None:
    found = explained(kind(f"it quotes\n{SECRET}"), URL, writing=True)
    assert type(found) is SERVER_ERRORS[kind]
    assert "hunter2" not in one_line(found)


async def test_a_wrong_password_and_a_missing_database_say_what_to_do(
    postgres: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    files = JournalFiles(tmp_path / "node.db")
    wrong = postgres.url().replace(QUOTED, "hunter2")
    missing = postgres.url(database="nonesuch")
    for url, says in ((wrong, "PGPASSWORD"), (missing, "createdb nonesuch")):
        with pytest.raises(ConfigError, match=says) as refused:
            await PostgresStore.open(url, files)
        one_line(refused.value)
        shown = "".join(traceback.format_exception(refused.value)) + caplog.text
        assert not any(secret in shown for secret in ("hunter2", PASSWORD, QUOTED))
        assert not files.heads.exists()


async def test_no_password_is_in_what_the_server_shows_of_its_sessions(place: Place) -> None:
    await place.open()
    connection = await place.connect()
    shown = [str(dict(row)) for row in await connection.fetch("SELECT * FROM pg_stat_activity")]
    await connection.close()
    assert any("loom writer" in each for each in shown)
    assert not any(PASSWORD in each or QUOTED in each for each in shown)


async def test_a_server_that_is_not_there_or_never_answers_is_given_up(tmp_path: Path) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side gives up
        writer.close()

    silent = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    brief = PostgresOptions(connect_timeout_s=0.3)
    files = JournalFiles(tmp_path / "node.db")
    with pytest.raises(JournalBusyError, match="did not answer in time") as slow:
        await PostgresStore.open(
            f"postgresql://robin:hunter2@127.0.0.1:{port}/acme?sslmode=disable", files, options=brief
        )
    assert "hunter2" not in one_line(slow.value)
    silent.close()
    await silent.wait_closed()
    with pytest.raises(JournalBusyError, match="cannot be reached"):
        await PostgresStore.open(f"postgresql://robin@127.0.0.1:{port}/acme", files, options=brief)


async def test_a_session_that_keeps_the_tail_locked_makes_appends_wait_and_then_refuses_them(place: Place) -> None:
    store = await place.open(lock_timeout_s=0.2)
    connection = await place.connect()
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM tail FOR UPDATE")
        with pytest.raises(JournalBusyError, match="pg_stat_activity") as refused:
            await store.append(notes("a/1", 0))
        one_line(refused.value)
    await connection.close()
    assert (await store.append(notes("a/1", 0))).position == 1


async def test_a_process_that_is_stopped_in_a_transaction_holds_others_up_and_does_not_have_them_refused(
    place: Place,
) -> None:
    """The server ends its session before the patience of the others does, and it connects again when it goes on."""
    stopped, other = await place.open(lock_timeout_s=2.2), await place.open(lock_timeout_s=2.2)
    session = stopped._writer._connection
    assert session is not None
    await session.execute("BEGIN")
    await session.execute("SELECT 1 FROM tail FOR UPDATE")  # and it says nothing more
    assert (await other.append(notes("a/1", 0))).position == 1
    assert (await stopped.append(notes("a/2", 0))).position == 2


# --- schemas -----------------------------------------------------------------------------------


async def test_tables_of_a_newer_loom_of_another_workspace_or_of_others_are_refused(place: Place) -> None:
    store = await place.open()
    await store.append(notes("a/1", 0))
    connection = await place.connect()
    with pytest.raises(JournalForeignError, match="belongs to workspace"):
        await place.open(workspace="other")
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("UPDATE meta SET value = '4' WHERE key = 'format'")
    for opened in (place.open(), collected(PostgresReader(place.url()).read_all())):
        with pytest.raises(JournalFormatError, match="newer loom") as refused:
            await opened
        one_line(refused.value)
    await connection.execute("UPDATE meta SET value = '3' WHERE key = 'format'")
    await connection.execute("DROP TABLE heads CASCADE")
    with pytest.raises(JournalForeignError, match="no journal of loom's"):
        await store.append(notes("a/1", 1))
    await connection.close()


async def test_reading_makes_no_tables(place: Place) -> None:
    reader = PostgresReader(place.url())
    with pytest.raises(JournalNotFoundError):
        await reader.tail()
    await reader.close()
    connection = await place.connect()
    assert await connection.fetchval("SELECT to_regnamespace($1)", place.schema) is None
    await connection.close()


async def test_what_fails_while_the_tables_are_made_leaves_none(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from loom.journal.postgres import connecting

    whole = connecting.schema_text()
    with monkeypatch.context() as patched:
        patched.setattr(connecting, "schema_text", lambda: whole + "SELECT 1 / 0;")
        with pytest.raises(LoomError):
            await place.open()
    store = await place.open()
    assert (await store.append(notes("a/1", 0))).position == 1


async def test_a_replica_a_full_disk_and_an_old_server_write_nothing(place: Place) -> None:
    """As the server says it: what raises these errors here is a function of the tables."""
    store = await place.open(reconnect_timeout_s=0.0)
    await store.append(notes("a/1", 0))
    connection = await place.connect()
    for state, kind, says in (
        ("25006", JournalReadOnlyError, "name its host"),
        ("53100", DiskFullError, "make room there"),
        ("42501", JournalReadOnlyError, "grant the role"),
        ("LM004", WriterFencedError, "end this one"),
    ):
        body = f"BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END"
        await connection.execute(
            "CREATE OR REPLACE FUNCTION entries_guard() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ "
            f"{body} $$"
        )
        with pytest.raises(kind, match=re.escape(says)) as refused:
            await store.append(notes("a/1", 1))
        one_line(refused.value)
    await connection.close()
    assert (await store.head("a/1")).sequence == 1


async def test_an_old_server_and_a_replica_are_refused_when_opened(place: Place) -> None:
    from loom.journal.postgres.connecting import check_server

    class Answers:
        def __init__(self, version: int, *, replica: bool) -> None:
            self.version, self.replica = version, replica

        async def fetchval(self, statement: str) -> Any:
            settings = {"SHOW server_version_num": self.version, "SHOW server_encoding": "UTF8"}
            return settings.get(statement, self.replica)

    with pytest.raises(JournalFormatError, match="at least \\[14\\]"):
        await check_server(Answers(130_012, replica=False), URL, BRIEF, writing=False)
    with pytest.raises(JournalReadOnlyError, match="read-only replica"):
        await check_server(Answers(150_000, replica=True), URL, BRIEF, writing=True)
    await check_server(Answers(150_000, replica=True), URL, BRIEF, writing=False)


# --- heads of a node ---------------------------------------------------------------------------


async def test_a_server_that_is_behind_the_heads_of_a_node_is_opened_only_by_who_accepts_the_loss(
    place: Place, tmp_path: Path
) -> None:
    config = LoomConfig.model_validate({"data": tmp_path, "journal": {"url": place.server.url(schema=place.schema)}})
    files = locate(config).files
    store = await PostgresStore.open(place.url(), files)
    for sequence in range(3):
        receipt = await store.append(notes("a/1", sequence))
    await store.close()
    connection = await place.connect()
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("DELETE FROM entries WHERE position = 3")
    last = "(SELECT entry_hash FROM entries WHERE position = 2)"
    await connection.execute(f"UPDATE tail SET position = 2, entry_hash = {last}")
    await connection.execute(f"UPDATE heads SET sequence = 2, entry_hash = {last}")
    await connection.close()
    for _ in range(2):
        with pytest.raises(JournalCorruptError, match=r"CUT.*accept") as refused:
            async with Loom.open(config, by="robin"):
                pass
        one_line(refused.value)
    async with Loom.open(config, by="robin", accept_loss="dana") as loom:
        (accepted,) = [each async for each in loom.store.read_all() if each.kind == "proof.loss_accepted"]
        body = accepted.plain or {}
        assert (body["by"], body["found"], body["note"]) == ("dana", 2, f"3 {receipt.entry_hash.hex()}")
    assert files.heads.with_name(f"{files.heads.name}.before-2").exists()
    async with Loom.open(config, by="robin"):
        pass
