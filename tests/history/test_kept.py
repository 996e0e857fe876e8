"""Imported journals are sealed, kept, pruned and verified like an actor's, and what they brought in stays once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from loom import Loom, LoomConfig
from loom.actors import Sources
from loom.archive import Archive, Archives, seal
from loom.archive.retention import Retention
from loom.testing import FixedClock
from tests.archive.agents import START
from tests.history.support import bank, rows
from tests.on_postgres import verify

LATER = START + timedelta(days=400)


async def test_an_imported_journal_is_archived_kept_pruned_and_verified_like_an_actors(tmp_path: Path) -> None:
    given = rows(24)
    for at in (START, LATER):
        async with Loom.open(LoomConfig(data=tmp_path), by="mira", sources=Sources(clock=FixedClock(at))) as loom:
            if at == START:
                await loom.history.load(given, bank(), by="vera")
                continue
            sealing = {
                "workspace": "default",
                "until": loom.store.acknowledged,
                "before": LATER,
                "by": "vera",
                "now": LATER,
            }
            kept = Retention(keep_days=1.0, kinds={"mortgage": 500.0})
            assert await seal(loom.store, tmp_path / "none.zip", retention=kept, **sealing) is None  # type: ignore[arg-type]
            made = await seal(loom.store, tmp_path / "a.zip", **sealing)  # type: ignore[arg-type]
            assert made is not None
            chosen = [each.journal for each in made.manifest.journals if not each.context]
            assert chosen == ["mortgage/b0", "mortgage/b1", "mortgage/b2"]
            archives = Archives(loom.store)
            await archives.add(Archive(tmp_path / "a.zip"), by="vera")
            pruned = await archives.prune(Archive(tmp_path / "a.zip"), by="vera", reason="a year has passed")
            assert list(pruned.journals) == chosen
            report = await loom.history.check(given, bank())  # its own ids stay taken, and cannot be compared any more
            assert report.counts == {"erased": 24}
            await loom.rebuild()
            assert await loom.traces.find() == ()
    found = verify(tmp_path / "default" / "journal.db")
    assert found.ok
    assert found.counts["PRUNED"] == 3
