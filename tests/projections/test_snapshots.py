"""Snapshots are kept and found again, and nothing that happens to them is an error."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loom.projections import Snapshot, Snapshots, Views


def snapshot(journal: str, sequence: int) -> Snapshot:
    return Snapshot(journal, "counter", 1, sequence, b"h" * 32, b'{"n":1}')


@pytest.fixture
async def views(tmp_path: Path) -> AsyncIterator[Views]:
    views = Views(tmp_path / "views.db")
    await views.start([])
    yield views
    await views.close()


async def test_the_last_snapshot_of_a_journal_is_found(views: Views) -> None:
    snapshots = Snapshots(views)
    assert await snapshots.get("counter/a") is None
    await snapshots.put_many([snapshot("counter/a", 5), snapshot("counter/b", 7)])
    await snapshots.put(
        "counter/a", actor_type="counter", state_version=2, sequence=9, entry_hash=b"x" * 32, body=b"{}"
    )
    assert await snapshots.get("counter/a") == Snapshot("counter/a", "counter", 2, 9, b"x" * 32, b"{}")
    assert await snapshots.get("counter/b") == snapshot("counter/b", 7)
    await snapshots.delete("counter/a")
    assert await snapshots.get("counter/a") is None


async def test_snapshots_go_with_the_views_file_and_nobody_minds(views: Views) -> None:
    snapshots = Snapshots(views)
    await snapshots.put_many([snapshot("counter/a", 5)])
    views.path.unlink()
    assert await snapshots.get("counter/a") is None
    await snapshots.put_many([snapshot("counter/a", 6)])
    assert await snapshots.get("counter/a") == snapshot("counter/a", 6)


async def test_a_disk_that_refuses_costs_only_the_snapshot(views: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(self: Views, *_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Views, "write", refused)
    monkeypatch.setattr(Views, "fetch", refused)
    snapshots = Snapshots(views)
    await snapshots.put_many([snapshot("counter/a", 5)])
    assert await snapshots.get("counter/a") is None


async def test_snapshots_outlive_a_restart(tmp_path: Path) -> None:
    for expected in (None, snapshot("counter/a", 5)):
        views = Views(tmp_path / "views.db")
        await views.start([])
        assert await Snapshots(views).get("counter/a") == expected
        await Snapshots(views).put_many([snapshot("counter/a", 5)])
        await views.close()


async def test_after_the_end_nothing_is_written_and_nothing_raised(tmp_path: Path) -> None:
    views = Views(tmp_path / "views.db")
    await views.start([])
    await views.close()
    await views.close()
    await Snapshots(views).put_many([snapshot("counter/a", 5)])
    assert await Snapshots(views).get("counter/a") is None
