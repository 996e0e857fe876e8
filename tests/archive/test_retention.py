"""Retention: nothing younger is archived for pruning or pruned, unless a person overrides that, which is journaled."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom import Loom, LoomConfig
from loom.actors import Sources
from loom.archive import Archive, Archives, Pruned, Retention, RetentionOverriddenEntry, seal
from loom.config import RetentionConfig
from loom.errors import AdmissionError, InvalidNameError, JournalCorruptError, RetentionError
from loom.operations import Operations
from loom.testing import FixedClock
from tests.archive.agents import START, Note, Notes
from tests.on_postgres import verify


def opened(path: Path, days: float, **retention: object) -> Loom:
    """Return the loom of a workspace so many days after its beginning."""
    sources = Sources(clock=FixedClock(START + timedelta(days=days)))
    config = LoomConfig(data=path, retention=RetentionConfig.model_validate(retention))
    return Loom.open(config, by="mira", actors=[Notes], sources=sources)


async def noted(path: Path, *, days: float = 0, name: str = "a") -> None:
    async with opened(path, days) as loom:
        await loom.actor(Notes, name).ask(Note(text="a note"))


async def sealed(loom: Loom, out: Path, *, retention: Retention | None = None) -> dict[str, int] | None:
    """Seal what there is; return what was left, by why, or None where there was nothing to seal."""
    now = loom.now()
    made = await seal(
        loom.store,
        out,
        workspace="default",
        until=loom.store.acknowledged,
        before=now + timedelta(seconds=1),
        by="vera",
        now=now,
        retention=retention,
    )
    return None if made is None else dict(made.left)


async def overridden(loom: Loom) -> list[RetentionOverriddenEntry]:
    read = loom.store.read("loom/archives")
    return [each.entry async for each in read if isinstance(each.entry, RetentionOverriddenEntry)]


async def pruned(loom: Loom, file: Path, override: str | None = None) -> Pruned:
    archives = Archives(loom.store, retention=Retention.of(loom.config.retention))
    return await archives.prune(Archive(file), by="vera", reason="it is over", override=override)


async def test_what_is_younger_is_not_vouched_for_nor_pruned_and_the_day_after_it_is(tmp_path: Path) -> None:
    await noted(tmp_path / "data")
    async with opened(tmp_path / "data", 364) as loom:
        assert await sealed(loom, tmp_path / "none.zip", retention=Retention.of()) is None
        assert await sealed(loom, tmp_path / "a.zip") == {}
        with pytest.raises(RetentionError, match=r"\[notes/a\] is kept until \[2031-01-01 .* override retention"):
            await Archives(loom.store).add(Archive(tmp_path / "a.zip"), by="vera")
        with pytest.raises(JournalCorruptError, match="not in the journal of archives"):
            await pruned(loom, tmp_path / "a.zip")
        await Archives(loom.store).add(Archive(tmp_path / "a.zip"), by="vera", override="an auditor asked for a copy")
        assert (await pruned(loom, tmp_path / "a.zip")).journals == (), "an override of the one is none of the other"
        assert [(each.what, each.by, each.reason) for each in await overridden(loom)] == [
            ("archive", "vera", "an auditor asked for a copy")
        ]
    assert verify(tmp_path / "data" / "default" / "journal.db").counts.get("PRUNED") is None
    async with opened(tmp_path / "data", 366) as loom:
        assert (await pruned(loom, tmp_path / "a.zip")).journals == ("notes/a",)
        assert len(await overridden(loom)) == 1, "nothing was overridden"


async def test_an_override_of_a_prune_is_journaled_in_a_persons_name_before_anything_goes(tmp_path: Path) -> None:
    await noted(tmp_path / "data")
    async with opened(tmp_path / "data", 10) as loom:
        await sealed(loom, tmp_path / "a.zip")
        archives = Archives(loom.store)
        await archives.add(Archive(tmp_path / "a.zip"), by="vera", override="the contract ended")
        for override in ("", "  "):
            with pytest.raises(AdmissionError, match="say why"):
                await pruned(loom, tmp_path / "a.zip", override)
        with pytest.raises(InvalidNameError):
            await archives.prune(Archive(tmp_path / "a.zip"), by="", reason="x", override="nobody says so")
        done = await pruned(loom, tmp_path / "a.zip", "the contract ended, and she asked for it")
        assert done.journals == ("notes/a",)
        kinds = [each.kind async for each in loom.store.read("loom/archives")]
        assert kinds == ["retention_overridden", "archived", "retention_overridden", "pruned"]
        [_, last] = await overridden(loom)
        assert (last.what, last.by, last.reason) == ("prune", "vera", "the contract ended, and she asked for it")
        assert last.kept_until == {"notes/a": START + timedelta(days=365)}


async def test_each_kind_of_journal_is_kept_as_long_as_the_config_says(tmp_path: Path) -> None:
    await noted(tmp_path / "data")
    await noted(tmp_path / "data", days=25, name="b")
    keep = {"keep_days": 365, "kinds": {"notes": 30}}
    async with opened(tmp_path / "data", 40, **keep) as loom:
        kept = Retention.of(loom.config.retention)
        assert await sealed(loom, tmp_path / "a.zip", retention=kept) == {"kept by retention": 1}
        assert [each.journal for each in Archive(tmp_path / "a.zip").manifest.journals if not each.context] == [
            "notes/a"
        ]
        operations = Operations(loom)
        asked = {"file": str(tmp_path / "a.zip"), "by": "vera"}
        await operations.call("archives.add", dict(asked))
        said: Any = await operations.call("archives.prune", {**asked, "reason": "it is over"})
        assert said["journals"] == ["notes/a"]
        assert said["left"].pop("loom/elections", "context") == "context"  # where several processes may write
        assert said["left"] == {"loom/policies": "context"}
        assert await overridden(loom) == []


@given(st.floats(0, 36_500), st.dictionaries(st.sampled_from(["notes", "gate"]), st.floats(0, 36_500)))
def test_no_journal_is_ever_kept_for_less_than_its_kind_says(keep_days: float, kinds: dict[str, float]) -> None:
    retention = Retention.of(RetentionConfig(keep_days=keep_days, kinds=kinds))
    now = datetime.fromisoformat("2140-01-01T00:00:00+00:00")
    for name in ("notes/a", "gate/a", "other/a"):
        days = kinds.get(name.partition("/")[0], keep_days)
        assert retention.shortest <= timedelta(days=days)
        whole = now - timedelta(days=days)
        assert retention.within({name: whole}, now) == {}
        assert list(retention.within({name: whole + timedelta(seconds=1)}, now)) == [name]
