"""Verifying views: every table of every projection is compared with what the journal gives, and a row is named."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from loom import Loom
from loom.config import LoomConfig
from loom.extension import installed
from loom.journal.sqlite import JournalFiles
from loom.projections import Projection
from loom.projections.comparing import Difference, compare_tables
from loom.projections.verifying import VIEW_CODES, VIEW_DECLARED, ViewsVerification, verify_views
from loom.workspace import own_projections
from tests.golden.reading import ACTORS, GOLDEN, copied
from tests.projections.tampering import forgeries, tamper


def everything() -> list[Projection]:
    """Return all own projections and those of installed extensions."""
    return [*own_projections(), *(each for extension in installed().values() for each in extension.projections)]


async def folded(golden: Path, directory: Path) -> JournalFiles:
    """Copy a golden journal and have a loom with every extension fold its views."""
    journal = copied(golden, directory)
    config = LoomConfig(data=journal.parent.parent)
    async with Loom.open(
        config,
        workspace=journal.parent.name,
        actors=ACTORS,
        by="robin",
        resume=False,
        extensions=list(installed().values()),
    ) as loom:
        await loom.reached()
    return JournalFiles(journal)


@pytest.fixture(scope="module", params=GOLDEN, ids=lambda path: path.name)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> JournalFiles:
    return asyncio.run(folded(request.param, tmp_path_factory.mktemp("kept")))


@pytest.fixture
def files(kept: JournalFiles, tmp_path: Path) -> JournalFiles:
    place = tmp_path / kept.directory.name
    shutil.copytree(kept.directory, place)
    return JournalFiles(place / kept.journal.name)


async def verified(files: JournalFiles) -> ViewsVerification:
    return await verify_views(files, everything())


async def test_views_that_a_loom_folded_are_verified(files: JournalFiles) -> None:
    found = await verified(files)
    assert (found.findings, found.ok) == ([], True)
    with contextlib.closing(sqlite3.connect(files.views)) as views:
        of_sqlite = {name for (name,) in views.execute("SELECT name FROM sqlite_schema WHERE type = 'view'")}
    assert set(found.compared) == {each for projection in everything() for each in projection.tables} - of_sqlite
    assert sum(found.compared.values()) > 0
    assert found.verdict().startswith("VIEWS VERIFIED: ")


def test_every_change_to_any_table_is_found_and_named(files: JournalFiles) -> None:
    tables = [table for projection in everything() for table in projection.tables]
    found = 0
    with (
        contextlib.closing(sqlite3.connect(files.views)) as told,
        contextlib.closing(sqlite3.connect(":memory:")) as it,
    ):
        told.backup(it)
        for change in (each for table in tables for each in forgeries(files.views, table)):
            it.execute("SAVEPOINT before")
            with contextlib.suppress(sqlite3.IntegrityError):  # a row like it is there already
                assert it.execute(change.statement, change.parameters).rowcount == 1, str(change)
                [difference, _] = compare_tables(it, told, change.table)
                assert isinstance(difference, Difference)
                assert difference.code == change.code, str(change)
                assert change.column is None or change.column in difference.columns
                found += 1
            it.execute("ROLLBACK TO before")
    assert found > 50


async def test_a_row_that_was_changed_is_named_by_table_key_and_column(files: JournalFiles) -> None:
    with contextlib.closing(sqlite3.connect(files.views)) as views:
        first = views.execute("SELECT min(position) FROM trace_decisions").fetchone()[0]
    tamper(files.views, "UPDATE trace_decisions SET rationale = 'forged', effect = 'x' WHERE position = ?", [first])
    tamper(files.views, "DELETE FROM turns WHERE received_position = (SELECT min(received_position) FROM turns)")
    tamper(files.views, "INSERT INTO trace_versions VALUES ('forged', 'forged')")
    found = await verified(files)
    by_code = {each.code: each for each in found.findings}
    assert found.counts == {"DIFFERS": 1, "MISSING": 1, "INVENTED": 1}
    differs = by_code["DIFFERS"]
    assert (differs.projection, differs.table, differs.key, set(differs.columns)) == (
        "traces",
        "trace_decisions",
        str(first),
        {"rationale", "effect"},
    )
    assert differs.message.startswith(f"trace_decisions [{first}] in ")
    assert (by_code["MISSING"].table, by_code["INVENTED"].key) == ("turns", "forged")
    assert found.verdict().startswith("VIEWS NOT VERIFIED: 3 findings in ")


async def test_what_does_not_belong_into_the_file_is_found(files: JournalFiles) -> None:
    tamper(files.views, "CREATE TRIGGER forge AFTER INSERT ON trace_decisions BEGIN DELETE FROM trace_outcomes; END")
    tamper(files.views, "DROP INDEX trace_by_type")
    tamper(files.views, "ALTER TABLE approvals ADD COLUMN forged TEXT")
    tamper(files.views, "DROP TABLE enrichments")
    found = await verified(files)
    assert {each.message for each in found.findings if each.code == "SCHEMA_CHANGED"} == {
        "forge does not belong there",
        "trace_by_type is gone",
        "approvals was changed",
        "enrichments is gone",
        "enrichments_by_decision is gone",
    }


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE checkpoints SET position = position + 1000 WHERE name = 'traces'", "AHEAD"),
        ("UPDATE checkpoints SET entry_hash = x'00' WHERE name = 'traces'", "OF_ANOTHER_JOURNAL"),
        ("UPDATE checkpoints SET failed = 'ValueError: no' WHERE name = 'traces'", "STOPPED"),
        ("UPDATE checkpoints SET version = 99 WHERE name = 'traces'", "OUTDATED"),
        ("UPDATE checkpoints SET shape = 'x' WHERE name = 'traces'", "OUTDATED"),
        ("UPDATE checkpoints SET name = 'theirs' WHERE name = 'traces'", "UNKNOWN"),
    ],
)
async def test_where_a_projection_is_not_comparable_it_is_told_why(
    files: JournalFiles, statement: str, code: str
) -> None:
    assert tamper(files.views, statement) == 1
    found = await verified(files)
    assert code in VIEW_CODES
    assert found.counts[code] == 1
    assert found.ok == (code in VIEW_DECLARED)


async def test_views_that_lag_are_compared_at_their_position(files: JournalFiles) -> None:
    with contextlib.closing(sqlite3.connect(files.views)) as views:
        position = views.execute("SELECT max(position) FROM checkpoints").fetchone()[0]
    before = await verified(files)
    config = LoomConfig(data=files.directory.parent)
    async with Loom.open(config, workspace=files.directory.name, by="robin", resume=False) as loom:
        await loom.runs.start(run_id="later")
    found = await verified(files)
    assert before.position == position
    assert found.counts == {}


async def test_a_file_that_is_none_and_no_file_at_all(files: JournalFiles) -> None:
    for suffix in ("-wal", "-shm"):
        Path(f"{files.views}{suffix}").unlink(missing_ok=True)
    files.views.write_bytes(b"garbage" * 1_000)
    assert (await verified(files)).counts == {"DAMAGED": 1}
    files.views.unlink()
    nothing = await verified(files)
    assert (nothing.ok, nothing.compared) == (True, {})
