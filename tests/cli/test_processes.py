"""`loom processes` and `loom upgrade` on PostgreSQL: who writes in which shapes, and the floor that a person raises."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from loom.journal import lowering
from loom.journal.sqlite import JournalFiles, SqliteStore
from tests.cli.support import invoke
from tests.journal.support import PLENTY
from tests.postgres_server import Server


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.url(workspace="w", schema=f"t_{uuid4().hex[:16]}")


@pytest.fixture
def config(url: str, tmp_path: Path) -> Path:
    path = tmp_path / "loom.config.yaml"
    path.write_text(f"data: data\nworkspace: w\njournal: {{url: '{url}'}}\n")
    return path


def test_processes_are_listed_with_the_loom_of_each_process_and_a_floor_needs_a_name(
    config: Path, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loom.journal.floor import release
    from loom.journal.postgres import PostgresStore

    async def while_a_node_writes() -> None:
        node = await PostgresStore.open(url, JournalFiles(tmp_path / "node" / "journal.db"), name="node-a")
        [seen] = (await asyncio.to_thread(invoke, "processes", "--json", config=config)).json
        assert (seen["writer"], seen["name"], seen["release"], seen["level"]) == (node.writer, "node-a", release(), 1)
        assert seen["state"] == "writes"
        nothing = await asyncio.to_thread(invoke, "upgrade", "--by", "dana", config=config)
        assert "there is nothing to do" in nothing.out
        with monkeypatch.context() as newer:
            newer.setattr(lowering, "LEVEL", 2)
            refused = await asyncio.to_thread(invoke, "upgrade", "--by", "dana", config=config)
            assert refused.code != 0
            assert f"[{node.writer} node-a of loom {release()}]" in refused.err
        await node.close()

    asyncio.run(while_a_node_writes())
    assert "--by NAME" in invoke("upgrade", config=config).err
    with monkeypatch.context() as newer:
        newer.setattr(lowering, "LEVEL", 2)
        assert "floor raised to 2" in invoke("upgrade", "--by", "dana", config=config).out
        assert "floor 2; this loom" in invoke("processes", config=config).err
    assert "is at format floor [2], which [dana] raised" in invoke("processes", config=config).err


def test_a_journal_in_a_file_has_no_list_of_processes(tmp_path: Path) -> None:
    async def made() -> None:
        await (await SqliteStore.open(tmp_path / "journal.db", options=PLENTY)).close()

    asyncio.run(made())
    assert "is written by one process" in invoke("processes", "--journal", tmp_path / "journal.db").err
