"""Views are read beside a running loom, without one, and where nothing can be written."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loom.decisions import ApprovalsProjection, Traces, TracesProjection
from loom.errors import JournalNotFoundError, ProjectionFailedError
from loom.journal.sqlite import JournalFiles, SqliteStore
from loom.projections import Projection, Projector, Queries, Views, open_views_for_reading
from loom.projections.views import ViewsLostError
from tests.projections.journals import open_store, whole_turn, write


def projections() -> list[Projection]:
    return [TracesProjection(), ApprovalsProjection()]


@contextlib.asynccontextmanager
async def running(directory: Path) -> AsyncIterator[tuple[SqliteStore, Projector, Queries]]:
    store = await open_store(directory)
    views = Views(store.files.views)
    projector = Projector(store, views, projections())
    await projector.start()
    try:
        yield store, projector, Queries(views, projector)
    finally:
        await projector.close()
        await views.close()
        await store.close()


async def turn(store: SqliteStore, name: str) -> None:
    await write(store, f"discount-agent/{name}", *whole_turn(name), command_id=name)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


async def decisions(files: JournalFiles) -> list[str]:
    async with open_views_for_reading(files, projections()) as queries:
        return [found.actor_key for found in await Traces(queries).find()]


async def test_beside_a_running_loom_views_are_read_as_they_are_with_their_lag(tmp_path: Path) -> None:
    async with running(tmp_path) as (store, projector, _):
        await turn(store, "a")
        await projector.caught_up()
        async with open_views_for_reading(store.files, projections()) as queries:
            assert [found.actor_key for found in await Traces(queries).find()] == ["a"]
            await projector.close()
            await turn(store, "b")
            assert [found.actor_key for found in await Traces(queries).find()] == ["a"]
            assert {status.lag for status in await queries.status()} == {8}


async def test_views_of_a_process_that_holds_the_lock_and_waits_are_brought_up_to_date_and_of_one_that_runs_are_not(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as (store, projector, _):
        await turn(store, "a")
        await projector.caught_up()
        await projector.close()
        await turn(store, "b")
        assert sorted(await decisions(store.files)) == ["a", "b"], "no one updates them, as where a process stands by"
        store.lock.describe(pid=os.getpid(), socket="its socket")
        assert await decisions(store.files) == ["a"]


async def test_views_that_hold_the_whole_journal_are_read_without_a_loom(tmp_path: Path) -> None:
    async with running(tmp_path) as (store, projector, _):
        await turn(store, "a")
        await projector.caught_up()
        files = store.files
    before = contents(tmp_path)
    assert await decisions(files) == ["a"]
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("left", ["behind", "missing", "garbage", "another version"])
async def test_other_views_are_brought_up_to_date_in_a_copy(tmp_path: Path, left: str) -> None:
    async with running(tmp_path) as (store, projector, _):
        await turn(store, "a")
        await projector.caught_up()
        await projector.close()
        await turn(store, "b")
        files = store.files
    if left == "missing":
        files.views.unlink()
    elif left == "garbage":
        files.views.write_bytes(b"garbage" * 1_000)
    elif left == "another version":
        with contextlib.closing(sqlite3.connect(files.views)) as views, views:
            views.execute("UPDATE checkpoints SET version = 99")
    before = contents(tmp_path)
    assert await decisions(files) == ["b", "a"]
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before


async def test_views_of_another_journal_are_not_believed(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with running(tmp_path / "one") as (store, projector, _):
        await turn(store, "a")
        await projector.caught_up()
        one = store.files
    async with running(tmp_path / "two") as (store, projector, _):
        await turn(store, "b")
        await projector.caught_up()
        two = store.files
    os.replace(one.views, two.views)
    assert await decisions(two) == ["b"]


async def test_a_directory_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as (store, projector, _):
        await turn(store, "a")
        await projector.caught_up()
        files = store.files
    os.chmod(tmp_path, 0o500)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    before = contents(tmp_path)
    try:
        assert await decisions(files) == ["a"]
        assert contents(tmp_path) == before
    finally:
        os.chmod(tmp_path, 0o700)


async def test_catching_up_in_a_copy_shows_how_far_it_is(tmp_path: Path) -> None:
    async with running(tmp_path) as (store, _, _):
        await turn(store, "a")
        files = store.files
    files.views.unlink()
    shown: list[tuple[int, int]] = []
    async with open_views_for_reading(files, projections(), progress=lambda *at: shown.append(at)):
        assert shown[-1] == (8, 8)


async def test_where_there_is_no_journal_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(JournalNotFoundError):
        async with open_views_for_reading(JournalFiles(tmp_path / "none.db"), projections()):
            pass
    assert contents(tmp_path) == {}


async def test_a_projection_that_failed_in_the_running_loom_is_not_read_as_if_it_were_whole(tmp_path: Path) -> None:
    async with running(tmp_path) as (store, projector, _):
        await turn(store, "a")
        await projector.caught_up()
        async with open_views_for_reading(store.files, projections()) as queries:
            with contextlib.closing(sqlite3.connect(store.files.views)) as views, views:
                views.execute("UPDATE checkpoints SET failed = 'ValueError: no' WHERE name = 'traces'")
            with pytest.raises(ProjectionFailedError, match="stopped with: ValueError: no"):
                await Traces(queries).find()
            with pytest.raises(ProjectionFailedError, match=r"\[nobody\], which is not in it"):
                await queries.fetch("SELECT 1", names=("nobody",))


async def test_damage_that_a_reader_finds_has_the_views_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as (store, projector, queries):
        await turn(store, "a")
        await projector.caught_up()
        found = os.stat(store.files.views)
        fetch = Views.fetch
        damage = [ViewsLostError("views are damaged", damaged=(found.st_dev, found.st_ino))]

        async def once_damaged(self: Views, statement: str, parameters: object = ()) -> object:
            if damage:
                raise damage.pop()
            return await fetch(self, statement, parameters)  # type: ignore[arg-type]

        monkeypatch.setattr(Views, "fetch", once_damaged)
        assert [found.actor_key for found in await Traces(queries).find()] == ["a"]
        assert "journal.views.db.unreadable" in contents(tmp_path)
