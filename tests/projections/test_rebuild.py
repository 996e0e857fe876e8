"""Views that were kept up, in whatever steps and through whatever crashes, are those that a rebuild gives (R12)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.actors.turns_view import TurnsProjection
from loom.decisions import (
    ApprovalsProjection,
    DecisionJournalEntry,
    PrecedentReference,
    RunsProjection,
    RunStartedEntry,
    TracesProjection,
)
from loom.identity import derived_id
from loom.journal import Recorded
from loom.policies.entries import PolicyAdoptedEntry
from loom.precedents import PrecedentsProjection
from loom.projections import Projection, Projector, Views, digest, dump
from loom.projections.writer import ViewsWriter
from tests.projections.every import every_projection
from tests.projections.histories import Happening, histories, registered
from tests.projections.journals import RULE, decision, open_store, whole_turn, write

WORDS = "SELECT rowid FROM precedent_words WHERE precedent_words MATCH ? ORDER BY rowid"


class Killed(BaseException):
    """Stands for the end of the process: nothing that handles errors may handle it."""


class Dying:
    """A projection whose process dies when it is given its n-th entry."""

    def __init__(self, projection: Projection, *, after: int) -> None:
        self.name, self.version, self.kinds = projection.name, projection.version, projection.kinds
        self.schema, self.tables = projection.schema, projection.tables
        self._projection = projection
        self._left = after

    def apply(self, recorded: Recorded, view: sqlite3.Connection) -> None:
        self._left -= 1
        if self._left < 0:
            raise Killed
        self._projection.apply(recorded, view)


def said(path: Path) -> tuple[str, list[tuple[int, ...]]]:
    with contextlib.closing(sqlite3.connect(path)) as views:
        words = [tuple(found) for word in ("acme", "then", "7") for found in views.execute(WORDS, (word,))]
        return digest(views), words


async def record(directory: Path, happenings: Sequence[Happening]) -> list[Recorded]:
    store = await open_store(directory)
    for journal, turn, entry in happenings:
        await write(store, journal, entry, command_id=turn)
    recorded = [each async for each in store.read_all()]
    await store.close()
    return recorded


def fold(path: Path, entries: Sequence[Recorded], *, batch: int) -> None:
    writer = ViewsWriter(path, every_projection())
    writer.open()
    for first in range(0, len(entries), batch):
        writer.apply(entries[first : first + batch])
    writer.close()


def fold_dying(
    path: Path, entries: Sequence[Recorded], *, batches: Sequence[int], lives: Sequence[tuple[int, int]]
) -> None:
    """Fold in pages of changing size; in each life one projection kills the process, the last one reaches the end."""
    pages = iter(batches)
    for which, after in (*lives, (0, 10_000)):
        every = every_projection()
        every[which] = Dying(every[which], after=after)
        writer = ViewsWriter(path, every)
        position = min(checkpoint.position for checkpoint in writer.open().values())
        with contextlib.suppress(Killed):
            while position < len(entries):
                size = next(pages, 3)
                checkpoints = writer.apply(entries[position : position + size])
                assert [each.failed for each in checkpoints.values()] == [None] * len(every)
                position = min(checkpoint.position for checkpoint in checkpoints.values())
        writer.close()


@settings(max_examples=100)
@given(
    histories,
    st.lists(st.integers(1, 9), max_size=20),
    st.lists(st.tuples(st.integers(0, len(every_projection()) - 1), st.integers(0, 9)), min_size=1, max_size=4),
)
def test_views_kept_up_through_crashes_equal_rebuilt_ones(
    happenings: list[Happening], batches: list[int], lives: list[tuple[int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        entries = asyncio.run(record(directory, happenings))
        fold(directory / "rebuilt", entries, batch=1_000)
        fold_dying(directory / "kept", entries, batches=batches, lives=lives)
        assert said(directory / "kept") == said(directory / "rebuilt")


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), max_size=12))
def test_pages_that_overlap_or_leave_a_gap_are_taken_for_what_they_are(slices: list[tuple[int, int]]) -> None:
    """A page moves a projection only where it holds the very next entry, and only by what is new in it."""
    with tempfile.TemporaryDirectory() as name:
        writer = ViewsWriter(Path(name) / "kept", every_projection())
        writer.open()
        position = 0
        for first, size in slices:
            page = THIRTY[first : first + size]
            checkpoints = writer.apply(page)
            if page and first <= position < first + len(page):
                position = first + len(page)
            assert {checkpoint.position for checkpoint in checkpoints.values()} == {position}
        writer.close()
        fold(Path(name) / "folded", THIRTY[:position], batch=100)
        assert said(Path(name) / "kept") == said(Path(name) / "folded")


def _thirty() -> list[Recorded]:
    with tempfile.TemporaryDirectory() as name:
        turns = [("discount-agent/a", f"t{turn}", entry) for turn in range(4) for entry in whole_turn(f"n{turn}")]
        return asyncio.run(record(Path(name), turns[:30]))


THIRTY = _thirty()


@pytest.mark.parametrize("batch", [1, 7, 1_000])
async def test_rebuilding_gives_what_was_there(tmp_path: Path, batch: int) -> None:
    store = await open_store(tmp_path)
    views = Views(store.files.views)
    projector = Projector(store, views, every_projection(), batch=batch)
    await projector.start()
    for number in range(6):
        turn = whole_turn(f"n{number}", percent=5 * number)
        await write(store, f"discount-agent/{number % 2}", *turn, command_id=f"c{number}")
        await projector.caught_up()
    before = said(store.files.views)
    await projector.rebuild()
    assert said(store.files.views) == before
    await projector.close()
    await views.close()
    await store.close()


def test_the_digest_sees_every_row(tmp_path: Path) -> None:
    run = RunStartedEntry(run_id="r", run_kind="simulation", by="ana")
    overruled = PrecedentReference(decision_id=derived_id("test", "earlier"), relation="overruled")
    within = DecisionJournalEntry(decision=decision("within", run_id="r", precedents=(overruled,)))
    adopted = PolicyAdoptedEntry(name="discount", version="policy_v1_9af01c22", hash="9af01c22" * 8, by="ana")
    turn: list[Happening] = [("discount-agent/a", "t", entry) for entry in whole_turn("a")]
    entries = asyncio.run(
        record(
            tmp_path,
            [
                ("loom/runs", None, run),
                ("loom/policies", None, adopted),
                ("loom/equivalence", None, registered(RULE)),
                ("discount-agent/a", "u", within),
                *turn,
            ],
        )
    )
    fold(tmp_path / "v", entries, batch=10)
    with contextlib.closing(sqlite3.connect(tmp_path / "v")) as views:
        whole = digest(views)
        folding = (TurnsProjection, TracesProjection, ApprovalsProjection, PrecedentsProjection, RunsProjection)
        names = {name for projection in folding for name in projection.tables}
        tables = {name: rows for name, rows in dump(views).items() if name in names}
        assert {name for name, rows in tables.items() if not rows} == {
            "precedent_closed",
            "precedent_sealed",
            "precedent_sums_waiting",
            "trace_answers",
            "trace_divergences",
            "trace_observed_days",
            "trace_outcomes",
            "trace_turns",
            "turn_open",
        }
        for name, rows in tables.items():
            if rows:
                views.execute("SAVEPOINT one")
                views.execute(f"DELETE FROM {name}")
                assert digest(views) != whole, f"nothing in [{name}] counts"
                views.execute("ROLLBACK TO one")
        assert digest(views) == whole
        views.execute("UPDATE turns SET by = 'somebody else'")
        assert digest(views) != whole
        views.rollback()
        assert digest(views, TurnsProjection.tables) != whole
