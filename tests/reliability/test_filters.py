"""R34: what people filter by and ask is never a part of SQL: no row too many, no write, no file that is read."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.errors import AdmissionError
from loom.precedents import Memory
from loom.precedents.browsing import Browsing
from loom.projections.statements import Statements
from tests.precedents.browsed import PIECES, Keeper, everything, filled, matches, text_of, wanted_of
from tests.projections.hostile import statement_of
from tests.reliability.board import Tally, row

_FILTERS = 2_000
_STATEMENTS = 2_000
_DECISIONS = 60
_SECRET = "the-content-of-a-file"


@pytest.mark.timeout(600)
@row("R34")
async def test_hostile_filters_find_what_plain_python_finds(tmp_path: Path, tally: Tally) -> None:
    async with Loom.open(f"sqlite:///{tmp_path / 'journal.db'}", actors=[Keeper], by="ann") as loom:
        await filled(loom, _DECISIONS)
        known = await everything(loom)
        facts = {
            each.decision.decision_id: (await loom.traces.get(each.decision.decision_id)).decision.facts or {}
            for each, _ in known
        }
        browsing, memory, draw = Browsing(loom.queries), Memory(loom.queries), tally.dice
        naive = 0
        for number in range(_FILTERS):
            tally.tried()
            if number % 4 == 3:
                name = draw.choice([text_of(draw), f"size{text_of(draw)}", "region", "size"])
                value = draw.choice([text_of(draw), draw.choice(known)[1]["decision_type"][5:], 1, 3])
                await _check_facet(memory, facts, {name: value}, tally)
                continue
            wanted = wanted_of(draw, known)
            expected = [each.decision.decision_id for each, have in known if matches(have, wanted)]
            found = await browsing.find(**wanted, limit=100)
            tally.check(
                [each.decision.decision_id for each in found.decisions] == expected and found.total == len(expected),
                f"{wanted}: {found.total} of {len(expected)}",
            )
            naive += number < 200 and _differs_when_joined_as_text(loom.files.views, wanted, known)
        tally.check(naive > 0, "texts that are put into SQL did no harm, so the corpus is too tame")
        for piece in PIECES:
            tally.tried()
            unknown: dict[str, Any] = {piece: "x"}
            try:
                await browsing.find(**unknown)
                tally.fail(f"filter [{piece}] was taken")
            except AdmissionError:
                pass
        tally.check(not loom.queries.differences.count, "rows differ")


async def _check_facet(
    memory: Memory, facts: Mapping[str, Mapping[str, Any]], wanted: dict[str, Any], tally: Tally
) -> None:
    [(name, value)] = wanted.items()
    expected = [one for one, have in facts.items() if name in have and have[name] == value]
    found = await _searched(memory, facets=wanted)
    tally.check(found == expected, f"facet {wanted}: {len(found)} of {len(expected)}")
    came = await _searched(memory, outcome={name: value})
    tally.check(not came, f"outcome {wanted}: {len(came)} of 0")


async def _searched(memory: Memory, **wanted: Any) -> list[str]:
    """Return what a search finds: nothing, where the name is one that cannot be looked for."""
    try:
        return [each.decision_id for each in await memory.search(**wanted, limit=100)]
    except AdmissionError:
        return []


def _differs_when_joined_as_text(views: Path, wanted: Mapping[str, Any], known: list[Any]) -> bool:
    """Tell whether a filter that puts values into SQL as they are fails, or finds other decisions (the control)."""
    given = {name: value for name, value in wanted.items() if name in ("rule", "effect", "decision_type")}
    if not given:
        return False
    condition = " AND ".join(f"{name} = '{value}'" for name, value in given.items())
    with closing(sqlite3.connect(f"file:{views}?mode=ro", uri=True)) as view:
        try:
            [count] = view.execute(f"SELECT count(*) FROM trace_decisions WHERE {condition}").fetchone()
        except (sqlite3.Error, sqlite3.Warning):
            return True
    return bool(count != sum(matches(have, given) for _, have in known))


@pytest.mark.timeout(1_200)
@row("R34")
async def test_hostile_statements_write_nothing_read_no_file_and_end(tmp_path: Path, tally: Tally) -> None:
    views = tmp_path / "views.db"
    with closing(sqlite3.connect(views, isolation_level=None)) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE things (name TEXT, size INTEGER)")
        made.executemany("INSERT INTO things VALUES (?, ?)", [(f"thing {number}", number) for number in range(1_000)])
        made.execute("CREATE VIRTUAL TABLE words USING fts5 (said, content = '')")
        made.execute("INSERT INTO words (rowid, said) VALUES (1, 'a stitch in time')")
        (tmp_path / "secret.txt").write_text(_SECRET, encoding="utf-8")
        before = _state(tmp_path)
        statements = Statements(views, timeout_s=0.2, rows=10, memory_bytes=256 * 1024**2)
        texts = [statement_of(tally.dice, tmp_path) for _ in range(_STATEMENTS)]
        slowest = 0.0
        for begin in range(0, len(texts), 2):
            pair = texts[begin : begin + 2]
            began = asyncio.get_running_loop().time()
            for text, found in zip(pair, await asyncio.gather(*map(statements.run, pair)), strict=True):
                tally.tried()
                tally.heard["gave rows" if found.rows else "gave none" if found.problem is None else "refused"] += 1
                tally.check(len(found.rows) <= 10, f"{text}: {len(found.rows)} rows")
                tally.check(_SECRET not in str(found.rows), f"{text}: read a file")
            slowest = max(slowest, asyncio.get_running_loop().time() - began)
        tally.check(_state(tmp_path) == before, "a file was changed, or is there that was not")
        tally.check(tally.heard["gave rows"] > 50, "too few statements run at all")
        tally.note(f"the slowest pair took {slowest:.1f} s")


def _state(place: Path) -> dict[str, str]:
    """Return what lies in a directory: names and digests, but for the index that SQLite shares."""
    return {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in place.iterdir() if "-shm" not in each.name
    }
