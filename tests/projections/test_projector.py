"""The projector keeps views at the last acknowledged entry, whatever happens to file, journal or projections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from loom.decisions import DecisionJournalEntry, TracesProjection
from loom.errors import ProjectionFailedError, ProjectionLagError
from loom.journal import KINDS, Recorded
from loom.journal.sqlite import SqliteStore
from loom.precedents import PrecedentsProjection
from loom.projections import Projection, Projector, Queries, Views, source
from loom.projections import projector as projector_module
from loom.projections.writer import Checkpoints, ViewsWriter
from tests.projections.journals import command, decision, open_store, request, write

COUNT = "SELECT count(*) AS n FROM seen"


class Seen:
    """Writes down which positions it was given; raises where it is told to."""

    kinds: frozenset[str] | None = None
    schema = "CREATE TABLE seen (position INTEGER PRIMARY KEY, kind TEXT NOT NULL) STRICT;"
    tables = ("seen",)

    def __init__(self, *, name: str = "seen", version: int = 1, fails_at: int | None = None) -> None:
        self.name = name
        self.version = version
        self.fails_at = fails_at

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        if recorded.position == self.fails_at:
            raise ValueError("cannot go on")
        view.execute("INSERT INTO seen VALUES (?, ?)", (recorded.position, recorded.kind))


class Also(Seen):
    schema = Seen.schema.replace("seen", "also_seen")
    tables = ("also_seen",)

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        view.execute("INSERT INTO also_seen VALUES (?, ?)", (recorded.position, recorded.kind))


class Numbered(Seen):
    """One of several, with a table of its own."""

    def __init__(self, number: int) -> None:
        super().__init__(name=f"view{number}")
        self.schema = Seen.schema.replace("seen", f"seen{number}")
        self.tables = (f"seen{number}",)
        self._insert = f"INSERT INTO seen{number} VALUES (?, ?)"

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        view.execute(self._insert, (recorded.position, recorded.kind))


@contextlib.asynccontextmanager
async def following(
    store: SqliteStore, *projections: Projection, batch: int = 3, timeout_s: float = 10.0
) -> AsyncIterator[tuple[Projector, Queries]]:
    views = Views(store.files.views)
    projector = Projector(store, views, projections, batch=batch)
    await projector.start()
    try:
        yield projector, Queries(views, projector, timeout_s=timeout_s)
    finally:
        await projector.close()
        await views.close()


async def count(queries: Queries) -> int:
    return int((await queries.fetch(COUNT, names=("seen",)))[0]["n"])


def remove(directory: Path, pattern: str) -> None:
    for file in directory.glob(pattern):
        file.unlink()


def set_aside(store: SqliteStore) -> bytes:
    return Path(f"{store.files.views}.unreadable").read_bytes()


async def fill(store: SqliteStore, entries: int, journal: str = "actor/a") -> None:
    for _ in range(entries):
        await write(store, journal, request("x"))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await open_store(tmp_path)
    yield store
    await store.close()


async def test_a_query_waits_for_what_was_acknowledged_before_it(store: SqliteStore) -> None:
    async with following(store, Seen()) as (projector, queries):
        for entries in (1, 5, 2):
            await fill(store, entries)
            assert await count(queries) == store.acknowledged
    assert [status.lag for status in projector.status()] == [0]


async def test_a_projection_sees_only_the_kinds_it_asked_for(store: SqliteStore) -> None:
    class Commands(Seen):
        kinds = frozenset({"command_received"})

    await write(store, "actor/a", command(), request("x"), command_id="1")
    async with following(store, Commands()) as (projector, queries):
        rows = await queries.fetch("SELECT kind FROM seen", names=("seen",))
        assert [row["kind"] for row in rows] == ["command_received"]
        assert projector.status()[0].position == 2


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
async def test_a_projection_that_raises_stops_alone_before_the_entry_it_raised_on(
    store: SqliteStore, batch: int
) -> None:
    await fill(store, 8)
    async with following(store, Seen(fails_at=6), Also(name="also"), batch=batch) as (projector, queries):
        assert len(await queries.fetch("SELECT * FROM also_seen", names=("also",))) == 8
        with pytest.raises(ProjectionFailedError, match=r"stopped after position \[5\].*cannot go on.*position 6"):
            await queries.fetch(COUNT, names=("seen",))
        with pytest.raises(ProjectionFailedError):
            await queries.fetch(COUNT, names=("seen",), consistent=False)
        also, seen = projector.status()
        assert (also.position, also.failed) == (8, None)
        assert (seen.position, seen.lag) == (5, 3)
        assert seen.failed is not None
        await fill(store, 1)
        assert len(await queries.fetch("SELECT * FROM also_seen", names=("also",))) == 9
    with contextlib.closing(sqlite3.connect(store.files.views)) as views:
        assert [row[0] for row in views.execute("SELECT position FROM seen")] == [1, 2, 3, 4, 5]


async def test_a_projection_that_never_fails_in_the_same_place_keeps_nothing_of_the_page(store: SqliteStore) -> None:
    class Moody(Seen):
        calls = 0

        def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
            self.calls += 1
            if self.calls in (4, 6):
                raise ValueError("in a mood")
            super().apply(recorded, view)

    await fill(store, 8)
    async with following(store, Moody(), Also(name="also"), batch=100) as (projector, queries):
        assert len(await queries.fetch("SELECT * FROM also_seen", names=("also",))) == 8
        assert [status.position for status in projector.status()] == [8, 0]


async def test_a_failed_projection_tries_again_at_the_next_start(store: SqliteStore) -> None:
    await fill(store, 4)
    async with following(store, Seen(fails_at=3)) as (_, queries):
        with pytest.raises(ProjectionFailedError):
            await count(queries)
    async with following(store, Seen()) as (_, queries):
        assert await count(queries) == 4


async def test_a_failed_projection_can_be_rebuilt(store: SqliteStore) -> None:
    projection = Seen(fails_at=3)
    await fill(store, 4)
    async with following(store, projection) as (projector, queries):
        with pytest.raises(ProjectionFailedError):
            await projector.rebuild()
        projection.fails_at = None
        await projector.rebuild(["seen"])
        assert await count(queries) == 4


async def test_waiting_is_bounded_and_says_how_far_a_projection_is(store: SqliteStore) -> None:
    async with following(store, Seen()) as (projector, _):
        await fill(store, 2)
        with pytest.raises(ProjectionLagError, match=r"is at position \[2\] after \[0.05\] seconds; expected \[99\]"):
            await projector.reached(99, timeout_s=0.05)


async def test_a_cancelled_wait_leaves_the_projector_going(store: SqliteStore) -> None:
    async with following(store, Seen()) as (projector, queries):
        waiting = asyncio.ensure_future(projector.reached(99))
        await asyncio.sleep(0)
        waiting.cancel()
        await fill(store, 3)
        assert await count(queries) == 3


async def test_a_projection_that_nobody_registered_is_named(store: SqliteStore) -> None:
    async with following(store, Seen()) as (_, queries):
        with pytest.raises(ProjectionFailedError, match=r"\[other\] is not known; expected one of \[seen\]"):
            await queries.fetch("SELECT 1", names=("other",))


async def test_two_projections_of_one_name_are_refused(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(ProjectionFailedError, match="twice"):
        Projector(store, Views(tmp_path / "v.db"), [Seen(), Seen()])


@pytest.mark.parametrize("change", ["version", "schema", "unknown"])
async def test_another_version_or_shape_starts_from_the_first_entry(store: SqliteStore, change: str) -> None:
    await fill(store, 3)
    async with following(store, Seen(), Also(name="also")) as (_, queries):
        await count(queries)
    with contextlib.closing(sqlite3.connect(store.files.views)) as views, views:
        views.execute("DELETE FROM seen")
        views.execute("DELETE FROM also_seen")
        if change == "unknown":
            views.execute("DELETE FROM checkpoints WHERE name = 'seen'")

    class Wider(Seen):
        schema = Seen.schema + "CREATE INDEX seen_by_kind ON seen (kind);"

    projection = {"version": Seen(version=2), "schema": Wider(), "unknown": Seen()}[change]
    async with following(store, projection, Also(name="also")) as (_, queries):
        assert await count(queries) == 3
        assert await queries.fetch("SELECT * FROM also_seen", names=("also",)) == []


async def test_tables_of_an_earlier_version_go_with_it(store: SqliteStore) -> None:
    async with following(store, Also(name="seen")) as (projector, _):
        await projector.caught_up()
    async with following(store, Seen(version=2)) as (_, queries):
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await queries.fetch("SELECT * FROM also_seen", names=("seen",))


async def test_views_of_a_journal_that_was_restored_from_a_backup_are_built_anew(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await fill(store, 3)
    await store.close()
    shutil.copy(tmp_path / "journal.db", tmp_path / "backup.db")
    store = await open_store(tmp_path)
    await fill(store, 4)
    async with following(store, Seen()) as (_, queries):
        assert await count(queries) == 7
    await store.close()

    remove(tmp_path, "journal.[dh]*")
    shutil.copy(tmp_path / "backup.db", tmp_path / "journal.db")
    store = await open_store(tmp_path)
    await write(store, "actor/b", *(command(), command(), command(), command(), command()), command_id=None)
    async with following(store, Seen()) as (_, queries):
        rows = await queries.fetch("SELECT kind FROM seen ORDER BY position", names=("seen",))
        assert [row["kind"] for row in rows] == ["approval_requested"] * 3 + ["command_received"] * 5
    await store.close()


async def test_views_that_are_ahead_of_the_journal_are_built_anew(tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await fill(store, 5)
    async with following(store, Seen()) as (_, queries):
        assert await count(queries) == 5
    await store.close()
    remove(tmp_path, "journal.[dh]*")
    store = await open_store(tmp_path)
    await fill(store, 2)
    async with following(store, Seen()) as (_, queries):
        assert await count(queries) == 2
    await store.close()


async def test_a_views_file_deleted_while_it_is_open_is_written_anew(store: SqliteStore) -> None:
    async with following(store, Seen()) as (_, queries):
        await fill(store, 4)
        assert await count(queries) == 4
        store.files.views.unlink()
        assert await count(queries) == 4
        store.files.views.unlink()
        await fill(store, 1)
        assert await count(queries) == 5
        assert store.files.views.exists()


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database at all " * 500)


def _foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE theirs (x)")


def _torn(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as views:
        views.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize("spoil", [_garbage, _foreign, _torn, _newer])
async def test_what_is_no_sound_views_file_is_set_aside(store: SqliteStore, spoil: object) -> None:
    assert callable(spoil)
    await fill(store, 200)
    async with following(store, Seen(), batch=50) as (_, queries):
        assert await count(queries) == 200
    if spoil is _foreign:
        store.files.views.unlink()
    spoil(store.files.views)
    spoiled = store.files.views.read_bytes()
    async with following(store, Seen(), batch=50) as (_, queries):
        assert await count(queries) == 200
    assert set_aside(store)[:100] == spoiled[:100]


async def test_rebuilding_shows_how_far_it_is(store: SqliteStore) -> None:
    await fill(store, 10)
    shown: list[tuple[int, int]] = []
    async with following(store, Seen(), batch=3) as (projector, queries):
        await count(queries)
        await projector.rebuild(progress=lambda done, total: shown.append((done, total)))
        assert await count(queries) == 10
    assert shown[0][0] == 0
    assert shown[-1] == (10, 10)
    assert [done for done, _ in shown] == sorted(done for done, _ in shown)


async def test_one_projection_that_is_rebuilt_does_not_hold_up_the_others(store: SqliteStore) -> None:
    await fill(store, 30)
    order: list[str] = []

    class Noted(Seen):
        def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
            order.append("rebuilt")
            super().apply(recorded, view)

    class AlsoNoted(Also):
        def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
            order.append("live")
            super().apply(recorded, view)

    async with following(store, AlsoNoted(name="also")) as (projector, _):
        await projector.caught_up()
    await fill(store, 3)
    order.clear()
    async with following(store, Noted(), AlsoNoted(name="also")) as (projector, _):
        await projector.caught_up()
    assert order.index("live") == 0
    assert max(index for index, what in enumerate(order) if what == "live") < order.index("rebuilt") + 30


async def test_a_disk_that_refuses_is_reported_and_tried_again(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(store, Seen()) as (projector, queries):
        await fill(store, 2)
        assert await count(queries) == 2
        apply = Views.apply

        async def refused(self: Views, entries: Sequence[Recorded]) -> object:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        monkeypatch.setattr(Views, "apply", refused)
        await fill(store, 1)
        with pytest.raises(ProjectionFailedError, match="disk is full"):
            await count(queries)
        monkeypatch.setattr(Views, "apply", apply)
        assert await count(queries) == 3
        assert [status.failed for status in projector.status()] == [None]


async def test_a_disk_that_refuses_at_the_start_is_an_error_of_loom(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: ViewsWriter) -> object:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ViewsWriter, "open", refused)
    with pytest.raises(ProjectionFailedError, match=r"views \[.*\] cannot be opened for writing \[.*disk is full"):
        async with following(store, Seen()):
            pass
    monkeypatch.undo()
    async with following(store, Seen()) as (projector, _):
        assert [status.failed for status in projector.status()] == [None]


async def test_reading_after_the_end_says_so(store: SqliteStore) -> None:
    async with following(store, Seen()) as (projector, _):
        await fill(store, 1)
        await projector.caught_up()
    await fill(store, 1)
    with pytest.raises(ProjectionFailedError, match="projector is closed"):
        await projector.reached(2)


async def test_closing_one_that_never_started_or_is_closed_changes_nothing(store: SqliteStore) -> None:
    views = Views(store.files.views)
    await Projector(store, views, (Seen(),)).close()
    assert not store.files.views.exists()
    projector = Projector(store, views, (Seen(),))
    await projector.start()
    await fill(store, 1)
    await projector.close()
    await fill(store, 1)
    await projector.close()
    assert [(each.position, each.failed) for each in projector.status()] == [(1, None)]
    await views.close()


async def pages_of(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, *projections: Projection, batch: int
) -> list[tuple[int, int]]:
    """Return the first and last position of each page that was folded until projections held all."""
    pages: list[tuple[int, int]] = []
    apply = Views.apply

    async def noted(self: Views, entries: Sequence[Recorded]) -> Checkpoints:
        pages.append((entries[0].position, entries[-1].position))
        return await apply(self, entries)

    with monkeypatch.context() as watched:
        watched.setattr(Views, "apply", noted)
        async with following(store, *projections, batch=batch) as (projector, queries):
            await projector.caught_up()
            assert await count(queries) == store.acknowledged
    return pages


async def test_a_page_is_bounded_in_entries_and_in_bytes_and_has_one_entry_at_least(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, 4)
    [size] = {len(each.body or b"") async for each in store.read_all()}
    assert await pages_of(store, monkeypatch, Seen(), batch=3) == [(1, 3), (4, 4)]
    for most, expected in ((size, [(1, 2), (3, 4)]), (1, [(1, 1), (2, 2), (3, 3), (4, 4)])):
        monkeypatch.setattr(source, "_PAGE_BYTES", most)
        another = Seen(version=most + 1)
        assert await pages_of(store, monkeypatch, another, batch=100) == expected


async def test_one_that_is_far_behind_does_not_pause_between_pages(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, 12)
    monkeypatch.setattr(projector_module, "_MAX_LAG", 4)
    paused_at: list[int] = []

    async def noted(self: Projector, seconds: float) -> None:
        paused_at.extend(each.position for each in self.status())

    monkeypatch.setattr(Projector, "_pause", noted)
    async with following(store, Seen(), batch=3) as (projector, _):
        await projector.caught_up()
    assert paused_at[:3] == [0, 9, 12], "once before it begins, and where less than 4 entries are left"


async def test_open_turns_are_kept_for_a_few_places_of_the_journal(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each projection is emptied as soon as the one before it has its first page: all of them are at another place."""
    await fill(store, 24)
    left = [f"view{number}" for number in range(1, 7)]
    kept: list[int] = []
    apply = Views.apply

    async def apart(self: Views, entries: Sequence[Recorded]) -> Checkpoints:
        kept.append(len(projector._turns))
        found = await apply(self, entries)
        return await self.reset([left.pop()]) if left and entries[0].position in (1, 25) else found

    async with following(store, *(Numbered(number) for number in range(1, 7)), batch=2) as (projector, _):
        await projector.caught_up()
        monkeypatch.setattr(Views, "apply", apart)
        await fill(store, 1)
        await projector.caught_up()
        assert not left
        await projector.caught_up()
        assert {each.position for each in projector.status()} == {25}
    assert max(kept) == projector_module._MOST_PLACES == 4


class Stream:
    """A stream that has nothing to close, as a store may give it: `AsyncIterator` promises no more."""

    def __init__(self, entries: Sequence[Recorded]) -> None:
        self._entries = iter(entries)

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Recorded:
        for each in self._entries:
            return each
        raise StopAsyncIteration


class Elsewhere:
    """A store by delegation, whose entries come as a bare stream; `hidden` are not read."""

    def __init__(self, store: SqliteStore, entries: Sequence[Recorded], hidden: frozenset[int] = frozenset()) -> None:
        self._store, self._entries, self.hidden = store, entries, hidden

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def read_all(self, *, after: int = 0, until: int | None = None) -> Stream:
        last = len(self._entries) if until is None else until
        return Stream([each for each in self._entries[after:last] if each.position not in self.hidden])


async def test_entries_that_a_journal_does_not_show_are_a_problem_that_is_named_until_it_shows_them(
    store: SqliteStore,
) -> None:
    await fill(store, 4)
    elsewhere = Elsewhere(store, [each async for each in store.read_all()], hidden=frozenset({3, 4}))
    async with following(elsewhere, Seen(), batch=2) as (projector, queries):  # type: ignore[arg-type]
        with pytest.raises(ProjectionFailedError, match=r"no entry after position \[2\].*them up to \[4\]: run"):
            await count(queries)
        assert [each.position for each in projector.status()] == [2]
        elsewhere.hidden = frozenset()
        assert await count(queries) == 4


async def test_a_page_is_opened_before_it_is_folded(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[tuple[str, int]] = []
    apply = Views.apply

    class Keys:
        async def open_page(self, page: Sequence[Recorded]) -> None:
            order.append(("opened", page[-1].position))

        async def opened(self, sealed: object) -> None:
            raise AssertionError("nothing here is sealed by itself")

    async def noted(self: Views, entries: Sequence[Recorded]) -> Checkpoints:
        order.append(("folded", entries[-1].position))
        return await apply(self, entries)

    monkeypatch.setattr(Views, "apply", noted)
    await fill(store, 4)
    views = Views(store.files.views)
    projector = Projector(store, views, (Seen(),), batch=2, opener=Keys())
    await projector.start()
    await projector.caught_up()
    await projector.close()
    await views.close()
    assert order == [("opened", 2), ("folded", 2), ("opened", 4), ("folded", 4)]


async def test_a_decision_is_decoded_once_for_all_projections(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(store, "actor/a", DecisionJournalEntry(decision=decision("one")))
    decoded: list[str] = []
    decode = KINDS.decode

    def counted(kind: str, schema_version: int, body: bytes | None) -> object:
        decoded.append(kind)
        return decode(kind, schema_version, body)

    monkeypatch.setattr(KINDS, "decode", counted)
    async with following(store, TracesProjection(), PrecedentsProjection(), Seen()) as (projector, _):
        await projector.caught_up()
    assert decoded.count("decision") <= 1
