"""The one connection that writes the views: what it makes of a file, of a page, and of a projection that raises."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from loom.journal import Recorded
from loom.projections import Projection
from loom.projections.projection import Checkpoint
from loom.projections.writer import APPLICATION_ID, ViewsWriter, identify
from tests.projections.journals import command, request
from tests.projections.test_rebuild import record


@cache
def entries() -> Sequence[Recorded]:
    """Eight entries of a real journal: commands at odd positions, requests at even ones."""
    with tempfile.TemporaryDirectory() as name:
        happenings = [("a/1", f"t{turn}", entry) for turn in range(4) for entry in (command(), request("x"))]
        return tuple(asyncio.run(record(Path(name), happenings)))


class Seen:
    """Keeps the position of each entry; raises at one, with an error of its own or of SQLite's."""

    version = 1
    kinds: frozenset[str] | None = None

    def __init__(self, name: str = "seen", *, fails_at: int = 0, error: Exception | None = None) -> None:
        self.name = name
        self.tables: tuple[str, ...] = (name,)
        self.schema = f"CREATE TABLE {name} (position INTEGER PRIMARY KEY) STRICT;"
        self.fails_at = fails_at
        self.error = error or ValueError("cannot go on")

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        if recorded.position == self.fails_at:
            raise self.error
        view.execute(f"INSERT INTO {self.name} VALUES (?)", (recorded.position,))


class Paged(Seen):
    """Takes pages; writes down which it was given, and which entries came singly."""

    def __init__(self, name: str = "paged", **given: object) -> None:
        super().__init__(name, **given)  # type: ignore[arg-type]
        self.pages: list[list[int]] = []
        self.singly: list[int] = []

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        self.singly.append(recorded.position)
        super().apply(recorded, view)

    def apply_page(self, page: Sequence[Recorded], view: sqlite3.Connection) -> None:
        self.pages.append([each.position for each in page])
        for each in page:
            Seen.apply(self, each, view)


class Commands(Seen):
    kinds = frozenset({"command_received"})


class PagedCommands(Paged):
    kinds = frozenset({"command_received"})


def of_disk(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("planned")
    error.sqlite_errorcode = code
    return error


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.views.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[..., ViewsWriter]]:
    with contextlib.ExitStack() as stack:

        def opened(*projections: Projection, **given: float) -> ViewsWriter:
            writer = ViewsWriter(path, projections, **given)
            stack.callback(writer.close)
            writer.open()
            return writer

        yield opened


def rows(path: Path, table: str = "seen") -> list[int]:
    with contextlib.closing(sqlite3.connect(path)) as views:
        return [row[0] for row in views.execute(f"SELECT position FROM {table} ORDER BY position")]


def kept(path: Path) -> dict[str, tuple[int, bytes, str | None]]:
    """Return what the file says of each projection: position, hash of the entry there, why it stopped."""
    with contextlib.closing(sqlite3.connect(path)) as views:
        found = views.execute("SELECT name, position, entry_hash, failed FROM checkpoints").fetchall()
    return {name: (position, entry_hash, failed) for name, position, entry_hash, failed in found}


# --- the file -----------------------------------------------------------------------------------


def test_a_new_file_says_what_it_is_and_is_for_its_owner_only(path: Path, opened: Callable[..., ViewsWriter]) -> None:
    writer = opened(Seen())
    writer.apply(entries()[:1])
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {path.name: 0o600, f"{path.name}-wal": 0o600, f"{path.name}-shm": 0o600}
    with contextlib.closing(sqlite3.connect(path)) as views:
        assert views.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,) == (0x4C4F4F56,)
        assert views.execute("PRAGMA user_version").fetchone() == (1,)
        assert views.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_connection_is_one_that_trusts_no_schema_and_waits_as_long_as_it_was_asked(
    opened: Callable[..., ViewsWriter],
) -> None:
    def found(writer: ViewsWriter) -> dict[str, object]:
        names = ("busy_timeout", "synchronous", "trusted_schema", "temp_store", "wal_autocheckpoint", "cache_size")
        return writer.write(lambda view: {name: view.execute(f"PRAGMA {name}").fetchone()[0] for name in names})

    waits = {"synchronous": 1, "trusted_schema": 0, "temp_store": 2, "wal_autocheckpoint": 4_000, "cache_size": -32_768}
    assert found(opened(Seen())) == {"busy_timeout": 10_000, **waits}
    assert found(opened(Seen(), busy_timeout_s=0.5)) == {"busy_timeout": 500, **waits}


def test_files_that_an_earlier_loom_left_readable_are_for_their_owner_afterwards(
    path: Path, opened: Callable[..., ViewsWriter]
) -> None:
    with contextlib.closing(sqlite3.connect(path)) as held:
        held.execute("PRAGMA journal_mode = WAL")
        held.execute("PRAGMA user_version = 0")
        files = [path, Path(f"{path}-wal"), Path(f"{path}-shm")]
        for file in files:
            file.touch()
            file.chmod(0o644)
        opened(Seen())
        assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3


def test_a_database_of_another_program_or_of_a_newer_format_is_put_aside_and_the_log_says_why(
    path: Path, opened: Callable[..., ViewsWriter], caplog: pytest.LogCaptureFixture
) -> None:
    for application, version in ((1, 0), (0, 1), (APPLICATION_ID, 2), (APPLICATION_ID, 0)):
        path.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute(f"PRAGMA application_id = {application}")
            other.execute(f"PRAGMA user_version = {version}")
        caplog.clear()
        writer = opened(Seen())
        assert f"application id {application:#x}, format {version}" in caplog.text
        assert re.search(r"\bviews_begun_anew\b", caplog.text)
        assert str(path) in caplog.text
        writer.close()
        assert list(kept(path)) == ["seen"]
    assert Path(f"{path}.unreadable").exists()


def test_what_was_put_aside_is_replaced_and_the_log_of_a_lost_file_goes_with_it(
    path: Path, opened: Callable[..., ViewsWriter]
) -> None:
    Path(f"{path}.unreadable").write_bytes(b"an earlier one")
    path.write_bytes(b"no database at all" * 500)
    Path(f"{path}-wal").write_bytes(b"stale")
    Path(f"{path}-shm").write_bytes(b"stale")
    writer = opened(Seen())
    assert writer.apply(entries())["seen"].position == 8
    writer.close()
    assert Path(f"{path}.unreadable").read_bytes() == b"no database at all" * 500
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.unreadable"]


def test_a_disk_that_refuses_the_file_is_no_reason_to_put_it_aside(path: Path) -> None:
    path.mkdir()
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        ViewsWriter(path, [Seen()]).open()
    path.rmdir()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            ViewsWriter(path, [Seen()], busy_timeout_s=0.01).open()
        other.execute("ROLLBACK")
    assert not Path(f"{path}.unreadable").exists()


def test_a_start_that_fails_leaves_nothing_of_its_transaction(path: Path, opened: Callable[..., ViewsWriter]) -> None:
    class Wrong(Seen):
        def __init__(self) -> None:
            super().__init__("wrong")
            self.schema = "CREATE TABLE wrong (position INTEGER); CREATE NONSENSE;"

    with pytest.raises(sqlite3.OperationalError, match="NONSENSE") as wrong:
        ViewsWriter(path, [Seen(), Wrong()]).open()
    assert not Path(f"{path}-wal").exists(), f"the connection is closed with {wrong} kept"
    with contextlib.closing(sqlite3.connect(path)) as views:
        assert views.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
    assert opened(Seen()).apply(entries())["seen"].position == 8


def test_a_file_that_was_deleted_or_replaced_is_found_out_by_the_next_page(
    path: Path, opened: Callable[..., ViewsWriter]
) -> None:
    writer = opened(Seen())
    first = identify(path)
    assert first == (path.stat().st_dev, path.stat().st_ino)
    writer.apply(entries()[:3])
    path.unlink()
    assert identify(path) is None
    assert writer.apply(entries()[3:])["seen"].position == 0, "the new file begins with the first entry"
    assert writer.apply(entries())["seen"].position == 8
    assert rows(path) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_log_of_a_deleted_file_is_not_read_into_the_new_one(path: Path, opened: Callable[..., ViewsWriter]) -> None:
    writer = opened(Seen())
    writer.apply(entries()[:3])
    with contextlib.closing(sqlite3.connect(path)) as reader:  # it keeps the log from being folded away
        assert reader.execute("SELECT count(*) FROM seen").fetchone() == (3,)
        path.unlink()
        assert writer.apply(entries()[3:])["seen"].position == 0
        assert rows(path) == []


def test_repair_begins_again_where_the_file_is_another_or_was_found_damaged_and_else_leaves_it(
    path: Path, opened: Callable[..., ViewsWriter]
) -> None:
    writer = opened(Seen())
    writer.apply(entries()[:3])
    ours = identify(path)
    assert writer.repair()["seen"].position == 3
    assert writer.repair((1, 1))["seen"].position == 3
    assert identify(path) == ours
    assert writer.repair(ours)["seen"].position == 0
    assert rows(path) == []
    writer.apply(entries()[:3])
    path.unlink()
    assert writer.repair()["seen"].position == 0
    assert rows(path) == []


def test_damage_that_a_page_meets_begins_the_file_again(path: Path, opened: Callable[..., ViewsWriter]) -> None:
    broken = Seen()
    writer = opened(broken, Seen("other"))
    writer.apply(entries()[:2])
    broken.fails_at, broken.error = 4, of_disk(sqlite3.SQLITE_CORRUPT)
    assert {name: each.position for name, each in writer.apply(entries()[2:]).items()} == {"seen": 0, "other": 0}
    assert Path(f"{path}.unreadable").exists()
    broken.fails_at = 0
    assert {each.position for each in writer.apply(entries()).values()} == {8}


@pytest.mark.parametrize("kind", [Seen, Paged])
def test_a_disk_that_is_full_stops_no_projection_and_the_page_is_taken_later(
    path: Path, opened: Callable[..., ViewsWriter], kind: type[Seen]
) -> None:
    full = kind("seen", fails_at=4, error=of_disk(sqlite3.SQLITE_FULL))
    writer = opened(Seen("first"), full)
    writer.apply(entries()[:2])
    with pytest.raises(sqlite3.OperationalError, match="planned"):
        writer.apply(entries()[2:])
    assert not Path(f"{path}.unreadable").exists()
    assert (rows(path, "first"), rows(path)) == ([1, 2], [1, 2])
    full.fails_at = 0
    moved = writer.apply(entries()[2:])
    assert [(each.position, each.failed) for each in moved.values()] == [(8, None), (8, None)]


def test_a_page_that_met_a_full_disk_is_not_tried_singly(path: Path, opened: Callable[..., ViewsWriter]) -> None:
    class Full(Paged):
        def apply_page(self, page: Sequence[Recorded], view: sqlite3.Connection) -> None:
            raise of_disk(sqlite3.SQLITE_FULL)

    full = Full("full")
    writer = opened(full)
    with pytest.raises(sqlite3.OperationalError, match="planned"):
        writer.apply(entries())
    assert full.singly == []


def test_closing_analyses_few_rows_of_each_table_and_closing_again_is_harmless(
    path: Path, opened: Callable[..., ViewsWriter]
) -> None:
    writer = opened(Seen())
    said: list[str] = []
    writer.write(lambda view: view.set_trace_callback(said.append))
    said.clear()
    writer.close()
    asked = [statement for statement in said if statement.startswith("PRAGMA")]
    assert asked[:2] == ["PRAGMA analysis_limit = 400", "PRAGMA optimize"]
    writer.close()
    assert not Path(f"{path}-wal").exists(), "the last connection folds its log away"


def test_a_writer_that_was_closed_opens_the_file_again_when_it_is_used(
    path: Path, opened: Callable[..., ViewsWriter]
) -> None:
    writer = opened(Seen())
    writer.apply(entries()[:2])
    writer.close()
    assert writer.apply(entries()[2:])["seen"].position == 8
    assert rows(path) == [1, 2, 3, 4, 5, 6, 7, 8]


# --- versions and shapes ------------------------------------------------------------------------


def test_a_projection_goes_on_where_it_was_and_one_of_another_version_or_shape_begins_empty(
    path: Path, opened: Callable[..., ViewsWriter]
) -> None:
    opened(Seen()).apply(entries()[:3])
    last = entries()[2]
    writer = ViewsWriter(path, [Seen()])
    assert writer.open() == {"seen": Checkpoint("seen", 1, 3, last.entry_hash)}
    writer.close()
    newer = Seen()
    newer.version = 2
    writer = ViewsWriter(path, [newer])
    assert writer.open() == {"seen": Checkpoint("seen", 2, 0, b"")}
    assert writer.apply(entries()[:3])["seen"] == Checkpoint("seen", 2, 3, last.entry_hash)
    writer.close()
    newer.schema += " CREATE INDEX seen_backwards ON seen (position DESC);"
    writer = ViewsWriter(path, [newer])
    assert writer.open() == {"seen": Checkpoint("seen", 2, 0, b"")}
    writer.close()
    assert rows(path) == []


def test_tables_and_views_of_an_earlier_version_are_dropped_even_if_a_name_changed_its_sort(
    path: Path, opened: Callable[..., ViewsWriter]
) -> None:
    earlier = Seen()
    earlier.tables = ("seen", "shown", "gone")
    earlier.schema += " CREATE VIEW shown AS SELECT * FROM seen; CREATE TABLE gone (x);"
    opened(earlier).close()
    later = Seen()
    later.tables = ("seen", "shown")
    later.schema += ' CREATE TABLE shown (x); CREATE VIEW "odd name" AS SELECT 1;'
    later.tables = (*later.tables, "odd name")
    opened(later).close()
    opened(later).reset(["seen"])
    with contextlib.closing(sqlite3.connect(path)) as views:
        found = dict(views.execute("SELECT name, type FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"))
    assert {name: found.get(name) for name in ("seen", "shown", "gone", "odd name")} == {
        "seen": "table",
        "shown": "table",
        "gone": None,
        "odd name": "view",
    }


def test_a_reset_empties_the_projections_that_are_named_and_no_other(
    path: Path, opened: Callable[..., ViewsWriter]
) -> None:
    writer = opened(Seen(), Seen("other"))
    writer.apply(entries())
    found = writer.reset(["other"])
    assert {name: each.position for name, each in found.items()} == {"seen": 8, "other": 0}
    assert (rows(path), rows(path, "other")) == ([1, 2, 3, 4, 5, 6, 7, 8], [])
    assert {name: each.position for name, each in writer.apply(entries()).items()} == {"seen": 8, "other": 8}
    assert (rows(path), rows(path, "other")) == ([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8])


# --- pages --------------------------------------------------------------------------------------


def test_a_page_is_taken_by_what_is_new_in_it_and_not_at_all_where_it_leaves_a_gap(
    path: Path, opened: Callable[..., ViewsWriter]
) -> None:
    writer = opened(Seen())
    for first, until, position in ((1, 3, 0), (0, 0, 0), (0, 2, 2), (0, 2, 2), (1, 4, 4), (5, 8, 4), (4, 5, 5)):
        found = writer.apply(entries()[first:until])["seen"]
        assert (found.position, found.entry_hash) == (position, entries()[position - 1].entry_hash if position else b"")
        assert kept(path)["seen"] == (position, found.entry_hash, None)
    assert rows(path) == [1, 2, 3, 4, 5]


def test_a_projection_is_given_the_kinds_that_it_asks_for_singly_or_by_the_page(
    path: Path, opened: Callable[..., ViewsWriter]
) -> None:
    paged, all_of_them = PagedCommands("paged"), Paged("all_of_them")
    writer = opened(Commands("single"), paged, all_of_them)
    writer.apply(entries()[:1])
    writer.apply(entries()[1:2])
    writer.apply(entries()[2:])
    assert rows(path, "single") == rows(path, "paged") == [1, 3, 5, 7]
    assert (paged.pages, paged.singly) == ([[1], [3, 5, 7]], []), "a page without one of its kinds is not given"
    assert (all_of_them.pages, all_of_them.singly) == ([[1], [2], [3, 4, 5, 6, 7, 8]], [])
    assert {position for position, _, _ in kept(path).values()} == {8}


@pytest.mark.parametrize("kind", [Seen, Paged])
@pytest.mark.parametrize("fails_at", [1, 4, 8])
def test_a_projection_that_raises_keeps_the_entries_before_and_stops_alone(
    path: Path,
    opened: Callable[..., ViewsWriter],
    caplog: pytest.LogCaptureFixture,
    kind: type[Seen],
    fails_at: int,
) -> None:
    failing = kind("failing", fails_at=fails_at)
    writer = opened(Seen("before"), failing, Paged("after"))
    found = writer.apply(entries())
    why = f"ValueError: cannot go on (at position {fails_at}, kind {entries()[fails_at - 1].kind})"
    last = entries()[fails_at - 2].entry_hash if fails_at > 1 else b""
    assert found["failing"] == Checkpoint("failing", 1, fails_at - 1, last, why)
    assert [(found[name].position, found[name].failed) for name in ("before", "after")] == [(8, None), (8, None)]
    assert kept(path)["failing"] == (fails_at - 1, last, why)
    assert rows(path, "failing") == list(range(1, fails_at))
    assert rows(path, "before") == rows(path, "after") == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(re.findall(r"\bprojection_failed\b", caplog.text)) == 1
    assert why in caplog.text
    failing.fails_at = 0
    assert writer.apply(entries())["failing"].position == fails_at - 1, "it stays where it stopped"
    assert kept(path)["failing"][2] == why
    opened(failing)
    assert kept(path)["failing"][2] is None, "nothing has stopped it since the file was opened"
    assert opened(failing).apply(entries()[fails_at - 1 :])["failing"] == Checkpoint(
        "failing", 1, 8, entries()[7].entry_hash
    ), "and tries again when the file is opened again"


def test_only_the_projection_whose_page_raised_is_folded_singly(path: Path, opened: Callable[..., ViewsWriter]) -> None:
    failing, other = Paged("failing", fails_at=3), Paged("other")
    writer = opened(other, failing)
    writer.apply(entries())
    assert failing.singly == [1, 2, 3, 1, 2]
    assert other.singly == []
    assert rows(path, "other") == [1, 2, 3, 4, 5, 6, 7, 8]


def test_an_entry_that_a_page_refuses_and_single_folding_does_not_stops_nothing(
    path: Path, opened: Callable[..., ViewsWriter]
) -> None:
    class Moody(Paged):
        def apply_page(self, page: Sequence[Recorded], view: sqlite3.Connection) -> None:
            raise ValueError("no pages today")

    writer = opened(Moody("moody"))
    assert writer.apply(entries())["moody"] == Checkpoint("moody", 1, 8, entries()[7].entry_hash)
    assert rows(path, "moody") == [1, 2, 3, 4, 5, 6, 7, 8]


def test_two_projections_that_raise_stop_each_at_its_own_entry(path: Path, opened: Callable[..., ViewsWriter]) -> None:
    writer = opened(Seen("one", fails_at=6), Paged("two", fails_at=3), Seen("three"))
    assert {name: each.position for name, each in writer.apply(entries()).items()} == {"one": 5, "two": 2, "three": 8}
    assert (rows(path, "one"), rows(path, "two")) == ([1, 2, 3, 4, 5], [1, 2])


# --- other work ---------------------------------------------------------------------------------


def test_other_work_is_one_transaction_whole_or_not_at_all(path: Path, opened: Callable[..., ViewsWriter]) -> None:
    writer = opened(Seen())

    def half(view: sqlite3.Connection) -> None:
        view.execute("INSERT INTO seen VALUES (100)")
        assert view.in_transaction
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.write(half)
    assert rows(path) == []
    assert writer.write(lambda view: view.execute("INSERT INTO seen VALUES (7) RETURNING position").fetchone()) == (7,)
    assert rows(path) == [7]


def test_work_that_lost_its_transaction_raises_its_own_error(path: Path, opened: Callable[..., ViewsWriter]) -> None:
    writer = opened(Seen())

    def ended(view: sqlite3.Connection) -> None:
        view.execute("ROLLBACK")
        raise LookupError("its own")

    with pytest.raises(LookupError, match="its own"):
        writer.write(ended)
    assert writer.apply(entries())["seen"].position == 8


def test_a_file_that_another_program_holds_locked_is_waited_for_and_then_refused(
    path: Path, opened: Callable[..., ViewsWriter]
) -> None:
    writer = opened(Seen(), busy_timeout_s=0.01)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            writer.apply(entries())
        other.execute("ROLLBACK")
    assert not os.path.exists(f"{path}.unreadable")
    assert writer.apply(entries())["seen"].position == 8
