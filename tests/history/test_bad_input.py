"""Bad input: a report row by row before anything is written, in bounded memory, and never half a row."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.errors import ImportMapError, ImportRefusedError
from loom.history import ImportReport, load_map, rows_in
from loom.history.reading import RawRow
from loom.sealing import MASTER_KEY
from tests.history.support import bank, rows, written


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Loom]:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", by="robin") as opened:
        yield opened


def spoilt(**cells: Any) -> list[dict[str, Any]]:
    """Return three rows, the second with other cells."""
    good = rows(3)
    return [good[0], {**good[1], **cells}, good[2]]


@pytest.mark.parametrize(
    ("cells", "code", "said"),
    [
        ({"amount": "much"}, "bad_value", "[amount] is [much]; expected a number"),
        ({"amount": "=1+1"}, "bad_value", "a formula is not worked out"),
        ({"amount": "1.5"}, "bad_value", "expected an integer"),
        ({"amount": "9" * 30}, "bad_value", "expected an integer within"),
        ({"amount": "NaN"}, "bad_value", "expected a number"),
        ({"amount": b"\x00"}, "bad_value", "is a bytes; expected a number"),
        ({"rate": "1e999"}, "bad_value", "expected a number"),
        ({"ok": "maybe"}, "undeclared", "[ok] is [maybe]; expected one of [yes, no]"),
        ({"ok": ""}, "no_outcome", "says nothing of an outcome"),
        ({"at": "2999-01-01T00:00:00"}, "in_future", "expected a time before now"),
        ({"at": "yesterday"}, "bad_time", "expected a time in ISO 8601"),
        ({"id": ""}, "bad_own_id", "expected 1 to 200 printable characters"),
        ({"id": "a\nb"}, "bad_own_id", "printable"),
        ({"branch": "a/b"}, "bad_key", "contains a slash"),
        ({"town": "K\udce4ln"}, "bad_value", "is not UTF-8"),
        ({"town": "a\x00b"}, "bad_value", "U+0000"),
        ({"town": "x" * 5_000}, "bad_value", "expected at most [4000]"),
        ({"who": " \u200b"}, "bad_name", "printable"),
    ],
)
async def test_a_row_that_cannot_be_is_named_and_nothing_is_written(
    loom: Loom, cells: dict[str, Any], code: str, said: str
) -> None:
    before = loom.store.acknowledged
    with pytest.raises(ImportRefusedError, match="nothing was written") as refused:
        await loom.history.load(spoilt(**cells), bank(), by="vera")
    report = refused.value.report
    assert isinstance(report, ImportReport)
    assert [(each.row, each.code) for each in report.problems] == [(2, code)]
    assert said in report.problems[0].message
    assert loom.store.acknowledged == before


async def test_a_time_in_no_zone_is_refused_and_the_wrong_order_is_a_note(loom: Loom) -> None:
    report = await loom.history.check(rows(2), bank(decided_at={"column": "at"}))
    assert [(each.row, each.code) for each in report.problems] == [(1, "no_zone"), (2, "no_zone")]
    report = await loom.history.check(list(reversed(rows(3))), bank())
    assert report.ok
    assert any("2 rows were decided before the row above them" in note for note in report.notes)


async def test_a_float_is_taken_by_a_rule_or_not_at_all(loom: Loom) -> None:
    facts = {"rate": {"column": "rate", "as": "decimal"}}
    given: list[Mapping[str, object]] = [{**rows(1)[0], "rate": 0.1 + 0.2}]
    report = await loom.history.check(given, bank(facts=facts))
    assert "write [0.30000000000000004], or name places and rounding" in report.problems[0].message
    facts["rate"] |= {"places": 2, "rounding": "half_even"}  # type: ignore[dict-item]
    done = await loom.history.load(given, bank(facts=facts), by="vera")
    [found] = await loom.traces.find()
    assert (await loom.traces.get(found.decision_id)).decision.facts == {"rate": "0.30"}
    assert done.written == 1


async def test_a_column_that_is_gone_is_named_before_any_row(loom: Loom, tmp_path: Path) -> None:
    path = written(
        tmp_path / "h.csv", [{name: cell for name, cell in row.items() if name != "rate"} for row in rows(3)]
    )
    with pytest.raises(ImportRefusedError, match=r"has no column \[rate\]"):
        await loom.history.load_file(path, bank(), by="vera")
    report = await loom.history.check(
        [{**row, "rate": row["rate"]} for row in rows(3)], bank(decider={"column": "gone"})
    )
    assert [(each.row, each.code) for each in report.problems] == [(0, "column_gone")]


BROKEN = {
    "short": ("h.csv", b"id,branch,amount,rate,town,ok,at,who\n1,b\n", "row has [2] cells; expected [8]"),
    "quote": ("h.csv", b'id,branch,amount,rate,town,ok,at,who\n1,"b"x,1,1,,yes,2015-01-01,\n', "cannot be read"),
    "no json": ("h.jsonl", b'{"id": 1', "is no JSON"),
    "a list": ("h.jsonl", b"[1, 2]\n", "is a list; expected an object"),
    "twice": ("h.jsonl", b'{"id": 1, "id": 2}\n', "twice"),
    "long": ("h.jsonl", b'{"id": "' + b"x" * 1_100_000 + b'"}\n', "has more than [1048576] bytes"),
}


@pytest.mark.parametrize("which", BROKEN)
async def test_a_file_that_is_broken_is_a_report_and_never_a_traceback(loom: Loom, tmp_path: Path, which: str) -> None:
    name, content, said = BROKEN[which]
    (tmp_path / name).write_bytes(content)
    report = await loom.history.check(loom.history.rows(tmp_path / name, bank()), bank())
    assert not report.ok
    assert said in report.problems[0].message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("h.csv", b"", "names \\[0\\] columns"),
        ("h.csv", b"id,id\n1,2\n", "names \\[id\\] twice"),
        ("h.xlsx", b"PK", "its name does not say what it is"),
        ("gone.csv", None, "there is no file"),
    ],
)
async def test_a_file_that_is_none_is_refused(
    loom: Loom, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ImportRefusedError, match=said):
        await loom.history.load_file(tmp_path / name, bank(), by="vera")


async def test_only_one_select_on_another_database_is_run_and_only_for_reading(loom: Loom, tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE loans (id); INSERT INTO loans VALUES (1);")
    before = path.read_bytes()
    for statement, said in {
        "DELETE FROM loans": "not authorized",
        "SELECT 1; SELECT 2": "one statement at a time",
        "PRAGMA user_version": "not authorized",
        "ATTACH 'x.db' AS x": "not authorized",
        "SELECT id, id FROM loans": "names a column twice",
        "SELECT * FROM gone": "no such table",
    }.items():
        with pytest.raises(ImportRefusedError, match=said):
            rows_in(path, select=statement).columns()
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) AS id FROM n"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("loom.history.reading._MOST_STEPS", 3)
        with pytest.raises(ImportRefusedError, match="interrupted"):
            list(rows_in(path, select=endless).read())
    assert path.read_bytes() == before
    with pytest.raises(ImportRefusedError, match="is the journal of this loom"):
        loom.history.rows(tmp_path / "journal.db", bank(), select="SELECT * FROM entries")
    async with Loom.open(f"sqlite:///{tmp_path}/other/journal.db", by="robin"):
        pass
    with pytest.raises(ImportRefusedError, match="is a journal of loom's"):
        loom.history.rows(tmp_path / "other" / "journal.db", bank(), select="SELECT * FROM entries")


class Million:
    """A million rows, all of them bad, none of them kept."""

    name = "million.csv"
    digest = "f" * 64

    def __init__(self, count: int) -> None:
        self.count = count

    def again(self) -> str:
        return self.digest

    def columns(self) -> list[str]:
        return list(rows(1)[0])

    def read(self) -> Iterator[RawRow]:
        row = rows(1)[0]
        for number in range(1, self.count + 1):
            yield RawRow(number, {**row, "id": str(number), "ok": "maybe"})


async def test_very_many_bad_rows_are_counted_in_bounded_memory(loom: Loom) -> None:
    await loom.history.check(Million(600), bank())  # what is made once is made now
    tracemalloc.start()
    try:
        report = await loom.history.check(Million(20_000), bank())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (report.rows, report.bad, len(report.problems)) == (20_000, 20_000, 100)
    assert report.counts == {"undeclared": 20_000}
    assert peak < 8_000_000
    assert report.lines()[-1] == "and 19,900 more: 20,000 undeclared"


async def test_a_file_that_changes_while_it_is_read_is_refused(loom: Loom, tmp_path: Path) -> None:
    path = written(tmp_path / "h.csv", rows(3))
    given = loom.history.rows(path, bank())
    with path.open("a") as file:
        file.write("L-9,b1,5,1,,yes,2015-01-01T00:00:00,\n")
    with pytest.raises(ImportRefusedError, match="has changed while it was read"):
        await loom.history.load(given, bank(), by="vera")


# --- what is protected ----------------------------------------------------------------------------


async def test_what_is_protected_is_nowhere_in_the_journal(
    loom: Loom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protect = {"facts.town": "mask", "decided_by": "hash", "context.note": "drop"}
    given = [{**row, "town": "Wernigerode", "who": "Hieronymus", "note": "his brother-in-law"} for row in rows(4)]
    mapped = bank(protect=protect, context={"note": {"column": "note"}})
    monkeypatch.delenv(MASTER_KEY, raising=False)
    with pytest.raises(ImportMapError, match="there is no master key"):
        await loom.history.check(given, mapped)
    monkeypatch.setenv(MASTER_KEY, "A" * 43 + "=")
    report = (await loom.history.load(given, mapped, by="vera")).report
    assert not any("protect" in note for note in report.notes)
    decided = {(await loom.traces.get(each.decision_id)).decided_by for each in await loom.traces.find()}
    assert len(decided) == 1  # equal values can be told to be equal
    assert decided.pop().startswith("hmac:")  # type: ignore[union-attr]
    held = b"".join(each.read_bytes() for each in tmp_path.glob("journal*") if each.is_file())
    assert not [value for value in (b"Wernigerode", b"Hieronymus", b"his brother-in-law") if value in held]


def test_a_map_that_makes_no_sense_is_refused_with_each_place(tmp_path: Path) -> None:
    for changes, said in (
        ({"source": "The Bank"}, "is not a name"),
        ({"outcome": {"granted": {"column": "ok"}}}, "declares no values"),
        ({"protect": {"facts.town": "seal"}}, "are sealed without a subject"),
        ({"decider": {"seal": {"column": "who", "subject": "id"}}}, "only values of facts"),
        ({"facts": {"a": {"column": "a", "seal": {"column": "b"}}}}, "two columns"),
        ({"protect": {"facts.gone": "mask"}}, "under protect is nothing of this map"),
        ({"decided_at": {"column": "at", "zone": "Atlantis/Capital"}}, "is not known"),
        ({"facts": {"a": {"column": "a", "value": 1}}}, "expected one of"),
        ({"facts": {"a": {"column": "a", "places": 2}}}, "expected both of"),
        ({"surprise": 1}, "surprise"),
    ):
        path = tmp_path / "map.yaml"
        path.write_text(json.dumps(bank(**changes)))
        with pytest.raises(ImportMapError, match=said):
            load_map(path)
    path.write_text("format: loom.import/1\nformat: loom.import/1\n")
    with pytest.raises(ImportMapError, match="is given twice"):
        load_map(path)
