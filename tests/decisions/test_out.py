"""Decisions out: as CSV that no spreadsheet runs, as JSON lines, with bodies in pages, and in SQL."""

from __future__ import annotations

import csv
import io
import json
import sys
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom import Loom
from loom.decisions import DecisionWithBody
from loom.decisions.out import ParquetRows, check_columns, csv_cell, write_rows
from loom.errors import AdmissionError
from tests.cli.support import CONFIG, invoke
from tests.observing import Seen, observe
from tests.sqlite_files import connected

NASTY = ["=1+1", "+49 30", "-2+3", "@SUM(A1)", "\tx", "\rx", "plain", "-5", "+1.5e3", 'a,b\n"c"', ""]
AT = datetime(2014, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    path = tmp_path / "loom.config.yaml"
    path.write_text(CONFIG.format(workspace="main", module="tests.cli.agents"))
    seen = [Seen({"name": text, "n": n, "deep": {"x": n}}, {"granted": n % 2 == 0}, AT) for n, text in enumerate(NASTY)]
    async with Loom.open(path, by="robin") as loom:
        await observe(loom, seen)
    return path


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-2+3", "'-2+3"),
        ("@x", "'@x"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("-5", "-5"),
        ("+1.5e3", "+1.5e3"),
        ("-.5", "-.5"),
        (-5, "-5"),
        (True, "true"),
        (None, ""),
        ("--5", "'--5"),
        ({"a": 1}, '{"a": 1}'),
        ("-", "'-"),
        ("x=1", "x=1"),
    ],
)
def test_what_begins_like_a_formula_and_is_no_number_gets_an_apostrophe(value: object, cell: str) -> None:
    assert csv_cell(value) == cell


@given(st.lists(st.one_of(st.text(max_size=8), st.integers(), st.booleans(), st.none()), min_size=1, max_size=4))
def test_no_cell_begins_like_a_formula_and_every_value_comes_back(values: list[Any]) -> None:
    columns = [f"facts.{number}" for number in range(len(values))]
    stream = io.StringIO()
    write_rows(stream, [dict(zip(columns, values, strict=True))], columns, form="csv")

    [cells] = csv.reader(io.StringIO(stream.getvalue(), newline=""))
    for cell, value in zip(cells, values, strict=True):
        if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
            float(cell)
        plain = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        assert cell in (plain, f"'{plain}")


async def test_a_page_may_hold_all_that_was_recorded(config: Path) -> None:
    async with Loom.open(config, by="robin") as loom:
        first = await loom.traces.find(limit=6, with_body=True)
        rest = await loom.traces.find(limit=50, after=first[-1].position, with_body=True)
        plain = await loom.traces.find()

    names = []
    for each in (*first, *rest):
        assert isinstance(each, DecisionWithBody)
        assert each.decision is not None
        assert each.decision.facts is not None
        names.append(each.decision.facts["name"])
    assert names == NASTY[::-1]
    assert not isinstance(plain[0], DecisionWithBody)


def test_the_shell_writes_csv_and_json_lines_of_all_that_match(config: Path, tmp_path: Path) -> None:
    columns = "decision_id,decided_at,facts.name,facts.deep.x,outcome.granted,effect"
    text = invoke("decisions", "--format", "csv", "--columns", columns, config=config).out
    lines = invoke("decisions", "--format", "jsonl", "--columns", columns, config=config).lines
    out = tmp_path / "out.csv"
    some = invoke("decisions", "--format", "csv", "--limit", "3", "--out", out, config=config)

    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["facts.name"] for row in rows] == [csv_cell(each) for each in NASTY[::-1]]
    assert [row["facts.deep.x"] for row in rows] == [str(n) for n in range(len(NASTY))][::-1]
    assert {row["decided_at"] for row in rows} == {"2014-02-03T04:05:06+00:00"}
    assert [line["facts.name"] for line in lines] == NASTY[::-1], "JSON needs no apostrophe"
    assert [line["outcome.granted"] for line in lines] == [n % 2 == 0 for n in range(len(NASTY))][::-1]
    assert some.code == 0
    assert len(out.read_text().splitlines()) == 4
    assert invoke("decisions", "--format", "csv", "--out", out, config=config).code == 2, "it is there already"
    assert invoke("decisions", "--format", "csv", "--type", "none", config=config).code == 1


def test_what_makes_no_sense_is_refused(config: Path) -> None:
    assert invoke("decisions", "--columns", "rule", config=config).code == 2
    assert invoke("decisions", "--format", "parquet", config=config).code == 2
    assert invoke("decisions", "--format", "csv", "--columns", "nope", config=config).code == 2
    with pytest.raises(AdmissionError, match="named twice"):
        check_columns(["rule", "rule"])


def test_without_pyarrow_one_line_says_what_to_install(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = invoke("decisions", "--format", "parquet", "--out", tmp_path / "d.parquet", config=config)

    assert said.code == 2
    problem, *more = said.err.splitlines()
    assert more == ["see: loom docs errors#AdmissionError"]
    assert "pip install 'loom-journal[parquet]'" in problem
    assert list(tmp_path.glob("d.parquet*")) == []


def test_parquet_holds_the_columns_as_text(tmp_path: Path) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    rows = ParquetRows(tmp_path / "d.parquet", ["a", "b"])
    rows.write([{"a": "x", "b": None}, {"a": 5, "b": "=1"}])
    rows.close()

    assert parquet.read_table(tmp_path / "d.parquet").to_pylist() == [
        {"a": "x", "b": None},
        {"a": "5", "b": "=1"},
    ]


def test_the_documented_view_says_in_sql_what_the_shell_says(config: Path) -> None:
    views = config.parent / "data" / "main" / "journal.views.db"
    with connected(f"file:{views}?mode=ro", uri=True) as connection:
        connection.executescript((files("loom.decisions") / "decisions.sql").read_text("utf-8"))
        found = connection.execute(
            "SELECT decision_id, decided_at, origin, outcome FROM decisions ORDER BY position"
        ).fetchall()

    listed = invoke("decisions", "--json", config=config).json[::-1]
    assert [row[0] for row in found] == [each["decision_id"] for each in listed]
    assert {row[1:3] for row in found} == {("2014-02-03T04:05:06.000Z", "observed")}
    assert [json.loads(row[3]) for row in found] == [each["outcome"] for each in listed]
