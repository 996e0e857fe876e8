"""Roots that were written down elsewhere give away what a chain and a heads file do not, if both were rewritten."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from loom.errors import AdmissionError
from loom.journal.merkle import Frontier, leaf_of
from loom.journal.roots import Root, RootsSeen
from loom.journal.sqlite import SqliteStore
from loom.journal.sqlite.verify import Verification, verify
from tests.cli.support import invoke
from tests.journal.support import PLENTY, fill

COUNTS = {"a/1": 5, "b/1": 4}


async def write(path: Path, counts: dict[str, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    store = await SqliteStore.open(path, options=PLENTY)
    await fill(store, counts)
    await store.close()


def codes(result: Verification) -> set[str]:
    return {each.code for each in result.findings}


async def test_the_root_is_that_of_the_tree_over_the_entries_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await write(path, COUNTS)
    store = await SqliteStore.open(path, options=PLENTY)
    tree = Frontier()
    async for each in store.read_all():
        tree.add(leaf_of("default", each.position, each.journal, each.sequence, each.entry_hash))
    await store.close()
    result = verify(path)
    assert (result.size, result.root) == (9, tree.root.hex())
    known = Root(9, tree.root)
    assert Root.parse(str(known)) == known
    assert verify(path, roots=[known]).ok


async def test_a_longer_journal_still_begins_with_what_was_written_down(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await write(path, COUNTS)
    earlier = Root.parse(f"{verify(path).size}:{verify(path).root}")
    store = await SqliteStore.open(path, options=PLENTY)
    await fill(store, {"c/1": 3})
    await store.close()
    (tmp_path / "journal.heads").unlink()
    later = verify(path, roots=[earlier])
    assert later.ok
    assert later.anchored_through == earlier.size, "a root counts as a head does"
    assert later.root != earlier.root.hex()


async def test_a_journal_that_was_made_again_or_cut_with_its_heads_is_given_away(tmp_path: Path) -> None:
    path, other = tmp_path / "one" / "journal.db", tmp_path / "other" / "journal.db"
    await write(path, COUNTS)
    await write(other, {"a/1": 4, "b/1": 5})
    known = Root.parse(f"9:{verify(path).root}")
    assert verify(other).ok, "its chain and its heads are sound"
    assert codes(verify(other, roots=[known])) == {"REWRITTEN"}
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM entries WHERE position > 7")
        for _, sql in triggers:
            connection.execute(sql)
    (path.parent / "journal.heads").unlink()
    assert codes(verify(path)) == {"UNANCHORED_TAIL"}, "without a root nothing shows"
    cut = verify(path, roots=[known])
    assert not cut.ok
    assert "TRUNCATED" in codes(cut)


def test_a_journal_with_a_hole_or_a_damaged_row_has_no_root() -> None:
    first, second = ("w", 1, "a/1", 1, b"x" * 32), ("w", 2, "a/1", 2, b"y" * 32)
    hole, no_name = ("w", 3, "a/1", 2, b"z" * 32), ("w", 2, None, 2, b"z" * 32)
    short, no_text = ("w", 2, "a/1", 2, b"z"), ("w", 2, "\udc80", 2, b"z" * 32)
    for bad in (hole, no_name, short, no_text):
        seen = RootsSeen()
        for row in (first, bad, second):
            seen.take(*row)
        assert seen.last is None
    assert RootsSeen().last is None


@pytest.mark.parametrize(
    "text", ["", "9", "9:", "9:ab", "0:" + "0" * 64, "-1:" + "0" * 64, "9:" + "g" * 64, "9 " + "0" * 64]
)
def test_a_root_that_is_none_is_refused_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(AdmissionError, match="SIZE:64 hex digits"):
        Root.parse(text)


def test_the_shell_prints_the_root_and_compares_one(tmp_path: Path) -> None:
    path = tmp_path / "default" / "journal.db"
    asyncio.run(write(path, COUNTS))
    said = invoke("verify", "-j", path)
    assert said.code == 0
    found = re.search(r"root (9:[0-9a-f]{64})", said.out)
    assert found is not None
    assert invoke("verify", "-j", path, "--root", found[1]).code == 0
    wrong = invoke("verify", "-j", path, "--root", found[1][:-1] + ("0" if found[1][-1] != "0" else "1"))
    assert (wrong.code, "rewritten" in wrong.out) == (1, True)
    assert invoke("verify", "-j", path, "--root", "nonsense").code == 2
