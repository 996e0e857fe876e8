"""Every file that loom makes is for its owner only, whatever the umask and whatever the directory."""

from __future__ import annotations

import asyncio
import base64
import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from loom import Loom, LoomConfig
from loom.archive.sealing import seal
from loom.circuits import Circuits, Result, circuit, extension
from loom.extension import Extension
from loom.journal.private import create_private, keep_private, open_private
from loom.journal.sqlite import JournalFiles
from loom.journal.sqlite.verify import verify
from loom.projections import open_views_for_reading
from loom.reports import write_report
from loom.sealing import MASTER_KEY, SealingConfig
from loom.workspace import own_projections
from tests.actors.agents import Carry, Do, Interpreter, World
from tests.actors.support import until
from tests.cli.support import invoke
from tests.journal.support import filled

PRIVATE = 0o600


@circuit(
    "CX90_PRIVATE",
    category="test",
    inputs=("email",),
    outputs=("sent",),
    failure_mode="escalate_to_admin",
    success_metric="sent",
    fields={"email": "seal"},
)
def private(inputs: Mapping[str, Any]) -> Result:
    """Write to somebody."""
    return Result(outputs={"sent": 1})


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(*directories: Path) -> dict[str, int]:
    """Return the modes of everything below some directories that is no directory itself."""
    found = {}
    for each in (each for directory in directories for each in directory.rglob("*")):
        with suppress(FileNotFoundError):  # it was there just now
            about = each.lstat()
            if not stat.S_ISDIR(about.st_mode):
                found[each.name] = stat.S_IMODE(about.st_mode)
    return found


def opened(data: Path) -> Loom:
    own = Extension(
        name="circuits",
        projections=extension.projections,
        sections=extension.sections,
        operations=extension.operations,
        start=lambda loom: Circuits.open(loom, circuits=(private,)),
    )
    config = LoomConfig(
        data=data,
        actors={"snapshot_every": 2},  # type: ignore[arg-type]
        journal={"head_every": 2},  # type: ignore[arg-type]
        sections={"sealing": SealingConfig(enabled=True)},
    )
    return Loom.open(config, by="mira", extensions=[own])


async def full_run(data: Path, out: Path) -> set[str]:
    """Use what makes files, and return the names of those that are there while it runs."""
    async with opened(data) as loom:
        await loom.register(Interpreter, lambda: Interpreter(World()))
        async with loom.runs.run(kind="live") as run:
            for number in range(3):
                await loom.actor(Interpreter, "one").ask(Carry(program=[Do(verb="decide", key=f"{number}")]))
        approve = Carry(program=[Do(verb="approve", key="vp")])
        asking = asyncio.create_task(loom.actor(Interpreter, "two").ask(approve, by="bob"))
        (request,) = await until(loom.approvals.pending)
        await loom.approvals.grant(request.approval_id, by="alice")
        await asking
        await Circuits.of(loom).run("ada", [("CX90_PRIVATE", {"email": "ada@example.org"})])
        await loom.reached()
        await write_report(loom.queries, run.run_id, out / "report.html")
        later = datetime.now(UTC) + timedelta(days=2)
        await seal(
            loom.store,
            out / "archive.zip",
            workspace="default",
            until=loom.store.acknowledged,
            before=later - timedelta(days=1),
            by="vera",
            now=later,
        )
        return set(modes(data))


async def test_everything_that_a_full_run_makes_is_for_its_owner_only(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out, temporary = tmp_path / "data", tmp_path / "out", tmp_path / "tmp"
    for directory in (data, data / "default", out, temporary):
        directory.mkdir()
        directory.chmod(0o777)
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    while_it_runs = await full_run(data, out)
    assert while_it_runs >= {
        "journal.db",
        "journal.db-wal",
        "journal.db-shm",
        "journal.views.db",
        "journal.views.db-wal",
        "journal.views.db-shm",
        "journal.heads",
        "journal.keys",
        "journal.lock",
        "journal.sock",
    }
    config = tmp_path / "loom.config.yaml"
    config.write_text(f"data: {data}\nworkspace: default\n")
    said = await asyncio.to_thread(invoke, "export", "--out", out / "export.jsonl", config=config)
    assert said.code == 0, said.err
    files = JournalFiles(data / "default" / "journal.db")
    files.views.unlink()
    async with open_views_for_reading(files, own_projections()):  # in a copy, as nobody keeps them up
        assert any(name.endswith("views.db") for name in modes(temporary))
        assert set(modes(temporary).values()) == {PRIVATE}
    assert verify(files.journal).ok
    assert set(modes(out)) == {"report.html", "archive.zip", "export.jsonl"}
    found = modes(data, out)
    assert {name: oct(mode) for name, mode in found.items() if mode != PRIVATE} == {}


async def test_every_file_is_for_its_owner_only_while_it_is_open(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at whenever a file is renamed, linked or synced: what is half done counts as well."""
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())
    tmp_path.chmod(0o777)
    (tmp_path / "out").mkdir(mode=0o777)
    seen: dict[str, int] = {}

    def looking(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            for path, mode in modes(tmp_path).items():
                seen[path] = seen.get(path, 0) | mode
            return real(*given, **named)

        return call

    with monkeypatch.context() as patched:
        for name in ("fsync", "replace", "link", "unlink"):
            patched.setattr(os, name, looking(getattr(os, name)))
        await full_run(tmp_path / "data", tmp_path / "out")
    assert any(name.endswith(".part") for name in seen)
    assert {name: oct(mode) for name, mode in seen.items() if mode != PRIVATE} == {}


# --- one by one ---------------------------------------------------------------------------------


def test_a_file_is_made_for_its_owner_whatever_the_umask_takes_away(tmp_path: Path) -> None:
    before = os.umask(0o277)
    try:
        os.close(open_private(tmp_path / "new", os.O_RDWR))
        create_private(tmp_path / "database")
    finally:
        os.umask(before)
    assert modes(tmp_path) == {"new": PRIVATE, "database": PRIVATE}


def test_a_file_that_is_there_keeps_its_mode_unless_it_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    path.write_text("mine")
    path.chmod(0o640)
    os.close(open_private(path, os.O_RDWR))
    create_private(path)
    assert (path.read_text(), modes(tmp_path)) == ("mine", {"shared": 0o640})
    os.close(open_private(path, os.O_WRONLY | os.O_TRUNC))
    assert (path.read_text(), modes(tmp_path)) == ("", {"shared": PRIVATE})


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        open_private(tmp_path / "link", os.O_RDWR)
    with pytest.raises(OSError, match="symbolic links"):
        open_private(tmp_path / "link", os.O_WRONLY | os.O_TRUNC)


def test_a_file_system_without_links_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(os, "link", no_links)
    create_private(tmp_path / "database")
    assert modes(tmp_path) == {}
    keep_private(tmp_path / "database")


async def test_views_that_an_earlier_loom_made_are_closed_to_others_when_they_are_opened(tmp_path: Path) -> None:
    data = tmp_path / "data"
    config = LoomConfig(data=data)
    async with Loom.open(config, by="mira"):
        pass
    views = JournalFiles(data / "default" / "journal.db").views
    views.chmod(0o644)
    async with Loom.open(config, by="mira"):
        assert modes(data)["journal.views.db"] == PRIVATE
        assert modes(data)["journal.views.db-wal"] == PRIVATE


async def test_a_journal_whose_owner_shares_it_stays_shared(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await filled(path, {"a/1": 1})
    path.chmod(0o640)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM entries").fetchone() == (1,)
    async with Loom.open(f"sqlite:///{path}", by="mira"):
        assert modes(tmp_path)["journal.db"] == 0o640
