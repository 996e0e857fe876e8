"""`loom verify`, `loom doctor` and `loom export`: what they find, and how they say so."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from loom.clock import SystemClock
from loom.journal.export import verify_export
from loom.journal.sqlite import SqliteStore
from tests.cli.support import RunningLoom, environment, invoke, run
from tests.journal.support import SetClock, as_format, notes
from tests.projections.tampering import tamper as change_views


def tamper(config: Path) -> int:
    """Change one body behind the journal's back, as somebody with the file could; return its position."""
    path = config.parent / "data" / "w" / "journal.db"
    connection = sqlite3.connect(path, isolation_level=None)
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(
        "UPDATE entries SET body = CAST(replace(CAST(body AS TEXT), 'first', 'forty') AS BLOB) WHERE position = 4"
    )
    for _, sql in triggers:
        connection.execute(sql)
    connection.close()
    return 4


def test_a_sound_journal_is_verified_and_its_unanchored_tail_told(copied: Path) -> None:
    said = invoke("verify", config=copied)
    assert said.code == 0
    assert said.out.startswith("VERIFIED through size")
    (copied.parent / "data" / "w" / "journal.heads").unlink()
    tail = invoke("verify", config=copied)
    assert tail.code == 0
    assert "unanchored tail" in tail.out


def test_a_changed_entry_is_named(copied: Path) -> None:
    position = tamper(copied)
    said = invoke("verify", config=copied)
    assert said.code == 1
    assert said.out.startswith("NOT VERIFIED")
    assert "tampered" in said.out
    found = invoke("verify", "--json", config=copied).json
    assert not found["ok"]
    assert position in [each["position"] for each in found["findings"] if each["code"] == "TAMPERED"]


def test_a_cut_is_named_by_verify_and_by_doctor(copied: Path) -> None:
    path = copied.parent / "data" / "w" / "journal.db"
    connection = sqlite3.connect(path, isolation_level=None)
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("DELETE FROM entries WHERE position > 10")
    connection.close()
    assert "truncated" in invoke("verify", config=copied).out
    examined = invoke("doctor", config=copied)
    assert examined.code == 1
    assert "✗" in examined.out
    assert "cut or rewritten" in examined.out


def test_doctor_finds_a_sound_machine_and_journal(copied: Path) -> None:
    said = invoke("doctor", config=copied)
    assert said.code == 0, said.out
    for word in ("Python", "SQLite", "file system", "free space", "synchronous FULL", "schema", "head at", "views"):
        assert word in said.out
    checks = invoke("doctor", "--json", config=copied).json
    assert checks["ok"]
    assert {each["mark"] for each in checks["checks"]} <= {"ok", "look"}


def test_doctor_says_what_is_not_as_it_should_be(copied: Path) -> None:
    text = copied.read_text() + "journal: {durability: process-crash-only, min_free_bytes: 9007199254740992}\n"
    copied.write_text(text.replace("tests.cli.agents", "no_such_module"), encoding="utf-8")
    said = invoke("doctor", config=copied)
    assert said.code == 1
    for word in ("power cut", "no_such_module", "make room"):
        assert word in said.out


def test_doctor_without_a_loom_looks_at_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = invoke("doctor")
    assert said.code == 0
    assert "SQLite" in said.out
    assert "loom init" in " ".join(said.out.split()), "the line is broken somewhere, as the path is long"


def test_doctor_leaves_nothing_behind(copied: Path) -> None:
    directory = copied.parent / "data" / "w"
    before = {path.name for path in directory.iterdir()}
    invoke("doctor", config=copied)
    assert {path.name for path in directory.iterdir()} - before <= {
        "journal.db-wal",
        "journal.db-shm",
        "journal.views.db-wal",
        "journal.views.db-shm",
    }


def test_a_damaged_line_of_the_heads_is_named_by_verify_and_by_doctor(copied: Path) -> None:
    heads = copied.parent / "data" / "w" / "journal.heads"
    heads.write_bytes(b"no head\n" + heads.read_bytes())
    said = invoke("verify", config=copied)
    assert said.code == 1
    assert "line 1 is no position with a hash" in said.out
    checked = invoke("doctor", config=copied)
    assert checked.code == 1
    assert "journal.heads is damaged at line 1" in checked.out


def test_a_clock_that_was_ahead_is_named_by_verify_and_by_doctor_and_is_no_fault(copied: Path) -> None:
    path = copied.parent / "data" / "w" / "journal.db"
    now_us = SystemClock().now_us()

    async def append(*said_us: int) -> None:
        clock = SetClock()
        store = await SqliteStore.open(path, workspace="w", clock=clock)
        for us in said_us:
            clock.us = us
            await store.append(notes("a/1", (await store.head("a/1")).sequence))
        await store.close()

    asyncio.run(append(now_us + 3_600_000_000))
    said = invoke("verify", config=copied)
    assert said.code == 0
    assert "clock ahead" in said.out
    behind = invoke("doctor", config=copied)
    assert "behind the last entry" in behind.out
    asyncio.run(append(now_us))
    assert invoke("verify", config=copied).code == 0
    held_back = invoke("doctor", config=copied)
    assert "an entry was written by a clock that was" in held_back.out


def test_an_export_verifies_from_its_lines_alone(copied: Path, tmp_path: Path) -> None:
    said = invoke("export", config=copied)
    assert said.code == 0
    verdict = verify_export(said.out.splitlines())
    assert verdict.ok
    assert verdict.entries == len(said.lines)
    one = invoke("export", "note-agent/a", config=copied)
    assert {each["journal"] for each in one.lines} == {"note-agent/a"}
    assert invoke("export", "note-agent/none", config=copied).code == 1


def test_a_joined_export_has_what_decisions_rest_on_and_does_not_verify(copied: Path) -> None:
    plain, joined = invoke("export", config=copied), invoke("export", "--joined", config=copied)
    decisions = [
        [each["body"]["decision"] for each in said.lines if each["kind"] == "decision"] for said in (plain, joined)
    ]
    results = {
        (each["journal"], each["sequence"]): each["body"]["result"]
        for each in plain.lines
        if each["kind"] == "context_gathered"
    }
    journals = [each["journal"] for each in plain.lines if each["kind"] == "decision"]
    for journal, apart, whole in zip(journals, *decisions, strict=True):
        assert "inputs" not in apart
        referred = [results[journal, sequence] for sequence, _ in apart["refers"]["inputs"]]
        assert [each["result"] for each in whole["inputs"]] == referred != []
    verdict = verify_export(joined.out.splitlines())
    assert verdict.counts == {"DAMAGED": len(joined.lines)}
    assert "joined export" in verdict.findings[0].message


def test_an_export_goes_into_a_new_file_and_never_over_one(copied: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    said = invoke("export", "--out", out, config=copied)
    assert said.code == 0
    assert said.out == ""
    assert verify_export(out.read_text(encoding="utf-8").splitlines()).ok
    assert out.stat().st_mode & 0o077 == 0
    again = invoke("export", "--out", out, config=copied)
    assert again.code == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["out.jsonl"]


def test_a_reader_that_goes_away_ends_it_quietly(copied: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "loom.cli", "export", "-c", str(copied)],
        env=environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_is_read_only_is_read_and_not_answered(copied: Path) -> None:
    directory = copied.parent / "data" / "w"
    for path in directory.glob("*-wal"):
        path.unlink()
    for path in directory.glob("*-shm"):
        path.unlink()
    directory.chmod(0o500)
    try:
        assert run("decisions", "-c", copied, cwd=copied.parent).code == 0
        assert run("verify", "-c", copied, cwd=copied.parent).code == 0
        refused = run("turns", "abandon", "parked-1", "--by", "dana", "-m", "no", "-c", copied, cwd=copied.parent)
        assert refused.code == 2
        assert "Traceback" not in refused.err
    finally:
        directory.chmod(0o700)


# --- the views ----------------------------------------------------------------------------------------


def views_of(config: Path) -> Path:
    return config.parent / "data" / "w" / "journal.views.db"


def test_views_are_verified_on_demand_and_a_forged_row_is_named(copied: Path) -> None:
    sound = invoke("verify", "--views", config=copied)
    assert sound.code == 0
    assert "VIEWS VERIFIED: " in sound.out
    assert "VIEWS" not in invoke("verify", config=copied).out
    with contextlib.closing(sqlite3.connect(views_of(copied))) as views:
        first = views.execute("SELECT min(received_position) FROM turns").fetchone()[0]
    assert change_views(views_of(copied), "UPDATE turns SET by = 'forged' WHERE received_position = ?", [first]) == 1
    assert invoke("verify", config=copied).code == 0
    forged = invoke("verify", "--views", config=copied)
    assert forged.code == 1
    assert "VIEWS NOT VERIFIED: 1 finding in " in forged.out
    assert f"turns [{first}] in by" in forged.out
    assert "Delete the views file while no loom runs" in forged.out
    told = invoke("verify", "--views", "--json", config=copied).json
    assert (told["ok"], told["findings"], told["views"]["ok"]) == (False, [], False)
    [finding] = told["views"]["findings"]
    assert (finding["code"], finding["table"], finding["key"], finding["columns"]) == (
        "DIFFERS",
        "turns",
        str(first),
        ["by"],
    )


def test_views_are_verified_beside_a_running_loom_and_nothing_is_written_where_they_lie(copied: Path) -> None:
    with RunningLoom(copied):
        beside = invoke("verify", "--views", config=copied)
    assert beside.code == 0
    assert "VIEWS VERIFIED" in beside.out
    files = [path for path in sorted(views_of(copied).parent.iterdir()) if path.is_file() and path.suffix != ".db-shm"]
    before = {path.name: path.read_bytes() for path in files}
    assert invoke("verify", "--views", config=copied).code == 0
    assert {path.name: path.read_bytes() for path in files} == before


def test_views_that_hold_more_than_the_journal_are_no_sign_of_health(copied: Path) -> None:
    assert change_views(views_of(copied), "UPDATE checkpoints SET position = position + 12") > 1
    said = invoke("doctor", "--json", config=copied)
    [views] = [each for each in said.json["checks"] if each["about"] == "views"]
    assert said.code == 1
    assert views["mark"] == "bad"
    assert views["found"] == "12 entries ahead of the journal: an older backup of the journal was restored"
    found = invoke("verify", "--views", "--json", config=copied).json["views"]
    assert {each["code"] for each in found["findings"]} == {"AHEAD"}


def test_an_older_journal_is_upgraded_and_a_present_one_left(copied: Path) -> None:
    journal = copied.parent / "data" / "w" / "journal.db"
    assert invoke("upgrade", config=copied).out.startswith("The journal is of format 3 already")
    as_format(journal, 2)
    done = invoke("upgrade", "--json", config=copied).json
    assert (done["before"], done["after"], done["original"]) == (2, 3, f"{journal}.format-2")
    assert done["entries"] == invoke("verify", "--json", config=copied).json["size"]
    assert invoke("verify", config=copied).code == 0
