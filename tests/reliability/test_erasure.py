"""R26 and R27: processes killed amid erasures, and at every step of sealing an archive and of pruning for it."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from loom.archive import Archive, Archives
from loom.circuits import Circuits
from loom.errors import ErasedError, JournalCorruptError
from loom.journal.sqlite.verify import verify
from tests.reliability.board import SEED, Tally, row
from tests.reliability.erasers import AT_ONCE, SUBJECTS, Note, Notes, keeping, noting, sealed, secret_of
from tests.reliability.forks import Zygote

LIVES = 12
MOST_STEPS = 200


@pytest.fixture(scope="session")
def erasers() -> Iterator[Zygote]:
    with Zygote(module="tests.reliability.erasers") as forking:
        yield forking


def files(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(path.rglob("*")) if each.is_file())


@pytest.mark.seconds(40)
@row("R26")
def test_what_was_erased_opens_for_nobody_and_nothing_that_was_sealed_is_on_the_disk(
    tmp_path: Path, tally: Tally, erasers: Zygote
) -> None:
    draw = random.Random(SEED)
    kept: dict[str, str] = {}
    erased: set[str] = set()
    killed = 0
    for life in range(LIVES):
        lines = draw.randint(1, SUBJECTS * 2) if life % 4 else 0
        given = {"path": str(tmp_path), "life": life, "lines": lines, "seed": draw.randint(0, 2**31)}
        with erasers.fork("erase_until_killed", **given) as child:
            said = [line.split() for line in child.rest()]
            killed += child.wait() == -signal.SIGKILL
        kept |= {each[1]: each[2] for each in said if each[0] == "kept"}
        erased |= {each[1] for each in said if each[0] == "erased"}
        asyncio.run(_look(tmp_path, kept, erased, tally))
    tally.check(killed > LIVES // 3, f"only {killed} of {LIVES} were killed")
    tally.note(f"{killed} of {LIVES} lives killed, {len(kept)} subjects, {len(erased)} of them erased")

    async def told() -> None:
        async with keeping(tmp_path / "control") as loom:
            await Circuits.of(loom).run("s-c-1", [("CX41_TELL", {"secret": secret_of("s-c-1")})])

    asyncio.run(told())
    tally.control(trials=1, found=secret_of("s-c-1").encode() in files(tmp_path / "control"))


async def _look(path: Path, kept: dict[str, str], erased: set[str], tally: Tally) -> None:
    on_disk = files(path)  # as the process left it, log and all
    async with keeping(path) as loom:
        circuits = Circuits.of(loom)
        for subject, key in kept.items():
            tally.tried()
            tally.check(secret_of(subject).encode() not in on_disk, f"the secret of {subject} is on the disk")
            tally.check(bytes.fromhex(key) not in on_disk, f"the key of {subject} is on the disk")
            try:
                again = await circuits.run(subject, [("CX40_KEEP", {"secret": "another"})])
            except ErasedError:
                # Erased, or about to say so when it was killed: either way for good.
                tally.heard["erased"] += 1
                continue
            tally.heard["kept"] += 1
            tally.check(subject not in erased, f"{subject} was erased, and is not any more")
            tally.check(again.success, f"{subject} cannot keep anything")
    found = verify(path / "default" / "journal.db", workspace="default")
    tally.check(found.ok, list(found.lines()))


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("noted")

    async def fill() -> None:
        async with noting(path / "data") as loom:
            for name in ("a", "b"):
                for number in range(3):
                    await loom.actor(Notes, name).ask(Note(text=f"note {number} of {name}"))

    asyncio.run(fill())
    return path


@pytest.mark.seconds(60)
@row("R27")
def test_a_seal_that_is_killed_at_any_step_leaves_no_file_or_a_whole_one(
    noted: Path, tmp_path: Path, tally: Tally, erasers: Zygote
) -> None:
    for step in range(1, MOST_STEPS, 3):
        place = tmp_path / str(step)
        shutil.copytree(noted, place)
        out = place / "a.zip"
        with erasers.fork("seal_until_killed", path=str(place / "data"), out=str(out), step=step) as child:
            ended = child.wait() == 0
        tally.tried()
        if out.exists():
            tally.check(Archive(out).verify().ok, f"step {step}: the file is there and not whole")
        found = verify(place / "data" / "default" / "journal.db", workspace="default")
        tally.check(found.ok and "PRUNED" not in found.counts, f"step {step}: {list(found.lines())}")
        shutil.rmtree(place)
        if ended:
            return
    tally.fail("it never came to its end")


@pytest.mark.seconds(60)
@row("R27")
def test_nothing_is_pruned_before_its_archive_was_verified_and_a_killed_prune_is_gone_on_with(
    noted: Path, tmp_path: Path, tally: Tally, erasers: Zygote
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(noted, whole)

    async def make() -> None:
        async with noting(whole / "data") as loom:
            await sealed(loom, whole / "a.zip")

    asyncio.run(make())
    for step in range(1, MOST_STEPS):
        place = tmp_path / str(step)
        shutil.copytree(whole, place)
        given = {"path": str(place / "data"), "archive": str(place / "a.zip"), "step": step}
        with erasers.fork("prune_until_killed", **given) as child:
            ended = child.wait() == 0
        tally.tried()
        journal = place / "data" / "default" / "journal.db"
        found = verify(journal, workspace="default")
        tally.check(found.ok, f"step {step}: {list(found.lines())}")
        tally.check(step > 2 or "PRUNED" not in found.counts, f"step {step}: pruned before it was verified")
        asyncio.run(_gone_on_with(place, journal, tally, step))
        shutil.rmtree(place)
        if ended:
            break
    else:
        tally.fail("it never came to its end")
    broken = tmp_path / "broken.zip"
    raw = bytearray((whole / "a.zip").read_bytes())
    raw[len(raw) // 3] ^= 4
    broken.write_bytes(raw)
    tally.control(trials=1, found=asyncio.run(_refused(whole, broken)))


async def _gone_on_with(place: Path, journal: Path, tally: Tally, step: int) -> None:
    async with noting(place / "data") as loom:
        archives = Archives(loom.store, retention=AT_ONCE)
        pruned = await archives.prune(Archive(place / "a.zip"), by="vera", reason="once more")
        tally.check(pruned.journals == ("notes/a", "notes/b"), f"step {step}: {pruned}")
    found = verify(journal, workspace="default")
    tally.check(found.ok and found.counts.get("PRUNED") == 2, f"step {step}, gone on with: {list(found.lines())}")
    archive = Archive(place / "a.zip")
    texts = [each.entry.text async for each in archive.read("notes/b") if each.kind == "test.to_prune_noted"]  # type: ignore[attr-defined]
    tally.check(texts == [f"note {number} of b" for number in range(3)], f"step {step}: the archive lost {texts}")
    archive.close()


async def _refused(whole: Path, broken: Path) -> bool:
    async with noting(whole / "data") as loom:
        try:
            await Archives(loom.store, retention=AT_ONCE).prune(Archive(broken), by="vera", reason="x")
        except JournalCorruptError:
            return True
    return False
