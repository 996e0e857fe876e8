"""Keys of subjects in a database: several processes share them, and what one destroys is gone for all of them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from loom import Loom, LoomConfig
from loom.doctor.opening import check_opening
from loom.engine.local import LocalEngine
from loom.errors import ConfigError, ErasedError, KeysNotWrittenError, KeysUnavailableError
from loom.journal.postgres.url import PostgresUrl
from loom.sealing import KeyDatabase, KeyStore, SealingConfig
from loom.sealing.keydatabase import keys_url
from loom.workspace import locate
from tests.postgres_server import PASSWORD, Place, Server, at_once
from tests.sealing.support import MASTER

ANA = "client/ana"


@pytest.fixture(scope="module")
def other_database(postgres: Server) -> Iterator[str]:
    """Another database on the server of the tests."""
    name = f"keys_{uuid4().hex[:8]}"
    asyncio.run(_execute(postgres, f"CREATE DATABASE {name}"))
    yield name
    asyncio.run(_execute(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(server: Server, statement: str, database: str = "postgres") -> list[Any]:
    import asyncpg

    url = PostgresUrl.parse(server.url(database=database))
    connection: Any = await asyncpg.connect(url.dsn, password=url.password)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


@pytest.fixture
def text(postgres: Server, other_database: str) -> str:
    """The URL of a place for keys in the other database, as a config has it."""
    return postgres.url(database=other_database, schema=f"k_{uuid4().hex[:16]}")


def keys(text: str, master: bytes = MASTER, *, workspace: str = "default") -> KeyDatabase:
    return KeyDatabase(keys_url(text, workspace="default"), master, workspace=workspace)


@pytest.fixture
async def both(text: str) -> AsyncIterator[tuple[KeyDatabase, KeyDatabase]]:
    """The keys as two processes have them."""
    one, other = keys(text), keys(text)
    await one.open()
    await other.open()
    yield one, other
    await one.close()
    await other.close()


async def test_of_two_first_keys_at_once_both_processes_use_the_one_that_was_written(
    both: tuple[KeyDatabase, KeyDatabase],
) -> None:
    one, other = both
    assert one.is_new
    assert other.is_new
    first, second = await asyncio.gather(one.put(ANA, 1, b"1" * 32), other.put(ANA, 1, b"2" * 32))
    assert first == second
    assert await one.get(ANA) == await other.get(ANA) == {1: first}
    assert not other.is_new


async def test_two_processes_that_wait_for_each_other_to_make_the_tables_use_one_key(
    both: tuple[KeyDatabase, KeyDatabase], postgres: Server, other_database: str
) -> None:
    one, other = both
    first, second = await at_once(
        postgres,
        f"loom keys {one._url.schema}",
        lambda: one.put(ANA, 1, b"1" * 32),
        lambda: other.put(ANA, 1, b"2" * 32),
        database=other_database,
    )
    assert first == second
    assert await one.get(ANA) == await other.get(ANA) == {1: first}


async def test_what_one_process_destroyed_no_other_one_has_or_makes_again(
    both: tuple[KeyDatabase, KeyDatabase], postgres: Server, other_database: str
) -> None:
    one, other = both
    await one.put(ANA, 1, b"1" * 32)
    assert await other.get(ANA)
    assert await one.destroy(ANA, until=1) == 1
    assert await other.get(ANA) == {}
    with pytest.raises(ErasedError, match="another process"):
        await other.put(ANA, 1, b"2" * 32)
    assert await other.put(ANA, 2, b"3" * 32) == b"3" * 32
    assert await one.destroy(ANA, until=1) == 0
    assert await one.get(ANA) == {2: b"3" * 32}
    schema = one._url.schema
    rows = await _execute(postgres, f"SELECT * FROM {schema}.keys, {schema}.destroyed_keys", other_database)
    assert rows
    assert "ana" not in repr(rows)
    assert b"3" * 32 not in rows[0]["wrapped"]


async def test_another_master_key_workspace_or_the_database_of_the_journal_is_refused(
    both: tuple[KeyDatabase, KeyDatabase], text: str, postgres: Server
) -> None:
    await both[0].put(ANA, 1, b"1" * 32)
    for other in (keys(text, bytes(32)), keys(text, workspace="another")):
        with pytest.raises(ConfigError, match=r"master key|workspace \[another\]") as refused:
            await other.open()
        assert PASSWORD not in str(refused.value)
        await other.close()
    journal = PostgresUrl.parse(postgres.url())
    with pytest.raises(ConfigError, match="database of the journal"):
        keys_url(postgres.url(schema="keys"), workspace="default", journal=journal)


async def test_a_server_that_is_gone_is_an_error_of_its_own_and_its_return_is_enough(tmp_path: Path) -> None:
    server = Server().make()
    try:
        store = keys(server.url())
        await store.put(ANA, 1, b"1" * 32)
        server.stop()
        with pytest.raises(KeysUnavailableError) as unread:
            await store.get(ANA)
        with pytest.raises((KeysUnavailableError, KeysNotWrittenError)) as unwritten:
            await store.destroy(ANA, until=1)
        config = sealing(tmp_path, server.url())
        with pytest.raises(KeysUnavailableError) as unopened:
            async with Loom.open(config, by="mira"):
                pass
        assert not any(PASSWORD in str(each.value) for each in (unread, unwritten, unopened))
        server.start()
        assert await store.get(ANA) == {1: b"1" * 32}
        server.stop()
        server.start()
        assert await store.destroy(ANA, until=1) == 1  # on a connection that was lost meanwhile
        await store.close()
    finally:
        server.remove()


def sealing(path: Path, keys_url: str | None = None, **more: Any) -> LoomConfig:
    given = SealingConfig.model_validate({"enabled": True, "keys_url": keys_url, **more})
    return LoomConfig(data=path, sections={"sealing": given})


@pytest.fixture(autouse=True)
def _master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_MASTER_KEY", base64.b64encode(MASTER).decode())


async def test_an_erasure_in_one_loom_holds_in_another_one_that_shares_journal_and_keys(
    postgres: Server, tmp_path: Path, text: str
) -> None:
    place = Place(postgres, tmp_path)
    journal = {"url": place.text}

    def node(name: str) -> LoomConfig:
        plain = LoomConfig.model_validate({"data": str(tmp_path / name), "journal": journal})
        return plain.model_copy(update={"sections": sealing(tmp_path, text).sections})

    async with (
        Loom.open(node("a"), by="mira", engine=lambda _: LocalEngine()) as one,
        Loom.open(node("b"), by="mira", engine=lambda _: LocalEngine()) as other,
    ):
        assert one.subjects.vault is not None
        assert other.subjects.vault is not None
        sealed = await one.subjects.vault.seal(ANA, "secret", about="x")
        assert await other.subjects.vault.open(sealed, subject=ANA) == "secret"
        await one.subjects.erase(ANA, by="mira", reason="asked for it")
        with pytest.raises(ErasedError):
            await one.subjects.vault.open(sealed, subject=ANA)
        while other.subjects.erasures.get(ANA) is None:
            await asyncio.sleep(0.01)
        with pytest.raises(ErasedError):
            await other.subjects.vault.open(sealed, subject=ANA)
        assert not (tmp_path / "a" / "default" / "node.keys").exists()
    await place.close()


async def test_keys_that_come_back_from_a_backup_are_destroyed_again(
    tmp_path: Path, text: str, postgres: Server, other_database: str
) -> None:
    schema = keys_url(text, workspace="default").schema
    config = sealing(tmp_path, text)
    async with Loom.open(config, by="mira") as loom:
        assert loom.subjects.vault is not None
        sealed = await loom.subjects.vault.seal(ANA, "secret", about="x")
        await _execute(postgres, f"CREATE TABLE {schema}.backup AS SELECT * FROM {schema}.keys", other_database)
        await loom.subjects.erase(ANA, by="mira", reason="asked for it")
    for statement in ("INSERT INTO {0}.keys SELECT * FROM {0}.backup", "UPDATE {0}.key_store SET destroyed_until = 0"):
        await _execute(postgres, statement.format(schema), other_database)
    async with Loom.open(config, by="mira") as loom:
        assert loom.subjects.vault is not None
        assert await _execute(postgres, f"SELECT * FROM {schema}.keys", other_database) == []
        with pytest.raises(ErasedError):
            await loom.subjects.vault.open(sealed, subject=ANA)


class Service:
    """A store of keys of a user's, as in front of a key service; here it is a dictionary."""

    services: ClassVar[dict[str, Service]] = {}

    def __init__(self) -> None:
        self.held: dict[str, dict[int, bytes]] = {}
        self.destroyed_until = 0

    @property
    def is_new(self) -> bool:
        return not self.held

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def get(self, subject: str) -> dict[int, bytes]:
        return dict(self.held.get(subject, {}))

    async def put(self, subject: str, generation: int, key: bytes) -> bytes:
        return self.held.setdefault(subject, {}).setdefault(generation, key)

    async def destroy(self, subject: str, *, until: int) -> int:
        held = self.held.get(subject, {})
        gone = [each for each in held if each <= until]
        for each in gone:
            del held[each]
        return len(gone)

    async def note_destroyed(self, sequence: int) -> None:
        self.destroyed_until = sequence


def service(workspace: str) -> KeyStore:
    """Return the keys of a workspace in the service."""
    return Service.services.setdefault(workspace, Service())


async def test_a_store_of_keys_of_a_user_is_taken_and_needs_no_master_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOOM_MASTER_KEY")
    config = sealing(tmp_path, key_store=f"{__name__}:service")
    async with Loom.open(config, by="mira") as loom:
        assert loom.subjects.vault is not None
        sealed = await loom.subjects.vault.seal(ANA, "secret", about="x")
        assert list(Service.services["default"].held) == [ANA]
        await loom.subjects.erase(ANA, by="mira", reason="asked for it")
        with pytest.raises(ErasedError):
            await loom.subjects.vault.open(sealed, subject=ANA)
    assert not Service.services["default"].held[ANA]
    checks = [each async for each in check_opening(locate(config))]
    assert [each.mark for each in checks if each.about == "starting"] == ["ok"]
    for wrong in (f"{__name__}:Nothing", f"{__name__}"):
        with pytest.raises(ConfigError, match="sealing"):
            async with Loom.open(sealing(tmp_path, key_store=wrong), by="mira"):
                pass
