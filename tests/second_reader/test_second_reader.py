"""A reader in JavaScript, made from the page about the format alone, agrees with loom about every hash."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from loom.journal.export import export_lines
from loom.journal.merkle import Frontier, leaf_of
from loom.journal.sqlite import Reader
from loom.journal.sqlite.verify import verify
from tests.golden.reading import GOLDEN, copied
from tests.journal.test_fields import filled
from tests.second_reader.asking import NODE, READER, answers, asked, questions

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed: the second reader is in JavaScript")


async def exported(path: Path, workspace: str) -> list[str]:
    reader = Reader(path)
    try:
        return [line async for line in export_lines(reader, workspace=workspace)]
    finally:
        await reader.close()


def test_it_is_one_file_of_at_most_400_lines_that_needs_no_package() -> None:
    source = READER.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 400
    needed = [line.split('"')[1] for line in source.splitlines() if "require(" in line]
    assert all(each.startswith("node:") for each in needed)


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda each: each.name)
async def test_it_finds_every_hash_of_the_golden_journals(golden: Path, tmp_path: Path) -> None:
    journal = copied(golden, tmp_path)
    reader = Reader(journal)
    workspace = await reader.workspace() or ""
    entries = [each async for each in reader.read_all()]
    await reader.close()
    code, said = asked("export", await exported(journal, workspace))
    assert (code, said[-1]["problems"]) == (0, [])
    tree = Frontier()
    for entry, found in zip(entries, said, strict=False):
        leaf = leaf_of(workspace, entry.position, entry.journal, entry.sequence, entry.entry_hash)
        tree.add(leaf)
        assert found == {
            "position": entry.position,
            "body_digest": entry.body_digest.hex(),
            "entry_hash": entry.entry_hash.hex(),
            "leaf": leaf.hex(),
        }
    assert said[-1]["root"] == tree.root.hex() == verify(journal).root
    assert said[-1]["size"] == len(entries) == len(said) - 1


async def test_it_reads_entries_whose_fields_can_be_left_out_and_finds_what_was_changed(tmp_path: Path) -> None:
    await filled(tmp_path / "journal.db")
    lines = await exported(tmp_path / "journal.db", "w")
    assert asked("export", lines)[0] == 0
    for changed, what in (
        ([lines[0], lines[1].replace("ada", "bob"), *lines[2:]], "does not have the digest of its body"),
        ([lines[0], lines[1].replace('"body_scheme":2', '"body_scheme":1'), *lines[2:]], "the digest of its body"),
        ([lines[1], lines[0], *lines[2:]], "comes after sequence 0"),
        ([lines[0].replace('"epoch":1', '"epoch":2'), *lines[1:]], "does not have the hash of what it says"),
        (["{", *lines], "line 1 cannot be read"),
    ):
        code, said = asked("export", changed)
        assert code == 1
        assert any(what in each for each in said[-1]["problems"]), said[-1]


def test_it_answers_like_loom_about_single_hashes_and_proofs() -> None:
    asked_of = list(itertools.islice(questions(random.Random(22)), 1_400))
    assert answers(asked_of) == [answer for _, answer in asked_of]
