"""Two revisions in one run: what is made of their figures; and whether the floor writes what a turn writes."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import floor, listing, precedents, revisions
from benchmarks.against import MEASURES, aim_of, compared, table
from benchmarks.probe import PARTS, group_of
from benchmarks.turns import turns
from loom.journal.sqlite.verify import verify


def test_a_figure_is_shown_with_its_ratio_to_the_other_revision_and_whether_its_aim_is_met() -> None:
    here = {("turns", "cpu_us"): 400.0, ("turns", "per_second"): 2_000.0, ("calls", "calls"): 601.0}
    then = {("turns", "cpu_us"): 800.0, ("turns", "per_second"): 1_000.0, ("calls", "calls"): 1_171.0}

    shown = table(compared(here, then), then="bb54f79").splitlines()

    assert shown == [
        "| figure | here | bb54f79 | ratio | aim | met |",
        "|---|---:|---:|---:|---|---|",
        "| CPU of a turn at 256, all threads | 400 µs | 800 µs | 0.50 | ≤ 0.5 × | yes |",
        "| turns at 256 | 2,000 /s | 1,000 /s | 2.00 | ≥ 2.2 × | **no** |",
        "| Python calls of a turn at 256, all threads | 601 calls | 1,171 calls | 0.51 | ≤ 600 | **no** |",
    ]


def test_every_aim_can_be_read_and_every_part_is_one_that_is_measured() -> None:
    aims = [each.aim for each in MEASURES if each.aim is not None]
    assert [str(aim_of(each)) for each in aims] == aims
    assert {each.part for each in MEASURES} == set(PARTS)
    with pytest.raises(ValueError, match="expected"):
        aim_of("about 3")


def test_threads_are_known_by_their_names() -> None:
    names = ["MainThread", "loom-journal_0", "loom-views_0", "loom-reader"]
    assert [group_of(each) for each in names] == ["loop", "writer", "views", "readers"]


def test_a_revision_that_cannot_be_installed_runs_with_the_packages_here_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, environment: Path) -> None:
        raise subprocess.CalledProcessError(1, ["pip"], stderr=b"looking\nno route to the registry\n")

    monkeypatch.setattr(revisions, "_KEPT", tmp_path)
    monkeypatch.setattr(revisions, "_git", lambda *_: b"f" * 40)
    monkeypatch.setattr(revisions, "_check_out", lambda commit, source: source.mkdir(parents=True))
    monkeypatch.setattr(revisions, "_install", refuse)

    revision = revisions.made("some-branch")

    assert revision.python == revisions.here().python
    assert revision.environment()["PYTHONPATH"] == str(tmp_path / ("f" * 40) / "source")
    assert revision.note is not None
    assert "no route to the registry" in revision.note
    monkeypatch.setattr(revisions, "_install", lambda source, environment: None)
    assert revisions.made("some-branch").python == tmp_path / ("f" * 40) / "environment" / "bin" / "python"


async def test_the_floor_writes_what_a_turn_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("benchmarks.floor", "benchmarks.turns"):
        monkeypatch.setattr(f"{module}.calm_collector", lambda: None)
    await floor.turns_per_second(tmp_path / "floor.db", in_flight=2, count=2)
    await turns(tmp_path / "turns.db", in_flight=2, count=2)

    assert written(tmp_path / "floor.db") == written(tmp_path / "turns.db")


def written(path: Path) -> list[object]:
    """Return kind, schema and form of the body of each entry that one actor wrote."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT kind, schema_version, body, body_scheme FROM entries WHERE journal = 'bench-agent/agent-1'"
        ).fetchall()
    return [(kind, schema, form(json.loads(body)), scheme) for kind, schema, body, scheme in rows]


def form(value: object) -> object:
    """Return a value as its names and types."""
    if isinstance(value, dict):
        return {name: form(each) for name, each in value.items()}
    return [form(each) for each in value] if isinstance(value, list) else type(value).__name__


async def test_what_is_listed_and_found_among_many_is_laid_down_as_it_would_be_written(tmp_path: Path) -> None:
    found = await precedents.lookups(tmp_path, decisions=40, count=1)
    assert min(map(len, found.values())) == 1
    await listing.lay_down(tmp_path / "listed.db", decisions=60)
    taken = await listing.costs_s(tmp_path / "listed.db", tries=1)
    assert len(taken) > 15
    verified = verify(tmp_path / "listed.db")
    assert verified.ok
