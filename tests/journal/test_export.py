"""An export can be verified from its lines alone, and every change in it is noticed."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import pytest

from loom.journal import Append, Draft, Step, draft
from loom.journal.chain import body_digest
from loom.journal.export import ExportVerification, export_line, export_lines, verify_export
from loom.journal.kinds import PrunedEntry, TurnCompletedEntry
from loom.journal.sqlite import Reader, SqliteStore
from tests.journal.support import PLENTY, collected, fill
from tests.journal.test_verify import attacker

AWKWARD = ['a "quoted" one', ',"body":', '}{,"body":null}', "ü\u2028\u0085 \\", 'x\\","body":{"y":1}']


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    store = await SqliteStore.open(path, options=PLENTY)
    await fill(store, {"a/1": 4, "b/1": 3})
    awkward = [
        draft(TurnCompletedEntry(reply={text: [text]}, step=Step("ask", text)), command_id="c-1", policy_hash=b"p" * 32)
        for text in AWKWARD
    ]
    await store.append(Append('ü ",body', 0, awkward))
    bodies = [b'{\n  "pretty": true\n}', b"not json \xff", b"", b'"\r"']
    odd = [Draft("test.odd", 1, None, None, b"s" * 16, body, body_digest(b"s" * 16, body)) for body in bodies]
    await store.append(Append("odd/1", 0, odd))
    await store.close()
    return path


async def exported(path: Path, journal: str | None = None, *, after: int = 0, until: int | None = None) -> list[str]:
    reader = Reader(path)
    try:
        lines = export_lines(reader, workspace="default", journal=journal, after=after, until=until)
        return [line async for line in lines]
    finally:
        await reader.close()


def codes(found: ExportVerification) -> set[str]:
    return set(found.counts)


async def test_an_export_is_one_line_of_json_an_entry_and_verifies(path: Path) -> None:
    lines = await exported(path)
    assert len(lines) == 16
    assert not any("\n" in line or "\r" in line for line in lines)
    first = json.loads(lines[0])
    assert (first["journal"], first["sequence"], first["body"]) == ("a/1", 1, {"step": None, "text": "1"})
    found = verify_export(line + "\n" for line in lines)
    assert found.ok
    assert list(found.lines()) == ["VERIFIED 16 entries of 4 journals (0 pruned, 0 unlinked)"]


async def test_a_body_is_in_its_line_to_the_byte(path: Path) -> None:
    reader = Reader(path)
    entries = await collected(reader.read_all())
    await reader.close()
    for entry in entries:
        assert entry.body is not None
        line = export_line(entry, workspace="default")
        said = json.loads(line)
        if "body_base64" in said:
            assert base64.b64decode(said["body_base64"]) == entry.body
        else:
            assert line[line.index(',"body":') + len(',"body":') : -1].encode() == entry.body
            assert said["body"] == json.loads(entry.body)


async def test_a_part_of_an_export_verifies_as_far_as_it_hangs_together(path: Path) -> None:
    one = verify_export(await exported(path, "a/1"))
    assert (one.ok, one.entries, one.unlinked) == (True, 4, 0)
    rest = verify_export(await exported(path, "a/1", after=2))
    assert (rest.ok, rest.entries, rest.unlinked) == (True, 2, 1)
    assert verify_export(await exported(path, after=3, until=5)).entries == 2
    assert verify_export([]).ok


async def test_an_entry_that_was_pruned_is_exported_without_its_body_and_verifies(path: Path) -> None:
    store = await SqliteStore.open(path, options=PLENTY)
    pruned = PrunedEntry(journal="a/1", first_sequence=2, last_sequence=2, by="ada", reason="age")
    await store.append(Append("a/1", 4, [draft(pruned)]))
    await store.close()
    with attacker(path) as db:
        db.execute("UPDATE entries SET body = NULL, salt = NULL WHERE journal = 'a/1' AND sequence = 2")
    found = verify_export(await exported(path))
    assert (found.ok, found.pruned) == (True, 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"text":"2"', '"text":"3"'),
        ('"sequence":2', '"sequence":3'),
        ('"position":3', '"position":4'),
        ('"kind":"test.noted"', '"kind":"test.other"'),
        ('"epoch":1', '"epoch":2'),
        ('"clock_back_us":0', '"clock_back_us":1'),
        ('"workspace":"default"', '"workspace":"other"'),
        ('"recorded_at":"2', '"recorded_at":"3'),
        ('"command_id":null', '"command_id":"x"'),
        ('"salt":"', '"salt":"00'),
        ('"body":{"step":null', '"body":{"step": null'),
        ('"body":{"step"', '"approved":true,"body":{"step"'),
    ],
)
async def test_a_change_in_a_line_is_noticed(path: Path, old: str, new: str) -> None:
    lines = await exported(path, "a/1")
    assert old in lines[1]
    lines[1] = lines[1].replace(old, new, 1)
    assert not verify_export(lines).ok


async def test_a_line_that_is_gone_doubled_or_moved_is_noticed(path: Path) -> None:
    lines = await exported(path)
    assert codes(verify_export(lines[:2] + lines[3:])) == {"MISSING"}
    assert "REORDERED" in codes(verify_export([*lines[:3], lines[2], *lines[3:]]))
    assert "REORDERED" in codes(verify_export([lines[1], lines[0], *lines[2:]]))


@pytest.mark.parametrize(
    ("old", "new"), [('"workspace":"default"', '"workspace":"other"'), ('"journal":"', '"journal":"x')]
)
async def test_a_last_line_that_is_given_to_another_journal_is_noticed(path: Path, old: str, new: str) -> None:
    """Nothing comes after it whose hash would tell."""
    lines = await exported(path)
    assert not verify_export([*lines[:-1], lines[-1].replace(old, new, 1)]).ok
    one = await exported(path, "a/1")
    assert not verify_export([*one[:-1], one[-1].replace(old, new, 1)]).ok


async def test_the_last_line_of_a_journal_that_is_gone_is_noticed_by_its_position(path: Path) -> None:
    lines = await exported(path)
    last = max(number for number, line in enumerate(lines[:-1]) if '"journal":"a/1"' in line)
    assert codes(verify_export(lines[:last] + lines[last + 1 :])) == {"MISSING"}


async def test_lines_that_a_tool_wrote_anew_are_told_from_lines_that_were_changed(path: Path) -> None:
    found = verify_export(json.dumps(json.loads(line)) for line in await exported(path))
    assert codes(found) == {"DAMAGED"}
    assert "was it rewritten" in found.findings[0].message


async def test_random_damage_gives_findings_and_never_a_traceback(path: Path) -> None:
    lines = await exported(path)
    dice = random.Random(11)
    for _ in range(300):
        damaged = list(lines)
        which = dice.randrange(len(lines))
        at = dice.randrange(len(lines[which]))
        letter = chr(dice.choice([0, 34, 44, 48, 123, 125, 233, 0x2028, 0xD800]))
        damaged[which] = lines[which][:at] + letter + lines[which][at + 1 :]
        found = verify_export(damaged)
        assert found.ok == (damaged == lines)


@pytest.mark.parametrize("line", ["hello", "{}", "[]", "null", "5", '{"workspace":1}', "\ud800"])
def test_lines_that_are_none_of_an_export_are_findings(line: str) -> None:
    assert codes(verify_export([line])) == {"DAMAGED"}
