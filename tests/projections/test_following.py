"""How the projector follows a journal: in which order, in which pages, with which pauses; all of it on virtual time."""

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import pytest

from loom.background import Background
from loom.errors import ProjectionFailedError, ProjectionLagError
from loom.journal import Recorded
from loom.projections import Projection, Projector, projector
from loom.projections.projection import Checkpoint, ProjectionStatus
from tests.projections.test_writer import Seen, entries
from tests.simulation.loop import Pace, VirtualLoop, VirtualTime

T = TypeVar("T")

MIB = 1024 * 1024


def virtually(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run something on a loop whose time goes on to the next timer when nothing is ready."""
    loop = VirtualLoop(random.Random(1), VirtualTime(0), pace=Pace())
    try:
        return loop.run_until_complete(work())
    finally:
        loop.close()


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Journal:
    """A journal in memory. `acknowledged` may be more than there are entries: what a damaged one says."""

    entries: Sequence[Recorded] = field(default_factory=entries)
    acknowledged: int = 8
    shared: bool = False
    elsewhere: int = 0
    reads: list[tuple[int, int | None]] = field(default_factory=list)
    looked_at: list[list[int]] = field(default_factory=list)
    closed: int = 0
    heard: list[Callable[[int], None]] = field(default_factory=list)

    async def refresh(self) -> int:
        self.acknowledged = max(self.acknowledged, self.elsewhere)
        return self.acknowledged

    def on_commit(self, callback: Callable[[int], None]) -> None:
        self.heard.append(callback)

    def commit(self, position: int) -> None:
        self.acknowledged = position
        for callback in self.heard:
            callback(position)

    async def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        self.reads.append((after, until))
        try:
            for each in self.entries:
                if after < each.position <= (until or 0):
                    yield each
        finally:
            self.closed += 1

    async def at(self, positions: Collection[int]) -> dict[int, Recorded]:
        self.looked_at.append(sorted(positions))
        return {each.position: each for each in self.entries if each.position in positions}

    async def steps(self, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], Recorded]:
        raise AssertionError(f"nothing here refers to [{wanted}]")


@dataclass
class Tables:
    """In place of the views file: keeps which pages came when, takes as long as it is asked to, fails where it is."""

    path: Path = Path("journal.views.db")
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    pages: list[list[int]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    did: list[str] = field(default_factory=list)
    takes_s: float = 0.0
    problem: Exception | None = None

    async def start(self, projections: Sequence[Projection]) -> dict[str, Checkpoint]:
        for each in projections:
            self.checkpoints.setdefault(each.name, Checkpoint(each.name, each.version, 0, b""))
        return dict(self.checkpoints)

    async def apply(self, page: Sequence[Recorded]) -> dict[str, Checkpoint]:
        if self.problem is not None:
            raise self.problem
        self.did.append("begins")
        await asyncio.sleep(self.takes_s)
        self.did.append("applied")
        self.pages.append([each.position for each in page])
        self.times.append(now())
        for name, each in self.checkpoints.items():
            if each.failed is None and page[0].position <= each.position + 1 <= page[-1].position:
                self.checkpoints[name] = each._replace(position=page[-1].position, entry_hash=page[-1].entry_hash)
        return dict(self.checkpoints)

    async def reset(self, names: Iterable[str]) -> dict[str, Checkpoint]:
        for name in names:
            self.did.append(f"reset {name}")
            self.checkpoints[name] = Checkpoint(name, 1, 0, b"")
        return dict(self.checkpoints)

    async def repair(self, damaged: object = None) -> dict[str, Checkpoint]:
        self.did.append(f"repair {damaged}")
        return await self.reset(list(self.checkpoints))

    async def write(self, work: Callable[[Any], T]) -> T:
        return work(None)


def at(name: str, position: int, *, failed: str | None = None) -> Checkpoint:
    return Checkpoint(name, 1, position, entries()[position - 1].entry_hash if position else b"", failed)


def starting(*checkpoints: Checkpoint, **given: Any) -> Tables:
    return Tables(checkpoints={each.name: each for each in checkpoints}, **given)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page took is measured on virtual time, too; the entries are made before, on a loop of their own."""
    entries()
    monkeypatch.setattr(projector, "time", SimpleNamespace(perf_counter=now))


@asynccontextmanager
async def following(
    journal: Journal, tables: Tables, *names: str, start: bool = True, **given: Any
) -> AsyncIterator[Projector]:
    background = Background()
    each = Projector(
        cast("Any", journal),
        cast("Any", tables),
        [Seen(name) for name in names or ("seen",)],
        background=background,
        **given,
    )
    if start:
        await each.start()
    try:
        yield each
    finally:
        tables.takes_s, tables.problem = 0.0, None
        await each.close()
        await background.close()


# --- pages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "pages"), [(3, [[1, 2, 3], [4, 5, 6], [7, 8]]), (8, [[*range(1, 9)]])])
def test_a_journal_is_read_in_pages_of_the_batch_up_to_what_is_acknowledged(batch: int, pages: list[list[int]]) -> None:
    async def run() -> None:
        journal, tables = Journal(), Tables()
        async with following(journal, tables, batch=batch) as following_it:
            await following_it.reached(8)
            assert tables.pages == pages
            assert [until for _, until in journal.reads] == [page[-1] for page in pages]
            assert journal.closed == len(pages), "a stream that is read to its end, or left, is closed"
            assert following_it.status() == (ProjectionStatus("seen", 1, 8, 0, None),)

    virtually(run)


def test_a_page_has_four_thousand_entries_where_nothing_else_is_asked_for() -> None:
    async def run() -> None:
        journal = Journal(acknowledged=10_000)
        async with following(journal, Tables()) as following_it:
            with pytest.raises(
                ProjectionFailedError, match=r"no entry after position \[8\]; expected them up to \[4008\]"
            ):
                await following_it.reached(9)
        assert journal.reads[:2] == [(0, 4_000), (8, 4_008)]

    virtually(run)


@pytest.mark.parametrize(("each", "first"), [(16 * MIB, [1, 2]), (16 * MIB + 1, [1]), (1, [1, 2, 3, 4])])
def test_a_page_ends_with_the_entry_that_takes_it_over_sixteen_mebibytes(each: int, first: list[int]) -> None:
    body = bytes(each)
    large = [replace(recorded, body=body) for recorded in entries()[:3]]
    large.append(replace(entries()[3], body=None))

    async def run() -> None:
        journal = Journal(entries=large, acknowledged=4)
        closed: list[bool] = []

        class Noting(Tables):
            async def apply(self, page: Sequence[Recorded]) -> dict[str, Checkpoint]:
                closed.append(journal.closed == len(journal.reads))
                return await super().apply(page)

        tables = Noting()
        async with following(journal, tables) as following_it:
            await following_it.reached(4)
        assert tables.pages[0] == first
        assert closed == [True] * len(tables.pages), "a stream is closed before its page is applied"

    virtually(run)


def test_an_entry_whose_body_is_gone_weighs_nothing() -> None:
    bodies = (bytes(16 * MIB), None, b"x", b"x")
    large = [replace(recorded, body=body) for recorded, body in zip(entries(), bodies, strict=False)]

    async def run() -> None:
        tables = Tables()
        async with following(Journal(entries=large, acknowledged=4), tables) as following_it:
            await following_it.reached(4)
        assert tables.pages == [[1, 2, 3], [4]]

    virtually(run)


def test_a_source_whose_stream_cannot_be_closed_is_followed_all_the_same() -> None:
    class Plain(Journal):
        def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
            found = iter([each for each in self.entries if after < each.position <= (until or 0)])

            class Stream:
                def __aiter__(self) -> Stream:
                    return self

                async def __anext__(self) -> Recorded:
                    for each in found:
                        return each
                    raise StopAsyncIteration

            return Stream()

    async def run() -> None:
        tables = Tables()
        async with following(Plain(), tables, batch=5) as following_it:
            await following_it.reached(8)
        assert tables.pages == [[1, 2, 3, 4, 5], [6, 7, 8]]

    virtually(run)


def test_the_projection_that_is_furthest_is_given_its_page_first() -> None:
    async def run() -> None:
        tables = starting(at("behind", 0), at("ahead", 6), at("there", 8), at("stopped", 3, failed="why"))
        async with following(Journal(), tables, "behind", "ahead", "there", "stopped", batch=2) as following_it:
            await following_it.reached(8, ["ahead", "behind", "there"])
            assert tables.pages == [[7, 8], [1, 2], [3, 4], [5, 6], [7, 8]]
            assert [each.name for each in following_it.status()] == ["ahead", "behind", "stopped", "there"]
            assert following_it.status()[2] == ProjectionStatus("stopped", 1, 3, 5, "why")

    virtually(run)


def test_a_page_is_opened_before_it_is_applied() -> None:
    async def run() -> None:
        tables = Tables()

        class Opener:
            async def open_page(self, page: Sequence[Recorded]) -> None:
                tables.did.append(f"opened {[each.position for each in page]}")
                await asyncio.sleep(1)

        async with following(Journal(), tables, batch=4, opener=Opener()) as following_it:
            await following_it.reached(8)
        once = ["begins", "applied"]
        assert tables.did == ["opened [1, 2, 3, 4]", *once, "opened [5, 6, 7, 8]", *once]

    virtually(run)


def test_the_open_turns_go_with_a_place_in_the_journal_and_only_so_many_places_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    took: list[tuple[int, int]] = []

    class Turns:
        made = 0

        def __init__(self, source: object) -> None:
            assert isinstance(source, Journal)
            Turns.made += 1
            self.number = Turns.made

        async def take(self, page: Sequence[Recorded]) -> None:
            took.append((page[-1].position, self.number))

    monkeypatch.setattr(projector, "OpenTurns", Turns)

    async def run() -> None:
        tables = starting(at("one", 0), at("two", 4), at("three", 5), at("four", 6), at("five", 7))
        names = ("one", "two", "three", "four", "five")
        async with following(Journal(acknowledged=7), tables, *names, batch=1) as following_it:
            await following_it.reached(7)
        # five is there; four comes to 7 first, then three and two to the places where four and three were.
        assert took[:4] == [(7, 1), (6, 2), (5, 3), (1, 4)]
        assert took[4:6] == [(7, 2), (6, 3)], "a projection takes its open turns along"
        assert dict(took)[7] == 4, "and so does the one that came last"

    virtually(run)


def test_of_more_than_four_places_those_furthest_back_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Turns:
        def __init__(self, source: object) -> None:
            made.append(0)

        async def take(self, page: Sequence[Recorded]) -> None:
            made[-1] = made[-1] or page[0].position

    monkeypatch.setattr(projector, "OpenTurns", Turns)

    async def run() -> None:
        tables = starting(*(at(f"p{position}", position) for position in (0, 1, 3, 5, 7)))
        async with following(Journal(), tables, "p0", "p1", "p3", "p5", "p7", batch=1) as following_it:
            await following_it.reached(8)
            assert len(following_it._turns) <= 4
        # Of the places 1, 2, 4, 6 and 8 the first is dropped: what was there begins again at the entry after it.
        assert made == [8, 6, 4, 2, 1, 2, 3]

    virtually(run)


# --- the start ----------------------------------------------------------------------------------


def test_projections_of_another_journal_begin_again_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        other = at("other", 3)._replace(entry_hash=b"of another journal")
        beyond = at("beyond", 7)
        tables = starting(other, beyond, at("ours", 3), at("fresh", 0))
        journal = Journal(acknowledged=6)
        async with following(journal, tables, "other", "beyond", "ours", "fresh") as following_it:
            assert sorted(tables.did) == ["reset beyond", "reset other"]
            assert journal.looked_at == [[3]], "nothing is read beyond what is acknowledged"
            await following_it.reached(6)
            assert tables.pages == [[4, 5, 6], [1, 2, 3, 4, 5, 6]]

    virtually(run)
    assert re.search(r"\bprojections_of_another_journal\b", caplog.text)
    assert "['beyond', 'other']" in caplog.text


def test_a_projection_at_the_very_last_entry_is_of_this_journal(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        tables = starting(at("seen", 8))
        async with following(Journal(), tables) as following_it:
            await following_it.reached(8)
        assert (tables.did, tables.pages) == ([], [])

    virtually(run)
    assert caplog.text == ""


def test_only_the_names_that_are_there_twice_are_named() -> None:
    async def run() -> None:
        with pytest.raises(ProjectionFailedError, match=r"projections \[a, b\] are registered twice"):
            async with following(Journal(), Tables(), "b", "a", "c", "b", "a"):
                pass

    virtually(run)


def test_the_head_is_asked_for_where_other_processes_write() -> None:
    async def run() -> None:
        journal = Journal(acknowledged=5, elsewhere=7)
        async with following(journal, Tables()) as following_it:
            assert await following_it.head() == 5
            journal.shared = True
            assert await following_it.head() == 7
            assert following_it.entries is journal  # type: ignore[comparison-overlap]

    virtually(run)


# --- waiting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "seconds"), [({}, 10), ({"timeout_s": 0.25}, 0.25)])
def test_waiting_ends_in_time_and_names_the_projection_that_is_furthest_back(
    given: dict[str, Any], seconds: float
) -> None:
    async def run() -> None:
        tables = starting(at("a", 8), at("b", 6), at("c", 8), takes_s=1_000)
        async with following(Journal(), tables, "a", "b", "c") as following_it:
            began = now()
            with pytest.raises(
                ProjectionLagError, match=rf"\[b\] is at position \[6\] after \[{seconds:g}\] seconds; expected \[99\]"
            ):
                await following_it.reached(99, **given)
            assert now() - began == pytest.approx(seconds, abs=0.01)
            with pytest.raises(ProjectionLagError, match=r"\[c\] is at position \[8\]"):
                await following_it.reached(99, ["c"], **given)
            await following_it.reached(99, [], **given)

    virtually(run)


def test_a_reader_that_waits_ends_the_pause_and_entries_gather_where_none_does() -> None:
    async def run() -> None:
        journal, tables = Journal(acknowledged=0), Tables()
        async with following(journal, tables) as following_it:
            await asyncio.sleep(1)
            began = now()
            journal.commit(2)
            await asyncio.sleep(0.01)
            journal.commit(3)
            await asyncio.sleep(1)
            assert tables.pages == [[1, 2, 3]], "what comes within the pause is in one page"
            assert tables.times[-1] - began == pytest.approx(0.02, abs=0.002)
            began = now()
            journal.commit(4)
            await following_it.reached(4)
            assert tables.times[-1] - began == pytest.approx(0, abs=0.002)
            began = now()
            journal.commit(5)
            await asyncio.sleep(0.005)
            await following_it.reached(5)
            assert tables.times[-1] - began == pytest.approx(0.005, abs=0.001), "a pause that has begun ends, too"
            began = now()
            journal.commit(6)
            await asyncio.sleep(1)
            assert tables.times[-1] - began == pytest.approx(0.02, abs=0.002), "who waits no more hastens nothing"

    virtually(run)


@pytest.mark.parametrize(("takes_s", "pause_s"), [(0.001, 0.02), (0.1, 0.1), (3.0, 0.25)])
def test_between_two_pages_half_of_the_time_is_left_to_others_within_bounds(takes_s: float, pause_s: float) -> None:
    async def run() -> None:
        tables = Tables(takes_s=takes_s)
        async with following(Journal(), tables, batch=4):
            await asyncio.sleep(30)
            assert tables.pages == [[1, 2, 3, 4], [5, 6, 7, 8]]
            assert tables.times[1] - tables.times[0] - takes_s == pytest.approx(pause_s, abs=0.002)

    virtually(run)


def test_who_is_far_behind_makes_no_pauses() -> None:
    async def run() -> None:
        tables = Tables()
        async with following(Journal(acknowledged=50_002), tables, batch=2):
            await asyncio.sleep(30)
            first, second, third, last = tables.times[:4]
            assert second - first == pytest.approx(0, abs=0.002), "fifty thousand are far"
            assert third - second == pytest.approx(0.02, abs=0.002)
            assert last - third == pytest.approx(0.02, abs=0.002)

    virtually(run)


def test_a_wait_that_was_cancelled_does_not_count_as_one() -> None:
    async def run() -> None:
        journal, tables = Journal(acknowledged=0), Tables()
        async with following(journal, tables) as following_it:
            waiting = asyncio.ensure_future(following_it.reached(99, timeout_s=100))
            await asyncio.sleep(1)
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
            began = now()
            journal.commit(8)
            await asyncio.sleep(1)
            assert tables.times[-1] - began == pytest.approx(0.02, abs=0.002)

    virtually(run)


# --- what fails ---------------------------------------------------------------------------------


def test_a_disk_that_refuses_is_said_to_who_waits_and_tried_again_when_somebody_asks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        journal, tables = Journal(acknowledged=0), Tables(problem=OSError("no room"))
        async with following(journal, tables) as following_it:
            waiting = asyncio.ensure_future(following_it.reached(8, timeout_s=1))
            await asyncio.sleep(0.1)
            journal.commit(8)
            with pytest.raises(
                ProjectionFailedError, match=r"\[journal.views.db\] cannot follow.*\[OSError: no room\]"
            ):
                await waiting
            with pytest.raises(ProjectionFailedError, match="no room"):
                await following_it.caught_up()
            tables.problem = None
            await asyncio.sleep(100)
            assert tables.pages == [], "nothing is tried again of its own"
            await following_it.reached(8)
            assert tables.pages == [[*range(1, 9)]]
            await following_it.caught_up()

    virtually(run)
    assert re.search(r"\bprojector_stalled\b", caplog.text)


def test_the_next_entry_tries_again_and_the_problem_is_over_with_it() -> None:
    async def run() -> None:
        journal, tables = Journal(acknowledged=7), Tables(problem=OSError("no room"))
        async with following(journal, tables) as following_it:
            await asyncio.sleep(1)
            tables.problem = None
            journal.commit(8)
            await asyncio.sleep(1)
            assert following_it.status()[0].position == 8
            with pytest.raises(ProjectionLagError):
                await following_it.reached(9)

    virtually(run)


def test_a_projection_that_stopped_is_an_error_for_its_readers_and_for_nobody_else() -> None:
    async def run() -> None:
        tables = starting(at("seen", 0), at("stopped", 3, failed="ValueError: why"))
        async with following(Journal(), tables, "seen", "stopped") as following_it:
            await following_it.reached(8, ["seen"])
            for names in (["stopped"], None):
                with pytest.raises(
                    ProjectionFailedError, match=r"\[stopped\] stopped after position \[3\] \[ValueError: why\]"
                ):
                    await following_it.reached(1, names)
            with pytest.raises(ProjectionFailedError, match=r"\[x\] is not known; expected one of \[seen, stopped\]"):
                await following_it.reached(1, ["seen", "x"])

    virtually(run)


# --- rebuilding ---------------------------------------------------------------------------------


def test_a_rebuild_empties_what_it_was_asked_for_and_says_how_far_it_is() -> None:
    async def run() -> None:
        tables = starting(at("a", 8), at("b", 8), at("c", 8))
        said: list[tuple[int, int]] = []
        async with following(Journal(), tables, "a", "b", "c", batch=4) as following_it:
            await following_it.rebuild(["b"], progress=lambda done, of: said.append((done, of)))
            assert tables.did[0] == "reset b"
            assert [done for done in tables.did if done.startswith("reset")] == ["reset b"]
            assert sorted(set(said)) == [(0, 8), (4, 8), (8, 8)]
            assert said == sorted(said)
            tables.did.clear()
            await following_it.rebuild()
            assert tables.did[:3] == ["reset a", "reset b", "reset c"]
            assert {each.position for each in following_it.status()} == {8}
            said.clear()
            following_it._store.acknowledged = 6  # type: ignore[misc]
            await following_it.caught_up(progress=lambda done, of: said.append((done, of)))
            assert said == [(6, 6)]

    virtually(run)


def test_a_reset_does_not_wait_and_what_it_emptied_fills_again() -> None:
    async def run() -> None:
        tables = starting(at("a", 8), at("b", 8))
        async with following(Journal(), tables, "a", "b") as following_it:
            await asyncio.sleep(1)
            await following_it.reset(["b"])
            assert [each.position for each in following_it.status()] == [8, 0]
            await asyncio.sleep(1)
            assert [each.position for each in following_it.status()] == [8, 8]

    virtually(run)


def test_repair_hands_on_which_file_was_damaged_and_the_tables_fill_again() -> None:
    async def run() -> None:
        tables = starting(at("seen", 8))
        async with following(Journal(), tables) as following_it:
            await asyncio.sleep(1)
            await following_it.repair((3, 4))
            assert tables.did[0] == "repair (3, 4)"
            assert following_it.status()[0].position == 0
            await asyncio.sleep(1)
            assert following_it.status()[0].position == 8

    virtually(run)


def test_other_work_waits_for_the_page_that_is_being_applied_and_the_next_page_for_it() -> None:
    async def run() -> None:
        tables = Tables(takes_s=1)
        async with following(Journal(), tables, batch=4) as following_it:
            await asyncio.sleep(0.5)

            def work(_: sqlite3.Connection) -> str:
                tables.did.append("work")
                return "done"

            assert await following_it.write(work) == "done"
            await asyncio.sleep(10)
        assert tables.did == ["begins", "applied", "work", "begins", "applied"]

    virtually(run)


# --- the end ------------------------------------------------------------------------------------


def test_close_catches_up_in_two_seconds_at_most_and_finishes_the_page_it_is_at() -> None:
    async def run() -> None:
        tables = Tables(takes_s=1.2)
        async with following(Journal(), tables, batch=1) as following_it:
            began = now()
            await following_it.close()
            assert tables.pages == [[1], [2]]
            assert now() - began == pytest.approx(2.4, abs=0.1)
            await following_it.close()
            assert now() - began == pytest.approx(2.4, abs=0.1), "closing again waits for nothing"
            with pytest.raises(ProjectionFailedError, match="projector is closed"):
                await following_it.reached(8)

    virtually(run)


def test_close_brings_the_file_up_to_date_even_if_one_projection_has_stopped() -> None:
    async def run() -> None:
        tables = starting(at("seen", 0), at("stopped", 3, failed="why"))
        async with following(Journal(), tables, "seen", "stopped", batch=2) as following_it:
            began = now()
            await following_it.close()
            assert following_it.status()[0].position == 8
            assert now() - began < 0.01, "without a pause"

    virtually(run)


def test_who_waits_for_more_than_there_will_be_learns_that_it_was_closed() -> None:
    async def run() -> None:
        async with following(Journal(), Tables()) as following_it:
            waiting = asyncio.ensure_future(following_it.reached(99, timeout_s=1_000))
            await asyncio.sleep(1)
            began = now()
            await following_it.close()
            with pytest.raises(ProjectionFailedError, match="projector is closed"):
                await waiting
            assert now() - began < 1

    virtually(run)


def test_a_projector_that_never_started_closes_at_once() -> None:
    async def run() -> None:
        began = now()
        async with following(Journal(), Tables(), start=False):
            pass
        assert now() - began < 0.01

    virtually(run)


def test_a_close_that_is_cancelled_leaves_the_page_to_its_end() -> None:
    async def run() -> None:
        tables = Tables(takes_s=5)
        async with following(Journal(), tables) as following_it:
            await asyncio.sleep(0.1)
            closing = asyncio.ensure_future(following_it.close())
            await asyncio.sleep(3)
            closing.cancel()
            await asyncio.sleep(10)
            assert closing.cancelled()
            assert tables.did == ["begins", "applied"]

    virtually(run)
