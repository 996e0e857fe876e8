"""Retention goes by itself only for a person who adopted the setting, and never against a hold."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.archive import Adoption, Archive, Archives, Due, Retention
from loom.errors import ActorPrunedError, AdmissionError, InvalidNameError, RetentionError
from loom.journal.kinds import PrunedEntry
from tests.archive.agents import Ask, Note, Notes
from tests.archive.test_retention import noted, opened, sealed
from tests.cli.support import invoke
from tests.on_postgres import verify

NAMED: dict[str, str] = {"by": "vera", "reason": "as agreed"}


def due_in(loom: Loom) -> Due:
    adoption = Adoption(loom.store, Retention.of(loom.config.retention))
    return Due(loom.store, adoption, loom.subjects.erasures, now=loom.now)


def archives_of(loom: Loom) -> Archives:
    return Archives(loom.store, retention=Retention.of(loom.config.retention), subjects=loom.subjects)


async def left(loom: Loom) -> dict[str, str | None]:
    return {each.journal: each.left for each in await due_in(loom).listed()}


async def bodies(loom: Loom, journal: str) -> list[bool]:
    return [each.body is not None async for each in loom.store.read(journal)]


async def test_what_is_due_is_listed_with_why_some_of_it_is_left(tmp_path: Path) -> None:
    await noted(tmp_path, name="old")
    async with opened(tmp_path, 0) as loom:
        await loom.actor(Notes, "held").ask(Note(text="x"))
        await loom.actor(Notes, "asking").tell(Ask())
        await loom.subjects.hold("held", by="lea", reason="a claim is open")
    await noted(tmp_path, days=300, name="young")
    async with opened(tmp_path, 364) as loom:
        assert await left(loom) == {}
    async with opened(tmp_path, 366) as loom:
        assert await left(loom) == {
            "notes/old": None,
            "notes/held": "of a subject on hold",
            "notes/asking": "with a turn that has no end",
        }


async def test_retention_is_carried_out_for_who_adopted_the_setting_and_stops_when_it_is_changed(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    for name in ("a", "b"):
        await noted(data, name=name)
    async with opened(data, 366) as loom:
        await loom.subjects.hold("b", by="lea", reason="a claim is open")
        due = due_in(loom)
        with pytest.raises(RetentionError, match="retention was not adopted"):
            await due.carry_out(archives_of(loom), tmp_path)
        for by, reason, error in (("", "x", InvalidNameError), ("vera", " ", AdmissionError)):
            with pytest.raises(error):
                await due.adoption.adopt(by=by, reason=reason)
        with pytest.raises(RetentionError, match="look again"):
            await due.adoption.adopt(**NAMED, digest="0123")
        assert await due.adoption.adopt(**NAMED, digest=due.adoption.digest[:12])
        assert not await due.adoption.adopt(**NAMED)
    for changed in ({"keep_days": 30}, {"kinds": {"notes": 30}}):
        async with opened(data, 366, **changed) as loom:
            with pytest.raises(RetentionError, match=r"\[vera .*\] adopted"):
                await due_in(loom).carry_out(archives_of(loom), tmp_path)
            assert await bodies(loom, "notes/a") == [True] * 4
    async with opened(data, 366) as loom:
        done = await due_in(loom).carry_out(archives_of(loom), tmp_path, blocker=loom.actors)
        assert done.pruned.journals == ("notes/a",)
        assert done.pruned.left == {"notes/b": "of a subject on hold"}
        assert done.file is not None
        assert Archive(done.file).verify().ok
        assert await bodies(loom, "notes/a") == [False] * 4
        assert await bodies(loom, "notes/b") == [True] * 4
        [entry] = [each.entry async for each in loom.store.read("loom/archives") if isinstance(each.entry, PrunedEntry)]
        assert (entry.by, "as agreed" in entry.reason) == ("vera", True)
        with pytest.raises(ActorPrunedError):
            await loom.actor(Notes, "a").ask(Note(text="more"))
        again = await due_in(loom).carry_out(archives_of(loom), tmp_path)
        assert (again.file, again.pruned.journals) == (None, ())
        await loom.subjects.lift("b", by="lea", reason="it is settled")
        assert (await due_in(loom).carry_out(archives_of(loom), tmp_path)).pruned.journals == ("notes/b",)
        adoption = due_in(loom).adoption
        await adoption.load()
        assert await adoption.withdraw(**NAMED)
        assert not await adoption.withdraw(**NAMED)
        with pytest.raises(RetentionError, match="retention was not adopted"):
            await due_in(loom).carry_out(archives_of(loom), tmp_path)
    assert verify(data / "default" / "journal.db", workspace="default").ok


@pytest.mark.parametrize("made", ["by loom", "by hand"])
async def test_a_hold_beats_a_person_who_prunes_by_hand_and_overrides_retention(tmp_path: Path, made: str) -> None:
    await noted(tmp_path / "data")
    async with opened(tmp_path / "data", 1) as loom:
        assert await sealed(loom, tmp_path / "a.zip") == {}
        await loom.subjects.hold("a", by="lea", reason="a claim is open")
        archives = archives_of(loom) if made == "by loom" else Archives(loom.store)
        archive = Archive(tmp_path / "a.zip")
        await archives.add(archive, by="vera", override="a test")
        done = await archives.prune(archive, by="vera", reason="it is over", override="a test")
        assert (done.journals, done.left["notes/a"]) == ((), "subject [a] is held")
        assert await bodies(loom, "notes/a") == [True] * 4
        await loom.subjects.lift("a", by="lea", reason="it is settled")
        assert (await archives.prune(archive, by="vera", reason="x", override="a test")).journals == ("notes/a",)


async def test_nobody_is_held_while_something_of_theirs_is_taken_away(tmp_path: Path) -> None:
    await noted(tmp_path)
    async with opened(tmp_path, 1) as loom:
        async with loom.subjects.unheld({"a", "b"}) as held:
            assert held is None
            asked = asyncio.create_task(loom.subjects.hold("a", by="lea", reason="a claim is open"))
            await loom.actor(Notes, "c").ask(Note(text="other work goes on"))
            assert not asked.done()
            assert "a" not in loom.subjects.erasures.held()
        assert await asked
        async with loom.subjects.unheld({"a", "b"}) as held:
            assert held == "a"


async def test_the_shell_lists_adopts_and_carries_out(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/data", by="mira", actors=[Notes], workspace="main") as loom:
        await loom.actor(Notes, "a").ask(Note(text="x"))
    del loom
    config = tmp_path / "loom.config.yaml"
    config.write_text("data: data\nworkspace: main\nretention: {keep_days: 0}\n")

    def asked(*arguments: str) -> Any:
        return invoke("retention", *arguments, config=config)

    def all_of_it() -> None:
        said = asked("--json").json
        assert ([each["journal"] for each in said["due"]], said["in_force"]) == (["notes/a"], False)
        assert "it is not adopted" in asked().out
        refused = asked("run", "-o", str(tmp_path))
        assert (refused.code, "retention was not adopted" in refused.err) == (1, True)
        assert "is adopted\n" in asked("adopt", "--by", "vera", "-m", "x", "--setting", said["digest"][:12]).out
        assert "adopted by vera" in asked().out
        done = asked("run", "-o", str(tmp_path), "--json")
        assert (done.code, done.json["journals"]) == (0, ["notes/a"])
        assert Path(done.json["file"]).exists()
        assert asked("run", "-o", str(tmp_path)).code == 1
        assert "Nothing is due." in asked().out
        assert asked("withdraw", "--by", "vera", "-m", "x").out == "retention is carried out no longer\n"

    await asyncio.to_thread(all_of_it)


def test_a_setting_is_another_with_any_change_and_the_same_however_it_is_written() -> None:
    def digest(keep_days: float, **kinds: float) -> str:
        store: Any = None
        return Adoption(store, Retention(keep_days, kinds)).digest

    assert digest(365, notes=30, more=1) == digest(365.0, more=1.0, notes=30.0)
    assert len({digest(365), digest(364), digest(365, notes=365), digest(365, note=365), digest(365, notes=1)}) == 5
    assert timedelta(days=1) == Retention(365, {"a": 1}).shortest
