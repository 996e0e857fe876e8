"""Law 8, for the journal: a bounded queue slows down or refuses with an error; what it took, it writes or fails."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.errors import JournalBusyError, LoomError
from loom.journal import Append, Receipt
from loom.journal.sqlite import Reader, SqliteOptions, SqliteStore, WriterOptions
from tests.journal.support import assert_chained, collected, note, notes

pytestmark = pytest.mark.sqlite("the queue of the writer of a file")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 3), st.integers(1, 6)),
        st.tuples(st.just("extend"), st.integers(0, 3), st.just(1)),
        st.tuples(st.just("stale"), st.integers(0, 3), st.integers(1, 3)),
        st.tuples(st.just("spoilt"), st.integers(0, 3), st.just(1)),
        st.tuples(st.just("cancelled"), st.integers(0, 3), st.integers(1, 3)),
        st.tuples(st.just("breathe"), st.just(0), st.integers(1, 20)),
        st.tuples(st.just("room"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@settings(max_examples=40)
@given(STEPS, st.integers(6, 20), st.integers(1, 8))
def test_every_append_is_written_or_its_caller_knows_that_it_was_not(
    steps: list[tuple[str, int, int]], room: int, batch: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(live(Path(directory) / "journal.db", steps, room=room, batch=batch))


async def live(path: Path, steps: list[tuple[str, int, int]], *, room: int, batch: int) -> None:
    options = SqliteOptions(
        writer=WriterOptions(min_free_bytes=0, head_every=4), max_pending_entries=room, max_batch_entries=batch
    )
    store = await SqliteStore.open(path, options=options)
    sequences = dict.fromkeys(range(4), 0)
    taken: list[tuple[asyncio.Future[Receipt], list[str]]] = []
    silent: list[str] = []
    last: dict[int, tuple[asyncio.Future[Receipt], list[str]]] = {}
    for number, (what, journal, count) in enumerate(steps):
        if what == "breathe":
            for _ in range(count):
                await asyncio.sleep(0)
            continue
        if what == "room":
            await store.room()
            continue
        texts = [f"{number}.{index}" for index in range(count)]
        drafts = [note(text) for text in texts]
        if what == "extend":
            if journal in last and store.extend(last[journal][0], drafts[0]):
                last[journal][1].extend(texts)
                sequences[journal] += 1
            continue
        if what == "spoilt":
            drafts[0] = drafts[0]._replace(kind=None)  # type: ignore[arg-type]
        expected = sequences[journal] + (1 if what == "stale" else 0)
        try:
            future = store.submit(Append(f"a/{journal}", expected, drafts))
        except JournalBusyError:
            continue
        if what in ("submit", "cancelled"):
            sequences[journal] += count
        if what == "cancelled":
            future.cancel()
            silent += texts
        else:
            taken.append((future, texts))
        if what == "submit":
            last[journal] = taken[-1]
    await store.close()
    reader = Reader(path)
    written = [entry.entry.text for entry in await collected(reader.read_all())]  # type: ignore[attr-defined]
    await reader.close()
    promised = [text for future, texts in taken if not future.exception() for text in texts]
    refused = [text for future, texts in taken if future.exception() for text in texts]
    assert all(isinstance(future.exception(), LoomError | None) for future, _ in taken)
    assert not set(written) & set(refused)
    assert set(promised) <= set(written) <= set(promised) | set(silent)
    assert len(written) == len(set(written))


async def test_a_flood_is_refused_at_the_door_and_everything_let_in_is_written(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "journal.db", options=SqliteOptions(max_pending_entries=100))
    let_in = refused = 0
    for number in range(5_000):
        try:
            store.submit(notes(f"a/{number}", 0))
            let_in += 1
        except JournalBusyError:
            refused += 1
            await asyncio.sleep(0)
    await store.close()
    reader = Reader(tmp_path / "journal.db")
    entries = await collected(reader.read_all())
    await reader.close()
    assert refused > 0
    assert len(entries) == let_in
    assert_chained(entries)


async def test_bytes_are_bounded_as_well_as_entries(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "journal.db", options=SqliteOptions(max_pending_bytes=100_000))
    first = store.submit(notes("a/1", 0, text="x" * 60_000))
    with pytest.raises(JournalBusyError, match="bytes"):
        store.submit(notes("a/1", 1, text="x" * 60_000))
    await first
    assert (await store.append(notes("a/1", 1, text="x" * 60_000))).sequence == 2
    await store.close()
