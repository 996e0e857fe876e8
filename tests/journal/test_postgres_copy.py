"""`loom copy`: every byte the same, both sides verified, the source sealed; what goes wrong seals nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from loom.errors import AppendRefusedError, JournalLockedError, JournalReadOnlyError
from loom.journal import Append, PrunedEntry, copying, draft
from loom.journal.copying import copy_journal
from loom.journal.places import NodeFiles, reader_of
from loom.journal.sqlite import JournalFiles, SqliteStore
from tests.journal.support import collected, fill, mark, note, notes, received
from tests.postgres_server import Place


@pytest.fixture
async def source(tmp_path: Path) -> JournalFiles:
    """A journal in a file, written in two epochs, with commands, an own id, and a body that is gone."""
    files = JournalFiles(tmp_path / "journal.db")
    for epoch in range(2):
        store = await SqliteStore.open(files.journal)
        await store.append(Append(f"a/{epoch}", 0, [note("é"), received("c-1"), note("gone")]))
        await fill(store, {f"b/{epoch}": 3})
        await store.append(Append(f"c/{epoch}", 0, [mark("decision_observed", f"bank:{epoch}")]))
        await store.close()
    store = await SqliteStore.open(files.journal)
    pruned = draft(PrunedEntry(journal="a/1", first_sequence=3, last_sequence=3, reason="x", by="dana"))
    await store.append(Append("loom/pruned", 0, [pruned]))
    await store.prune_bodies("a/1", [(3, 3)])
    await store.close()
    return files


def silent(done: int, total: int) -> None:
    """Report no progress."""


async def read(files: JournalFiles) -> list[object]:
    reader = reader_of(files)
    try:
        return [(each.as_json(), each.salt, each.body) for each in await collected(reader.read_all())]
    finally:
        await reader.close()


async def test_a_copy_has_every_byte_and_the_source_is_written_no_more(
    place: Place, source: JournalFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_PAGE", 4)
    target = NodeFiles(tmp_path / "node", place.url())
    before = await read(source)
    copied = await copy_journal(source, target, workspace="default", progress=silent)
    assert (copied.entries, copied.copied) == (15, 15)
    assert await read(target) == before == await read(source)
    with pytest.raises(JournalReadOnlyError, match="sealed"):
        await SqliteStore.open(source.journal)
    store = await place.open()
    assert await store.own_ids(["bank:0", "bank:1"]) == {"bank:0": 7, "bank:1": 14}
    assert (await store.find_command("a/1", "c-1")) is not None
    head = await store.acquire("b/1")
    await store.append(notes("b/1", head.sequence))
    last = (await collected(store.read("b/1")))[-2:]
    assert last[0].epoch < last[1].epoch
    with pytest.raises(AppendRefusedError, match="not those of the source"):  # it has one more entry now
        await copy_journal(source, target, workspace="default", progress=silent)


async def test_a_copy_that_was_interrupted_goes_on(
    place: Place, source: JournalFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_PAGE", 4)
    target = NodeFiles(tmp_path / "node", place.url())

    def stop(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await copy_journal(source, target, workspace="default", progress=stop)
    await (await SqliteStore.open(source.journal)).close()  # it was not sealed
    assert (await copy_journal(source, target, workspace="default", progress=silent)).copied == 7
    entries = await collected(reader_of(source).read_all())
    assert len(entries) == 15


async def test_a_source_that_is_written_and_a_target_with_other_entries_are_refused(
    place: Place, source: JournalFiles, tmp_path: Path
) -> None:
    target = NodeFiles(tmp_path / "node", place.url())
    open_store = await SqliteStore.open(source.journal)
    with pytest.raises(JournalLockedError):
        await copy_journal(source, target, workspace="default", progress=silent)
    await open_store.close()
    await (await place.open()).append(notes("other/1", 0))
    with pytest.raises(AppendRefusedError, match="not those of the source"):
        await copy_journal(source, target, workspace="default", progress=silent)
    assert not source.moved.exists()
    store = await SqliteStore.open(source.journal)
    await store.close()
