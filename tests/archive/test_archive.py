"""Archives: sealed whole or not at all, verified from their own bytes, and pruned for only after that."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import shutil
import sqlite3
import stat
import subprocess
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loom import Loom, LoomConfig
from loom.actors import Sources
from loom.archive import Archive, Archives, Sealed, seal
from loom.config import ActorsConfig
from loom.errors import (
    ActorPrunedError,
    ActorStoppedError,
    AppendRefusedError,
    ConfigError,
    JournalCorruptError,
    JournalNotFoundError,
    SequenceConflictError,
)
from loom.journal.entry import UnknownEntry
from loom.journal.sqlite import writer_connection
from loom.journal.sqlite.connection import connect_writer
from loom.testing import FixedClock
from tests.archive.agents import START, Ask, Note, Notes
from tests.on_postgres import ON_POSTGRES, opened_class, verify
from tests.sealing.powercut import disk_under
from tests.sqlite_files import connected

LATER = START + timedelta(days=400)
SECRET = "a note that nobody else may keep"


@asynccontextmanager
async def opened(path: Path, at: datetime = START) -> AsyncIterator[Loom]:
    sources = Sources(clock=FixedClock(at))
    config = LoomConfig(data=path, actors=ActorsConfig(backoff_min_s=300))  # who is stopped stays so for a test
    async with Loom.open(config, by="mira", actors=[Notes], sources=sources) as loom:
        yield loom


async def fill(path: Path) -> None:
    """Leave two journals that are at rest, one that waits for somebody, and one that is younger."""
    async with opened(path) as loom:
        for name in ("old-1", "old-2", "goes-on"):
            for text in (SECRET, "another"):
                await loom.actor(Notes, name).ask(Note(text=text))
        await loom.actor(Notes, "waits").tell(Ask())
        while not await loom.approvals.pending():
            await loom.reached()
    async with opened(path, LATER) as loom:
        await loom.actor(Notes, "goes-on").ask(Note(text="and on"))


async def sealed(path: Path, out: Path, *, before: datetime = LATER) -> Sealed:
    async with opened(path, LATER) as loom:
        made = await seal(
            loom.store, out, workspace="default", until=loom.store.acknowledged, before=before, by="vera", now=LATER
        )
        assert made is not None
        await Archives(loom.store).add(Archive(out), by=made.manifest.by)
        return made


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    await fill(tmp_path / "data")
    return tmp_path / "data"


# --- sealing ---------------------------------------------------------------------------------------


async def test_what_is_at_rest_is_sealed_with_what_it_takes_to_understand_it(data: Path, tmp_path: Path) -> None:
    before = verify(data / "default" / "journal.db", workspace="default")
    made = await sealed(data, tmp_path / "a.zip")
    chosen = [each.journal for each in made.manifest.journals if not each.context]
    assert chosen == ["notes/old-1", "notes/old-2"]
    assert {each.journal for each in made.manifest.journals if each.context} >= {"loom/policies"}
    assert made.left == {"younger": 1, "with a turn that has no end": 1}
    found = Archive(tmp_path / "a.zip").verify()
    assert found.ok, list(found.lines())
    assert found.digest == made.digest
    assert stat.S_IMODE((tmp_path / "a.zip").stat().st_mode) == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.zip", "data"]
    after = verify(data / "default" / "journal.db", workspace="default")
    assert before.ok
    assert after.ok, "nothing is dropped where it lies"


async def test_a_file_that_is_there_is_never_overwritten_and_no_file_is_made_of_nothing(
    data: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.zip").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        await sealed(data, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_text() == "mine"
    with pytest.raises(ConfigError, match="cannot be created"):
        await sealed(data, tmp_path / "nowhere" / "a.zip")
    async with opened(data, LATER) as loom:
        none = await seal(
            loom.store,
            tmp_path / "b.zip",
            workspace="default",
            until=loom.store.acknowledged,
            before=START,
            by="vera",
            now=LATER,
        )
    assert none is None
    assert not (tmp_path / "b.zip").exists()


async def test_a_power_cut_at_any_moment_of_a_seal_leaves_no_archive_or_a_whole_one_and_then_it_stays(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    with disk_under(tmp_path / "out", monkeypatch) as disk:
        await sealed(data, tmp_path / "out" / "a.zip")
        done = disk.states()
    assert len(disk.moments) >= 4
    for state in [*disk.seen, *done]:
        if (raw := state.get("a.zip")) is not None:
            (tmp_path / "left.zip").write_bytes(raw)
            assert Archive(tmp_path / "left.zip").verify().ok
    assert all("a.zip" in state for state in done), "the journal vouches for it, so it is there"


async def test_nothing_is_pruned_for_a_copy_of_an_archive_that_a_power_cut_could_take_away(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sealed(data, tmp_path / "a.zip")
    (tmp_path / "copies").mkdir()
    left: list[dict[str, bytes]] = []
    stores = opened_class()
    real = stores.prune

    async def pruned(self: Any, journal: str, *, until: int) -> None:
        left.extend(disk.states())
        await real(self, journal, until=until)

    monkeypatch.setattr(stores, "prune", pruned)
    with disk_under(tmp_path / "copies", monkeypatch) as disk:
        shutil.copy(tmp_path / "a.zip", tmp_path / "copies" / "a.zip")
        async with opened(data, LATER) as loom:
            await Archives(loom.store).prune(Archive(tmp_path / "copies" / "a.zip"), by="vera", reason="a year")
    assert left
    assert all(state["a.zip"] == (tmp_path / "a.zip").read_bytes() for state in left)


async def test_a_seal_that_is_cut_short_leaves_no_file(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("loom.archive.part.ArchivePart.line", full)
    with pytest.raises(OSError, match="No space"):
        await sealed(data, tmp_path / "a.zip")
    assert [each.name for each in tmp_path.iterdir()] == ["data"]


# --- reading back ----------------------------------------------------------------------------------


async def test_an_archive_reads_like_the_journal_it_came_from(data: Path, tmp_path: Path) -> None:
    await sealed(data, tmp_path / "a.zip")
    archive = Archive(tmp_path / "a.zip")
    async with opened(data, LATER) as loom:
        for listed in archive.manifest.journals:
            there = [each async for each in loom.store.read(listed.journal, until=listed.entries)]
            here = [each async for each in archive.read(listed.journal)]
            assert [(each.entry_hash, each.body, each.position) for each in here] == [
                (each.entry_hash, each.body, each.position) for each in there
            ]
        middle = [each.sequence async for each in archive.read("notes/old-1", after=2, until=4)]
        assert middle == [3, 4]
        assert await archive.compare(loom.store) == []
    everything = [each.position async for each in archive.read_all()]
    assert everything == sorted(everything)
    assert len(everything) == archive.manifest.entries
    first = everything[3]
    assert [each.position async for each in archive.read_all(after=first - 1, until=first)] == [first]
    [command] = [each async for each in archive.read("notes/old-1", until=1)]
    assert await archive.find_command("notes/old-1", str(command.command_id)) is not None
    assert await archive.find_command("notes/old-1", "nothing") is None
    assert [name async for name in archive.read("notes/nobody")] == []


def changed(path: Path, out: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Write an archive anew, with its members changed."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            raw = change(name, old.read(name))
            if raw is not None:
                new.writestr(name, raw)
    return out


async def test_every_change_to_the_entries_is_found(data: Path, tmp_path: Path) -> None:
    await sealed(data, tmp_path / "a.zip")
    chance = random.Random(7)
    lines = zipfile.ZipFile(tmp_path / "a.zip").read("entries.jsonl").splitlines(keepends=True)
    manifest = json.loads(zipfile.ZipFile(tmp_path / "a.zip").read("manifest.json"))
    attacks: list[list[bytes]] = [lines[:-1], lines[1:], [*lines[:3], *lines[4:]], [*lines, lines[-1]], []]
    attacks.append([lines[1], lines[0], *lines[2:]])
    for _ in range(40):
        at = chance.randrange(len(lines))
        place = chance.randrange(len(lines[at]) - 1)
        broken = lines[at][:place] + bytes([lines[at][place] ^ (1 << chance.randrange(7))]) + lines[at][place + 1 :]
        attacks.append([*lines[:at], broken, *lines[at + 1 :]])
    for number, attack in enumerate(attacks):
        raw = b"".join(attack)
        for mends_manifest in (False, True):
            # Somebody who also makes the digest of the lines anew is found by the chains.
            said = {**manifest, "entries_sha256": hashlib.sha256(raw).hexdigest()} if mends_manifest else manifest

            def change(name: str, old: bytes, raw: bytes = raw, said: object = said) -> bytes:
                return {"entries.jsonl": raw, "manifest.json": json.dumps(said).encode()}.get(name, old)

            path = changed(tmp_path / "a.zip", tmp_path / f"{number}-{mends_manifest}.zip", change)
            found = Archive(path).verify()
            assert not found.ok, (number, mends_manifest)


def redone(path: Path, out: Path, change: Callable[[list[dict[str, Any]], dict[str, Any]], None]) -> Path:
    """Change lines and manifest, and make the digest of the lines anew."""
    with zipfile.ZipFile(path) as old:
        lines = [json.loads(line) for line in old.read("entries.jsonl").splitlines()]
        manifest = json.loads(old.read("manifest.json"))
    change(lines, manifest)
    raw = b"".join(_line(line) + b"\n" for line in lines)
    said = json.dumps({**manifest, "entries_sha256": hashlib.sha256(raw).hexdigest()}).encode()
    return changed(path, out, lambda name, old: {"entries.jsonl": raw, "manifest.json": said}.get(name, old))


def _line(said: dict[str, Any]) -> bytes:
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


async def test_an_archive_without_its_bodies_does_not_verify(data: Path, tmp_path: Path) -> None:
    await sealed(data, tmp_path / "a.zip")

    def stripped(lines: list[dict[str, Any]], _: dict[str, Any]) -> None:
        for line in lines:
            if line["journal"].startswith("notes/"):
                line |= {"salt": None, "body": None}

    found = Archive(redone(tmp_path / "a.zip", tmp_path / "b.zip", stripped)).verify()
    assert found.counts["TAMPERED"] > 3
    assert "has no body" in found.findings[0].message


@pytest.mark.parametrize(
    "lie",
    [
        {"before": "2020-01-01T00:00:00Z"},
        {"last_position": 3},
        {"journals": "context"},
        {"journals": "first_at"},
        {"journals": "twice"},
    ],
    ids=range(5),
)
async def test_a_manifest_that_says_something_else_than_the_entries_does_not_verify(
    data: Path, tmp_path: Path, lie: dict[str, Any]
) -> None:
    await sealed(data, tmp_path / "a.zip")

    def lies(_: list[dict[str, Any]], manifest: dict[str, Any]) -> None:
        notes = next(each for each in manifest["journals"] if each["journal"] == "notes/old-1")
        if lie.get("journals") == "context":
            notes["context"] = True
        elif lie.get("journals") == "first_at":
            notes["first_at"] = "2019-01-01T00:00:00Z"
        elif lie.get("journals") == "twice":
            manifest["journals"].append(dict(notes))
        else:
            manifest.update(lie)

    found = Archive(redone(tmp_path / "a.zip", tmp_path / "b.zip", lies)).verify()
    assert found.counts == {"TAMPERED": 1} or not found.ok


async def test_a_file_that_other_readers_could_read_otherwise_is_refused(data: Path, tmp_path: Path) -> None:
    await sealed(data, tmp_path / "a.zip")
    whole = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "before.zip").write_bytes(b"something before it" + whole)
    shutil.copy(tmp_path / "a.zip", tmp_path / "more.zip")
    with zipfile.ZipFile(tmp_path / "more.zip", "a") as more:
        more.writestr("../../up.txt", "x")
    shutil.copy(tmp_path / "a.zip", tmp_path / "twice.zip")
    with zipfile.ZipFile(tmp_path / "twice.zip", "a") as twice, pytest.warns(UserWarning, match="Duplicate"):
        twice.writestr("entries.jsonl", "x")
    shutil.copy(tmp_path / "a.zip", tmp_path / "comment.zip")
    with zipfile.ZipFile(tmp_path / "comment.zip", "a") as comment:
        comment.comment = b"something behind it"
    for name in ("before", "more", "twice", "comment"):
        with pytest.raises(JournalCorruptError, match="an archive has other members"):
            Archive(tmp_path / f"{name}.zip")


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("manifest.json", None),
        ("manifest.json", b""),
        ("manifest.json", b"{}"),
        ("manifest.json", b"\xff"),
        ("entries.jsonl", None),
        ("entries.jsonl", b"\xff\xfe\n"),
        ("entries.jsonl", b"{}\n"),
    ],
)
async def test_what_is_no_archive_is_told(data: Path, tmp_path: Path, name: str, raw: bytes | None) -> None:
    await sealed(data, tmp_path / "a.zip")
    path = changed(tmp_path / "a.zip", tmp_path / "b.zip", lambda each, old: raw if each == name else old)
    if name == "manifest.json" or raw is None:
        with pytest.raises(JournalCorruptError, match="cannot be read"):
            Archive(path)
    else:
        assert not Archive(path).verify().ok


async def test_a_file_that_is_damaged_anywhere_never_verifies_and_never_crashes(data: Path, tmp_path: Path) -> None:
    await sealed(data, tmp_path / "a.zip")
    whole = (tmp_path / "a.zip").read_bytes()
    good = Archive(tmp_path / "a.zip")
    chance = random.Random(3)
    for number in range(60):
        damaged = bytearray(whole)
        for _ in range(8):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        path = tmp_path / f"{number}.zip"
        path.write_bytes(damaged if number % 3 else damaged[: chance.randrange(len(damaged))])
        try:
            archive = Archive(path)
        except JournalCorruptError:
            continue
        found = archive.verify()
        if found.ok:  # what was hit says nothing: the README, a date, a flag of the zip
            assert archive.manifest == good.manifest
    with pytest.raises(JournalNotFoundError):
        Archive(tmp_path / "none.zip")


# --- pruning ---------------------------------------------------------------------------------------


async def test_bodies_go_once_the_archive_was_verified_and_the_chain_still_verifies(data: Path, tmp_path: Path) -> None:
    await sealed(data, tmp_path / "a.zip")
    archive = Archive(tmp_path / "a.zip")
    async with opened(data, LATER) as loom:
        pruned = await Archives(loom.store).prune(archive, by="vera", reason="a year has passed")
        assert pruned.journals == ("notes/old-1", "notes/old-2")
        assert set(pruned.left.values()) == {"context"}
        again = await Archives(loom.store).prune(archive, by="vera", reason="once more")
        assert again.journals == pruned.journals
        declared = [each async for each in loom.store.read("loom/archives") if each.kind == "pruned"]
        assert len(declared) == 2, "asked for twice, it is declared once"
        left_of = [each.entry async for each in loom.store.read("notes/old-1")]
        assert {isinstance(each, UnknownEntry) and each.problem for each in left_of} == {"erased"}
        with pytest.raises(ActorStoppedError, match="lost the beginning"):
            await loom.actor(Notes, "old-1").ask(Note(text="more"))
        assert await loom.actor(Notes, "goes-on").ask(Note(text="fine")) == 4
        await loom.rebuild()
        left = {each.journal for each in await loom.traces.find(limit=100)}
        assert left == {"notes/goes-on"}, "views that are built anew know nothing of it"
    found = verify(data / "default" / "journal.db", workspace="default")
    assert found.ok
    assert found.counts == {"PRUNED": 2, "CLOCK_AHEAD": 1}, "it was written in the future"
    assert archive.verify().ok
    if not ON_POSTGRES:
        kept = (
            "SELECT count(*) FROM entries WHERE journal LIKE 'notes/old-%' AND (body IS NOT NULL OR salt IS NOT NULL)"
        )
        with connected(data / "default" / "journal.db") as journal:
            assert journal.execute(kept).fetchone() == (0,)
    [texts] = [[e.entry async for e in archive.read("notes/old-1") if e.kind == "test.archive_noted"]]
    assert [text.model_dump()["text"] for text in texts] == [SECRET, "another"]


async def test_what_was_pruned_is_not_in_the_files_any_more(tmp_path: Path) -> None:
    data = tmp_path / "data"
    unique = "a word that is in one journal alone"
    async with opened(data) as loom:
        await loom.actor(Notes, "old-3").ask(Note(text=unique))
    await sealed(data, tmp_path / "a.zip")
    async with opened(data, LATER) as loom:
        await Archives(loom.store).prune(Archive(tmp_path / "a.zip"), by="vera", reason="a year has passed")
        await loom.rebuild()
    kept = [each.name for each in (data / "default").iterdir() if unique.encode() in each.read_bytes()]
    assert kept == []


@pytest.mark.sqlite("the free pages of the file")
async def test_pruned_bodies_are_overwritten_also_where_sqlite_would_leave_them_in_free_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, unique = tmp_path / "data", "a word that is in one journal alone"
    real = connect_writer

    def careless(*given: Any, **named: Any) -> sqlite3.Connection:
        connection = real(*given, **named)
        connection.execute("PRAGMA secure_delete = OFF")  # some builds of SQLite begin with it on, others do not
        return connection

    monkeypatch.setattr(writer_connection, "connect_writer", careless)
    async with opened(data) as loom:
        await loom.actor(Notes, "old-3").ask(Note(text=unique))
    await sealed(data, tmp_path / "a.zip")
    async with opened(data, LATER) as loom:
        await Archives(loom.store).prune(Archive(tmp_path / "a.zip"), by="vera", reason="a year has passed")
        names = [data / "default" / name for name in ("journal.db", "journal.db-wal")]
        # By another process: opened and closed in this one, the file would lose the locks of SQLite.
        read = await asyncio.to_thread(lambda: subprocess.run(["cat", *names], capture_output=True, check=True).stdout)
        assert unique.encode() not in read, "while it is open"
    assert unique.encode() not in (data / "default" / "journal.db").read_bytes(), "and closed"


async def test_nothing_is_pruned_for_an_archive_that_is_not_what_it_says(data: Path, tmp_path: Path) -> None:
    await sealed(data, tmp_path / "a.zip")
    broken = changed(
        tmp_path / "a.zip", tmp_path / "b.zip", lambda name, raw: raw[:-200] if name == "entries.jsonl" else raw
    )
    async with opened(data, LATER) as loom:
        archives = Archives(loom.store)
        with pytest.raises(JournalCorruptError, match="nothing was changed"):
            await archives.prune(Archive(broken), by="vera", reason="x")
        made = await seal(
            loom.store,
            tmp_path / "c.zip",
            workspace="default",
            until=loom.store.acknowledged,
            before=LATER,
            by="vera",
            now=LATER,
        )
        assert made is not None
        with pytest.raises(JournalCorruptError, match="not in the journal of archives"):
            await archives.prune(Archive(tmp_path / "c.zip"), by="vera", reason="x")
    await fill(tmp_path / "other")
    async with opened(tmp_path / "other", LATER) as loom:
        with pytest.raises(JournalCorruptError, match="REWRITTEN"):
            await Archives(loom.store).add(Archive(tmp_path / "a.zip"), by="vera")
    for where in (data, tmp_path / "other"):
        assert verify(where / "default" / "journal.db", workspace="default").counts.get("PRUNED") is None


async def test_a_journal_that_went_on_since_keeps_its_bodies(data: Path, tmp_path: Path) -> None:
    await sealed(data, tmp_path / "a.zip")
    async with opened(data, LATER) as loom:
        await loom.actor(Notes, "old-2").ask(Note(text="after all"))
        pruned = await Archives(loom.store).prune(Archive(tmp_path / "a.zip"), by="vera", reason="a year has passed")
        assert pruned.journals == ("notes/old-1",)
        assert pruned.left["notes/old-2"] == "it has grown since"


async def test_an_actor_that_is_awake_takes_nothing_more_once_it_is_pruned(data: Path, tmp_path: Path) -> None:
    await sealed(data, tmp_path / "a.zip")
    async with opened(data, LATER) as loom:
        at = (await loom.store.head("notes/old-1")).sequence
        await loom.actors.cell("notes/old-1")
        pruned = await Archives(loom.store).prune(
            Archive(tmp_path / "a.zip"), by="vera", reason="a year has passed", blocker=loom.actors
        )
        assert "notes/old-1" in pruned.journals
        with pytest.raises(ActorPrunedError):
            await loom.actor(Notes, "old-1").ask(Note(text="more"))
        assert (await loom.store.head("notes/old-1")).sequence == at


async def test_what_an_actor_was_stopped_for_is_not_forgotten(data: Path, tmp_path: Path) -> None:
    await sealed(data, tmp_path / "a.zip")
    async with opened(data, LATER) as loom:
        loom.actors.stop_actor(await loom.actors.cell("notes/old-1"), ActorStoppedError("it failed too often"))
        pruned = await Archives(loom.store).prune(
            Archive(tmp_path / "a.zip"), by="vera", reason="a year has passed", blocker=loom.actors
        )
        assert pruned.left["notes/old-1"] == "its actor is busy, or stopped"
        with pytest.raises(ActorStoppedError, match="failed too often"):
            await loom.actor(Notes, "old-1").ask(Note(text="more"))


async def test_another_readme_is_found(data: Path, tmp_path: Path) -> None:
    await sealed(data, tmp_path / "a.zip")
    altered = changed(tmp_path / "a.zip", tmp_path / "b.zip", lambda n, raw: b"trust me" if n == "README.txt" else raw)
    assert Archive(altered).verify().counts == {"TAMPERED": 1}


async def test_an_actor_that_is_at_work_is_left(data: Path, tmp_path: Path) -> None:
    await sealed(data, tmp_path / "a.zip")
    async with opened(data, LATER) as loom:
        await loom.actor(Notes, "old-1").tell(Ask())
        while len(await loom.approvals.pending()) < 2:
            await loom.reached()
        pruned = await Archives(loom.store).prune(
            Archive(tmp_path / "a.zip"), by="vera", reason="a year has passed", blocker=loom.actors
        )
        assert pruned.journals == ("notes/old-2",)
        assert pruned.left["notes/old-1"] == "its actor is busy, or stopped"


async def test_a_prune_that_is_killed_in_between_is_gone_on_with(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sealed(data, tmp_path / "a.zip")
    archive = Archive(tmp_path / "a.zip")

    async def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    async with opened(data, LATER) as loom:
        with monkeypatch.context() as patched:
            patched.setattr(type(loom.store), "prune", killed)
            with pytest.raises(KeyboardInterrupt):
                await Archives(loom.store).prune(archive, by="vera", reason="a year has passed")
    assert verify(data / "default" / "journal.db", workspace="default").ok
    async with opened(data, LATER) as loom:
        pruned = await Archives(loom.store).prune(archive, by="vera", reason="a year has passed")
        assert len(pruned.journals) == 2
    assert verify(data / "default" / "journal.db", workspace="default").ok


async def test_the_store_gives_up_no_body_that_nobody_declared_gone(data: Path) -> None:
    async with opened(data, LATER) as loom:
        with pytest.raises(AppendRefusedError, match="keeps its bodies"):
            await loom.store.prune("notes/old-1", until=(await loom.store.head("notes/old-1")).sequence)
        with pytest.raises(SequenceConflictError):
            await loom.store.prune("notes/old-1", until=3)
        assert await loom.actor(Notes, "old-1").ask(Note(text="fine")) == 3


def test_what_is_no_zip_is_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no zip at all")
    with pytest.raises(JournalCorruptError):
        Archive(tmp_path / "text")
    with pytest.raises(JournalCorruptError):
        Archive(tmp_path)
