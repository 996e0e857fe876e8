"""Single bodies go into an encrypted archive, their actors go on, and whoever is erased is gone from every copy."""

from __future__ import annotations

import json
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from loom import Loom, LoomConfig
from loom.actors import Sources
from loom.actors.checkpointing import Checkpoints
from loom.archive import (
    Adoption,
    Archive,
    Archives,
    BodiesPruned,
    BodyPruning,
    Due,
    Retention,
    bodies_of_kinds,
    bodies_of_subject,
    seal,
)
from loom.config import ActorsConfig, JournalConfig
from loom.errors import ConfigError, ErasedError, JournalCorruptError, RetentionError
from loom.journal.entry import UnknownEntry
from loom.journal.kinds import PrunedEntry
from loom.sealing import MASTER_KEY, SealingConfig
from loom.testing import FixedClock
from tests.actors.test_checkpoints import KEYS, Add, Book, Ledger, Wait
from tests.archive.agents import START
from tests.on_postgres import verify

NONE_KEPT = Retention(0.0, {})


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, KEYS)


@asynccontextmanager
async def opened(
    path: Path, *, sealing: bool = True, days: int = 0, every: int = 0, redactable: tuple[str, ...] = ()
) -> AsyncIterator[Loom]:
    config = LoomConfig(
        data=path,
        journal=JournalConfig(redactable=redactable),
        actors=ActorsConfig(snapshot_every=every),
        sections={"sealing": SealingConfig(enabled=sealing)},
    )
    clock = FixedClock(START + timedelta(days=days))
    async with Loom.open(config, by="mira", actors=[Ledger], sources=Sources(clock=clock)) as loom:
        yield loom


def pruning(loom: Loom, retention: Retention = NONE_KEPT) -> BodyPruning:
    archives = Archives(loom.store, retention=retention, subjects=loom.subjects)
    checkpoints = Checkpoints(loom.actors, loom.subjects)
    return BodyPruning(loom.store, archives, loom.subjects, checkpoints, retention=retention)


async def prune(loom: Loom, subject: str, out: Path, **more: Any) -> BodiesPruned:
    chosen = await bodies_of_subject(loom.store, subject, subjects=loom.subjects)
    retention = more.pop("retention", NONE_KEPT)
    return await pruning(loom, retention).carry_out(chosen, out, by="vera", reason="asked for it", **more)


async def told(loom: Loom, *names: str, key: str = "l") -> None:
    for name in names:
        await loom.actor(Ledger, key).ask(Add(customer=name, text=f"a secret of {name}"))


async def state(loom: Loom, key: str = "l") -> Book:
    folded: Book = await loom.replay.state(f"ledger/{key}")
    return folded


async def read(loom: Loom, file: Path) -> dict[int, Any]:
    """Return sequence → entry of the ledger in an archive, opened."""
    archive = Archive(file, vault=loom.subjects.vault)
    try:
        return {each.sequence: each.entry async for each in archive.read("ledger/l")}
    finally:
        archive.close()


@pytest.mark.parametrize("redactable", [(), ("command_received", "turn_completed")])
async def test_bodies_of_a_subject_go_into_an_encrypted_archive_and_the_actor_goes_on(
    tmp_path: Path, redactable: tuple[str, ...]
) -> None:
    file = tmp_path / "ada.zip"
    async with opened(tmp_path / "data", redactable=redactable) as loom:
        await told(loom, "ada", "bob", "ada")
        before = {each.sequence: each async for each in loom.store.read("ledger/l")}
        assert {each.body_scheme for each in before.values()} == ({1, 2} if redactable else {1})
        expected = await state(loom)
        done = await prune(loom, "ada", file)
        assert (done.file, done.left) == (file, {})
        gone = {each.sequence async for each in loom.store.read("ledger/l") if each.body is None}
        assert len(gone) == done.journals["ledger/l"] == 2 * len(before) // 3
        declared = [each.entry async for each in loom.store.read("loom/archives") if each.kind == PrunedEntry.kind]
        said = [(each.first_sequence, each.last_sequence, each.archive) for each in declared]  # type: ignore[attr-defined]
        assert len(said) == 2
        assert {each[2] for each in said} == {done.digest}
        assert {at for first, last, _ in said for at in range(first, last + 1)} == gone
        assert await state(loom) == expected
        found = await read(loom, file)
        assert {at: each for at, each in found.items() if at in gone} == {at: before[at].entry for at in gone}
    async with opened(tmp_path / "data") as loom:
        assert await loom.actor(Ledger, "l").ask(Add(customer="ada", text="more")) == 4
    assert verify(tmp_path / "data" / "default" / "journal.db", workspace="default").ok
    with zipfile.ZipFile(file) as opened_file:
        raw = b"".join(opened_file.read(name) for name in opened_file.namelist())
    assert b"secret" not in raw
    archive = Archive(file)
    found_wrong = archive.verify()
    assert found_wrong.ok, list(found_wrong.lines())
    assert found_wrong.closed == len(gone)
    sealed = [each async for each in archive.read("ledger/l") if each.has_body is False and each.body is not None]
    assert {each.sequence for each in sealed} == gone
    assert all(isinstance(each.entry, UnknownEntry) and each.entry.problem == "sealed" for each in sealed)
    assert not any(before[at].salt in (each.salt,) for at, each in zip(sorted(gone), sealed, strict=True))
    archive.close()


async def test_a_body_whose_subject_was_erased_reads_as_erased_in_every_copy(tmp_path: Path) -> None:
    file, whole = tmp_path / "ada.zip", tmp_path / "whole.zip"
    async with opened(tmp_path / "data") as loom:
        await told(loom, "ada", "bob")
        made = await seal(
            loom.store,
            whole,
            workspace="default",
            until=loom.store.acknowledged,
            before=START.replace(year=2031),
            by="vera",
            now=START.replace(year=2031),
            vault=loom.subjects.vault,
            erasures=loom.subjects.erasures,
        )
        assert made is not None
        assert made.manifest.is_encrypted
        done = await prune(loom, "ada", file)
        gone = {each.sequence async for each in loom.store.read("ledger/l") if each.body is None}
        assert len(gone) == done.journals["ledger/l"]
        await loom.subjects.erase("ada", by="vera", reason="asked for it")
        for each in (await read(loom, file), await read(loom, whole)):
            assert {at: entry.problem for at, entry in each.items() if at in gone} == dict.fromkeys(gone, "erased")
        others = {at: each for at, each in (await read(loom, whole)).items() if at not in gone}
        assert others
        assert not any(isinstance(each, UnknownEntry) for each in others.values())
        archive = Archive(file)
        assert await archive.verify_closed(loom.subjects.opened_vault()) == []
        assert archive.verify().ok
        archive.close()
        again = await prune(loom, "bob", tmp_path / "bob.zip")
        assert again.left == {}
        assert await state(loom) == Book(pages={"bob": ["a secret of bob"]}, entries=1)


async def test_what_is_held_kept_or_unfinished_is_left_with_why_and_nothing_of_it_is_archived(tmp_path: Path) -> None:
    year = Retention(365, {})
    async with opened(tmp_path / "data") as loom:
        await told(loom, "ada")
        await told(loom, "ada", key="waits")
        await loom.actor(Ledger, "waits").tell(Wait())
        while not await loom.approvals.pending():
            await loom.reached()
        await loom.subjects.hold("ada", by="vera", reason="a claim")
        done = await prune(loom, "ada", tmp_path / "a.zip")
        assert done.file is None
        assert done.left == {"ledger/l": "subject [ada] is held", "ledger/waits": "with a turn that has no end"}
        await loom.subjects.lift("ada", by="vera", reason="over")
        done = await prune(loom, "ada", tmp_path / "a.zip", retention=year)
        assert done.left["ledger/l"].startswith("retention keeps it until 2031-")
        assert not (tmp_path / "a.zip").exists()
        done = await prune(loom, "ada", tmp_path / "a.zip", retention=year, override="the regulator asked")
        assert list(done.journals) == ["ledger/l"]
        overridden = [each.plain async for each in loom.store.read("loom/archives") if "overridden" in each.kind]
        assert [each["reason"] for each in overridden if each is not None] == ["the regulator asked"]


async def test_a_hold_that_comes_while_bodies_are_archived_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "data") as loom:
        await told(loom, "ada", "bob")
        real = Archives.add_bodies

        async def held(self: Archives, *given: Any, **more: Any) -> Any:
            await loom.subjects.hold("ada", by="vera", reason="a claim")
            return await real(self, *given, **more)

        monkeypatch.setattr(Archives, "add_bodies", held)
        done = await prune(loom, "ada", tmp_path / "a.zip")
        assert done.left == {"ledger/l": "subject [ada] is held"}
        assert all([each.body is not None async for each in loom.store.read("ledger/l")])


async def test_a_prune_of_bodies_that_is_killed_at_any_step_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    async def killed(*_: object, **__: object) -> None:
        raise Killed

    async with opened(tmp_path / "data") as loom:
        await told(loom, "ada", "bob", "ada")
        expected = await state(loom)
        for number, (owner, name) in enumerate(
            ((Archives, "add_bodies"), (Checkpoints, "make"), (Archives, "declare"), (type(loom.store), "prune_bodies"))
        ):
            with monkeypatch.context() as patched:
                patched.setattr(owner, name, killed)
                with pytest.raises(Killed):
                    await prune(loom, "ada", tmp_path / f"{number}.zip")
            assert await state(loom) == expected
        done = await prune(loom, "ada", tmp_path / "last.zip")
        assert list(done.journals) == ["ledger/l"]
        assert await state(loom) == expected
    assert verify(tmp_path / "data" / "default" / "journal.db", workspace="default").ok


async def test_bodies_of_a_kind_go_when_their_days_are_over_and_not_before(tmp_path: Path) -> None:
    days = {"ledger:test.checkpoint_added": 30.0, "turn_completed": 90.0, "command_received": 0.0}
    async with opened(tmp_path / "data") as loom:
        await told(loom, "ada")
    async with opened(tmp_path / "data", days=31) as loom:
        await told(loom, "ada")
        expected = await state(loom)
        chosen = await bodies_of_kinds(loom.store, days, now=loom.store.now)
        kinds = {each.sequence: each.kind async for each in loom.store.read("ledger/l")}
        assert [kinds[at] for at in chosen["ledger/l"]] == ["test.checkpoint_added"]
        done = await pruning(loom).carry_out(chosen, tmp_path / "a.zip", by="vera", reason="due", is_due=True)
        assert done.journals == {"ledger/l": 1}
        assert await state(loom) == expected


async def test_nothing_is_pruned_without_a_vault_or_for_an_archive_that_does_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "data") as loom:
        await told(loom, "ada")
        other = loom.subjects.opened_vault()

        async def lost(*_: object, **__: object) -> bytes:
            raise ErasedError("there is no key of [ada]")

        with monkeypatch.context() as patched:
            patched.setattr("loom.archive.closed.open_for_all", lost)
            with pytest.raises(JournalCorruptError, match="does not open"):
                await prune(loom, "ada", tmp_path / "a.zip")
        assert all([each.body is not None async for each in loom.store.read("ledger/l")])
        assert await other.knows("ada")
        chosen = await bodies_of_subject(loom.store, "ada", subjects=loom.subjects)
    async with opened(tmp_path / "data", sealing=False) as loom:
        with pytest.raises(ConfigError, match="there is no vault"):
            await pruning(loom).carry_out(chosen, tmp_path / "b.zip", by="vera", reason="asked for it")


async def test_adopted_retention_takes_bodies_of_a_kind_and_a_setting_without_them_keeps_its_digest(
    tmp_path: Path,
) -> None:
    plain = Retention(365, {"notes": 30})
    said = json.dumps(["loom/retention/v1", 365.0, [["notes", 30.0]]])
    with_bodies = plain._replace(bodies={"turn_completed": 30.0})
    async with opened(tmp_path / "data") as loom:
        assert Adoption(loom.store, plain).digest == sha256(said.encode()).hexdigest(), (
            "it was adopted before bodies were"
        )
        await told(loom, "ada", "bob")
    async with opened(tmp_path / "data", days=31) as loom:
        archives = Archives(loom.store, retention=with_bodies, subjects=loom.subjects)
        adoption = Adoption(loom.store, with_bodies)
        due = Due(
            loom.store,
            adoption,
            loom.subjects.erasures,
            now=loom.store.now,
            vault=loom.subjects.vault,
            pruning=pruning(loom, with_bodies),
        )
        await Adoption(loom.store, plain).adopt(by="vera", reason="as agreed")
        with pytest.raises(RetentionError, match="expected the setting that was adopted"):
            await due.carry_out(archives, tmp_path)
        await adoption.adopt(by="vera", reason="as agreed")
        assert {name: len(each) for name, each in (await due.bodies()).items()} == {"ledger/l": 2}
        done = await due.carry_out(archives, tmp_path, blocker=loom.actors)
        assert done.file is None, "the journal itself is kept"
        assert done.bodies is not None
        assert done.bodies.journals == {"ledger/l": 2}
        gone = [each.kind async for each in loom.store.read("ledger/l") if each.body is None]
        assert gone == ["turn_completed"] * 2
        assert "bodies_closed" not in [each.kind async for each in loom.store.read("ledger/l")]
        assert (await due.carry_out(archives, tmp_path, blocker=loom.actors)).bodies is None


async def test_a_snapshot_from_before_a_checkpoint_says_nothing_once_a_subject_of_it_was_erased(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", every=2) as loom:
        await told(loom, "ada", "bob", "ada")
        assert (await prune(loom, "ada", tmp_path / "a.zip")).left == {}
        assert loom.actors.services.snapshots is not None
        assert await loom.actors.services.snapshots.get("ledger/l") is None, (
            "it may hold in clear what the checkpoint has sealed"
        )
        await loom.subjects.erase("ada", by="vera", reason="asked for it")
        assert await loom.actor(Ledger, "l").ask(Add(customer="bob", text="more")) == 2, "awake, it has let go of her"
    async with opened(tmp_path / "data", every=2) as loom:
        assert await state(loom) == Book(pages={"bob": ["a secret of bob", "more"]}, entries=2)
