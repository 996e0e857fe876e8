"""What is added to the golden files is as the journal has it, and nothing that was there is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden.adding import add_bodies, add_journal, missing
from tests.golden.reading import HERE, copied


def test_bodies_that_a_file_lacks_are_appended_once_as_they_were_written(tmp_path: Path) -> None:
    journal = copied(HERE / "waiting", tmp_path / "data")
    lines = (HERE / "bodies.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["kind"] != "wait_begun"]
    bodies = tmp_path / "bodies.jsonl"
    bodies.write_text("".join(kept), encoding="utf-8")

    assert missing(bodies) == {("wait_begun", 1)}
    assert add_bodies(journal, bodies=bodies) == ["wait_begun-1"]
    assert add_bodies(journal, bodies=bodies) == []

    now = bodies.read_text(encoding="utf-8").splitlines(keepends=True)
    assert now[:-1] == kept
    assert json.loads(json.loads(now[-1])["body"])["what"] in ("sleep", "message", "begin")


def test_a_journal_is_packed_with_what_is_read_out_of_it_and_none_is_replaced(tmp_path: Path) -> None:
    journal = copied(HERE / "waiting", tmp_path / "data")
    moved = journal.parent.rename(tmp_path / "as-a-url-names-it")  # where it lies does not say whose workspace it is

    add_journal(moved / "journal.db", into=tmp_path / "packed")

    for name in ("expected.json", "workspace.json"):
        again, first = (json.loads((place / name).read_text()) for place in (tmp_path / "packed", HERE / "waiting"))
        assert again == first, name
    assert copied(tmp_path / "packed", tmp_path / "again").exists()
    with pytest.raises(FileExistsError):
        add_journal(moved / "journal.db", into=tmp_path / "packed")
