"""Published views have the rows of the local ones, whatever happened to the processes that published them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom.decisions import DecisionJournalEntry
from loom.errors import WriterFencedError
from loom.journal import Recorded
from loom.journal.election import Election
from loom.journal.postgres import PostgresStore
from loom.journal.store import JournalStore
from loom.projections import source
from loom.projections.published import Published
from loom.publishing.capture import Changes
from loom.publishing.publisher import Publisher
from loom.publishing.server import PublishedSchema
from loom.publishing.state import Page
from tests.postgres_server import Place, Server, at_once
from tests.projections.histories import Happening, histories
from tests.projections.journals import decision, open_store, whole_turn, write
from tests.projections.streams import Watched
from tests.publishing.support import FEW, dropped, folded, published, publisher, publishing, views_of


async def record(store: JournalStore, happenings: Sequence[Happening]) -> None:
    for journal, turn, entry in happenings:
        await write(store, journal, entry, command_id=turn)  # type: ignore[arg-type]


async def turns(store: JournalStore, *names: str) -> None:
    for name in names:
        await write(store, f"discount-agent/{name}", *whole_turn(name), command_id=f"turn-{name}")  # type: ignore[arg-type]


async def everything(store: JournalStore) -> list[Recorded]:
    return [each async for each in store.read_all()]


async def test_what_is_published_has_the_rows_of_the_local_views(place: Place, tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await turns(store, "0", "1", "2")
    async with publishing(place, store, tmp_path / "published.db", batch=7) as one:
        await one.reached(store.acknowledged)
        await turns(store, "3")
        await one.reached(store.acknowledged)
    rows = await published(place)
    assert rows == folded(tmp_path / "views.db", await everything(store))
    assert len(rows["trace_decisions"]) == 4
    await store.close()


async def test_a_page_of_large_entries_is_bounded_in_bytes_and_no_stream_is_left_open(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_store(tmp_path)
    await turns(store, "0", "1", "2")
    entries = await everything(store)
    bound = max(len(each.body or b"") for each in entries)
    monkeypatch.setattr(source, "_PAGE_BYTES", bound)
    watched = Watched(store)
    async with publishing(place, watched, tmp_path / "published.db", projections=FEW) as one:
        await one.reached(store.acknowledged)
    assert len(watched.streams) > len(entries) // 4
    assert all(stream.closed for stream in watched.streams)
    start = 0
    for stream in watched.streams:
        sizes = [len(each.body or b"") for each in entries[start : start + stream.read]]
        assert sum(sizes[:-1]) <= bound
        start += stream.read
    assert start == len(entries)
    assert await published(place, FEW) == folded(tmp_path / "views.db", entries, FEW)
    await store.close()


class Dying(PublishedSchema):
    """A schema whose process dies at its n-th transaction: before the commit, or after it and before it is known."""

    def __init__(self, other: PublishedSchema, *, after: int, commits: bool) -> None:
        super().__init__(other.url)
        self.left = after
        self.commits = commits

    async def publish(self, pages: Any) -> Any:
        return await self._die(lambda: super(Dying, self).publish(pages))

    async def begin(self, target: Any) -> Any:
        return await self._die(lambda: super(Dying, self).begin(target))

    async def swap(self, target: Any) -> Any:
        return await self._die(lambda: super(Dying, self).swap(target))

    async def _die(self, work: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left == 0:
            if self.commits:
                await work()
            raise asyncio.CancelledError
        return await work()


async def die(one: Publisher, *, after: int, commits: bool) -> None:
    """Run a publisher until it dies; what it keeps open is closed as the end of a process closes it."""
    one._schema = Dying(one._schema, after=after, commits=commits)
    await one.start()
    assert one._leading is not None
    await asyncio.wait({one._leading, asyncio.ensure_future(quiet(one))}, return_when=asyncio.FIRST_COMPLETED)
    await one.close()


async def quiet(one: Publisher) -> None:
    """Return when all is published."""
    await one.reached(one._store.acknowledged)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    history=histories,
    deaths=st.lists(st.tuples(st.integers(1, 12), st.booleans(), st.integers(1, 9), st.booleans()), max_size=4),
)
def test_whatever_dies_between_pages_the_rows_are_those_of_the_local_views(
    postgres: Server,
    tmp_path_factory: pytest.TempPathFactory,
    history: list[Happening],
    deaths: list[tuple[int, bool, int, bool]],
) -> None:
    async def scenario() -> None:
        directory = tmp_path_factory.mktemp("one")
        place, store = Place(postgres, directory), await open_store(directory)
        written = 0
        try:
            for number, (after, commits, batch, elsewhere) in enumerate(deaths):
                await record(store, history[written : written + 6])
                written += 6
                path = directory / (f"published-{number % 2}.db" if elsewhere else "published.db")
                await die(publisher(place, store, path, batch=batch), after=after, commits=commits)
            await record(store, history[written:])
            async with publishing(place, store, directory / "published.db", batch=5) as one:
                await one.reached(store.acknowledged)
            assert await published(place) == folded(directory / "views.db", await everything(store))
        finally:
            await store.close()
            await dropped(place)
            await place.close()

    asyncio.run(scenario())


class Won(Election):
    """An election that every process believes to have won."""

    @property
    def won(self) -> bool:
        return True

    async def until_won(self, *, every_s: float = 0.5) -> None:
        return

    async def resign(self) -> None:
        return


async def test_two_publishers_at_once_leave_what_one_leaves(place: Place, tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await turns(store, "0", "1")
    both = [
        publisher(place, store, tmp_path / f"published-{n}.db", batch=3, projections=FEW, election=Won(store, "x"))
        for n in range(2)
    ]
    for one in both:
        await one.start()
    await turns(store, "2", "3", "4")
    for one in both:
        await one.reached(store.acknowledged, timeout_s=30)
        await one.close()
    assert await published(place, FEW) == folded(tmp_path / "views.db", await everything(store), FEW)
    await store.close()


async def test_processes_that_make_the_schema_at_once_make_one(place: Place) -> None:
    both = [PublishedSchema(replace(place.url(), schema=views_of(place))) for _ in range(2)]
    assert await at_once(place.server, f"loom views {views_of(place)}", *(one.states for one in both)) == [{}, {}]
    assert both[0].unaccent == both[1].unaccent
    for one in both:
        await one.close()


async def test_a_process_that_was_fenced_publishes_nothing_and_another_one_goes_on(
    place: Place, tmp_path: Path
) -> None:
    first, second = await place.open(), await place.open()
    await turns(first, "0")
    # A lease that no busy machine lets run out: the other one is elected as this one is fenced, not before.
    async with publishing(place, first, tmp_path / "a.db", projections=FEW, lease_s=60) as fenced:
        await fenced.reached(first.acknowledged)  # elected: of two that start at once, either may be
        async with publishing(place, second, tmp_path / "b.db", projections=FEW, lease_s=60) as other:
            assert not other.leads
            page = page_of(fenced)
            await second.fence(first.writer)
            before = await published(place, FEW)
            late = PublishedSchema(fenced._schema.url, writer=(place.schema, first.writer))
            with pytest.raises(WriterFencedError):
                await late.publish([page])
            await late.close()
            assert await published(place, FEW) == before
            await turns(second, "1")
            await other.reached(second.acknowledged, timeout_s=30)
    assert await published(place, FEW) == folded(tmp_path / "views.db", await everything(second), FEW)


def page_of(one: Publisher) -> Page:
    """Return a page that would follow what is published, with a row that no entry gives."""
    assert one._parts is not None
    part = one._parts["runs"]
    row = tuple({"position": 1_000_000, "started_at_us": 1}.get(each) for each in part.target.tables[0].columns)
    return Page(part.target, part.state, part.state.position + 1, b"x", {"runs": Changes([row], [])})


async def test_another_process_takes_over_from_one_that_was_killed(place: Place, tmp_path: Path) -> None:
    first, second = await place.open(), await place.open()
    await turns(first, "0")
    dead = publisher(place, first, tmp_path / "a.db", projections=FEW)
    await dead.start()
    await dead.reached(first.acknowledged)
    assert dead._leading is not None
    dead._leading.cancel()
    assert first._follower is not None
    await first._background.close()  # it beats no more
    async with publishing(place, second, tmp_path / "b.db", projections=FEW) as other:
        await turns(second, "1")
        await other.reached(second.acknowledged, timeout_s=30)
    assert await published(place, FEW) == folded(tmp_path / "views.db", await everything(second), FEW)
    await dead._let_go()


class Notes:
    """A projection of a user: one row for each decision, in the words of its rationale."""

    name = "notes"
    kinds = frozenset({"decision"})
    schema = "CREATE TABLE notes (position INTEGER PRIMARY KEY, said TEXT, number REAL, raw BLOB, other INTEGER);"
    tables = ("notes",)
    publish: tuple[Published, ...] = (Published("notes", text=("said",), leaves_out=("other",)),)

    def __init__(self, version: int = 1, *, says: str = "{}") -> None:
        self.version = version
        self._says = says

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        assert recorded.plain is not None
        said = self._says.format(recorded.plain["decision"]["rationale"])
        view.execute("INSERT INTO notes VALUES (?, ?, 0.5, x'00ff', 1)", (recorded.position, said))


async def test_a_new_version_is_built_under_another_name_and_takes_the_place_while_it_is_read(
    place: Place, tmp_path: Path
) -> None:
    store = await open_store(tmp_path)
    await turns(store, "0", "1")
    async with publishing(place, store, tmp_path / "p.db", projections=[Notes()]) as one:
        await one.reached(store.acknowledged)
    reader, counts = await place.connect(), []
    try:
        async with reader.transaction():
            counts.append(await reader.fetchval(f'SELECT count(*) FROM "{views_of(place)}".notes'))
            async with publishing(place, store, tmp_path / "p.db", projections=[Notes(2, says="now {}")]) as one:
                while not any("cannot take their place" in (each.problem or "") for each in await rows_of(one)):
                    await asyncio.sleep(0.05)
                said = f'SELECT said FROM "{views_of(place)}".notes LIMIT 1'
                assert not (await reader.fetchval(said)).startswith("now ")
                counts.append(await reader.fetchval(f'SELECT count(*) FROM "{views_of(place)}".notes'))
        async with publishing(place, store, tmp_path / "p.db", projections=[Notes(2, says="now {}")]) as one:
            await one.reached(store.acknowledged, timeout_s=30)
        assert (await reader.fetchval(said)).startswith("now ")
        assert counts == [2, 2]
        tables = await reader.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", views_of(place))
        assert sorted(row["tablename"] for row in tables) == ["notes", "published_from", "published_views"]
    finally:
        await reader.close()
        await store.close()


async def rows_of(one: Publisher) -> list[Any]:
    schema = PublishedSchema(one._schema.url)
    states = await schema.states()
    await schema.close()
    return [each for found in states.values() for each in found.values()]


async def test_an_older_loom_does_not_replace_what_a_newer_one_publishes(place: Place, tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await turns(store, "0")
    async with publishing(place, store, tmp_path / "p.db", projections=[Notes(2, says="now {}")]) as one:
        await one.reached(store.acknowledged)
    await turns(store, "1")
    async with publishing(place, store, tmp_path / "old.db", projections=[Notes(1)]) as old:
        await old.reached(store.acknowledged)  # it has nothing to publish
        assert old.status() == ()
    assert len((await published(place, [Notes(2)]))["notes"]) == 1
    await store.close()


async def test_a_file_or_a_schema_that_is_gone_comes_back(place: Place, tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    await turns(store, "0", "1")
    async with publishing(place, store, tmp_path / "p.db", batch=4, projections=FEW) as one:
        await one.reached(store.acknowledged)
    await dropped(place)
    async with publishing(
        place, store, tmp_path / "p.db", batch=4, projections=FEW
    ) as one:  # all is copied, nothing is folded again
        await one.reached(store.acknowledged)
        assert await published(place, FEW) == folded(tmp_path / "views.db", await everything(store), FEW)
        (tmp_path / "p.db").unlink()
        await turns(store, "2")
        await one.reached(store.acknowledged, timeout_s=30)
    assert await published(place, FEW) == folded(tmp_path / "again.db", await everything(store), FEW)
    await store.close()


async def test_what_was_published_of_another_journal_is_published_again(place: Place, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first, second = await open_store(tmp_path / "one"), await open_store(tmp_path / "two")
    await turns(first, "0", "1", "2")
    await turns(second, "7")  # a backup, after which other things happened
    async with publishing(place, first, tmp_path / "p.db", projections=FEW) as one:
        await one.reached(first.acknowledged)
    async with publishing(place, second, tmp_path / "p.db", projections=FEW) as one:
        await one.reached(second.acknowledged)
    assert await published(place, FEW) == folded(tmp_path / "views.db", await everything(second), FEW)
    await first.close()
    await second.close()


async def test_a_projection_that_fails_stops_alone_and_says_so_where_it_is_read(place: Place, tmp_path: Path) -> None:
    class Failing(Notes):
        name = "failing"
        schema = Notes.schema.replace("notes", "failing")
        tables = ("failing",)
        publish = (Published("failing"),)

        def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
            raise ValueError("never")

    store = await open_store(tmp_path)
    await turns(store, "0")
    async with publishing(place, store, tmp_path / "p.db", projections=[Notes(), Failing()]) as one:
        while not any("never" in (each.problem or "") for each in await rows_of(one)):
            await asyncio.sleep(0.05)
        assert len((await published(place, [Notes()]))["notes"]) == 1
    await store.close()


HOSTILE = (
    "'; DROP TABLE notes; --",
    '"quoted" \\ back \n\t line',
    "emoji 👩‍👩‍👧 and \u202e reversed \ufffd",
    "Müller über naïve façade",
    "x" * 5_000,
    " ".join(f"{n:x}word{n}" for n in range(60_000)),
    "%s {} $1 ::text",
)


async def test_hostile_text_is_published_as_it_is_and_is_found(place: Place, tmp_path: Path) -> None:
    store = await open_store(tmp_path)
    for number, text in enumerate(HOSTILE):
        said = DecisionJournalEntry(decision=decision(f"{number}", rationale=text))
        await write(store, "discount-agent/x", said, command_id=None)
    async with publishing(place, store, tmp_path / "p.db", projections=[Notes()]) as one:
        await one.reached(store.acknowledged)
        accents = one._schema.unaccent
    rows = (await published(place, [Notes()]))["notes"]
    assert [row[1] for row in sorted(rows)] == list(HOSTILE)
    assert rows[0][3] == b"\x00\xff"
    reader = await place.connect()
    found = f"""SELECT position FROM "{views_of(place)}".notes
        WHERE words @@ websearch_to_tsquery('"{views_of(place)}".words', $1)"""
    assert [row["position"] for row in await reader.fetch(found, "drop notes")] == [1]
    assert [row["position"] for row in await reader.fetch(found, "müller façade")] == [4]
    assert bool(await reader.fetch(found, "muller facade")) is accents
    await reader.close()
    await store.close()


async def test_a_reader_role_reads_the_views_and_not_the_journal(place: Place, tmp_path: Path) -> None:
    store: PostgresStore = await place.open()
    await turns(store, "0")
    by_hand = await place.connect()
    await by_hand.execute("DROP ROLE IF EXISTS analyst")
    await by_hand.execute("CREATE ROLE analyst")
    async with publishing(place, store, tmp_path / "p.db", readers=["analyst", "not there"], projections=FEW) as one:
        await one.reached(store.acknowledged)
    views = views_of(place)
    await by_hand.execute("SET ROLE analyst")
    assert await by_hand.fetchval(f'SELECT count(*) FROM "{views}".trace_decisions') == 1
    assert await by_hand.fetchval(f'SELECT count(*) FROM "{views}".published_views WHERE NOT building') == 3
    for statement in (
        f'SELECT * FROM "{place.schema}".entries',
        f'DELETE FROM "{views}".runs',
        f'UPDATE "{views}".published_views SET position = 0',
        f'CREATE TABLE "{views}".own (x int)',
    ):
        with pytest.raises(Exception, match="permission denied"):
            await by_hand.execute(statement)
    await by_hand.execute("RESET ROLE")
    await by_hand.execute(f'DROP SCHEMA "{views}" CASCADE')
    await by_hand.execute("DROP ROLE analyst")
    await by_hand.close()
