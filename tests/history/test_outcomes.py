"""Outcomes in bulk: by id or own id, checked row by row before anything is written, and each observed once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loom import Loom
from loom.errors import ImportMapError
from loom.history.reading import rows_in
from tests.cli.support import CONFIG, invoke
from tests.observing import Seen, observe

AT = datetime(2014, 2, 3, tzinfo=UTC)
MAPS = ("--map", "own_id=case", "--map", "correct=repaid", "--map", "feedback=note", "--map", "observed_at=seen")
GOOD = "case,repaid,note,seen\n1,yes,,2016-01-01T00:00:00+00:00\n2,no,late,\n3,,nobody knows,\n"


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    path = tmp_path / "loom.config.yaml"
    path.write_text(CONFIG.format(workspace="main", module="tests.cli.agents"))
    async with Loom.open(path, by="robin") as loom:
        await observe(loom, [Seen({"n": n}, {"granted": True}, AT) for n in range(4)])
    return path


async def outcomes(config: Path) -> list[tuple[int, bool | None, str | None, str]]:
    """Return which decision turned out how, by whom it was observed."""
    async with Loom.open(config, by="robin") as loom:
        traces = [await loom.traces.get(each.decision_id) for each in reversed(await loom.traces.find())]
    return [
        (number, seen.correct, seen.feedback, seen.observed_by)
        for number, trace in enumerate(traces, 1)
        for seen in trace.outcomes
    ]


async def test_outcomes_are_written_by_own_id_once_however_often_they_are_read(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "outcomes.csv"
    file.write_text(GOOD)
    told = ("outcomes", "import", file, *MAPS, "--source", "bank", "--by", "vera", "--json")
    dry = await asyncio.to_thread(invoke, *told, "--dry-run", config=config)
    before = await outcomes(config)
    first = await asyncio.to_thread(invoke, *told, config=config)
    again = await asyncio.to_thread(invoke, *told, config=config)
    file.write_text(GOOD.replace("2,no,late", "2,yes,late"))
    other = await asyncio.to_thread(invoke, *told, config=config)

    assert (dry.code, dry.json["new"], dry.json["written"], before) == (0, 3, 0, [])
    assert (first.json["written"], first.json["same"]) == (3, 0)
    assert (again.json["written"], again.json["same"]) == (0, 3)
    assert (other.json["written"], other.json["same"]) == (1, 2)
    assert await outcomes(config) == [
        (1, True, None, "vera"),
        (2, False, "late", "vera"),
        (2, True, "late", "vera"),
        (3, None, "nobody knows", "vera"),
    ]


async def test_one_bad_row_and_nothing_is_written(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "outcomes.csv"
    bad = "9,yes,,\n1,maybe,,\n,yes,,\n2,yes,,2999-01-01T00:00:00+00:00\n2,yes,,2015-01-01T00:00:00\n"
    file.write_text(GOOD + bad)
    async with Loom.open(config, by="robin") as loom:
        mapping = {"own_id": "case", "correct": "repaid", "feedback": "note", "observed_at": "seen"}
        report = await loom.history.load_outcomes(rows_in(file), mapping, by="vera", source="bank")

    assert (report.rows, report.new, report.refused, report.written, report.ok) == (8, 3, 5, 0, False)
    assert [each.row for each in report.listed] == [4, 5, 6, 7, 8]
    words = " ".join(each.problem for each in report.listed)
    for said in ("[9] is not known", "correct is [maybe]", "names no decision", "in the future", "has no zone"):
        assert said in words
    assert await outcomes(config) == []


async def test_outcomes_are_found_by_the_id_of_a_decision(config: Path, tmp_path: Path) -> None:
    async with Loom.open(config, by="robin") as loom:
        ids = [each.decision_id for each in await loom.traces.find()]
        file = tmp_path / "outcomes.jsonl"
        file.write_text("".join(f'{{"id": "{each}", "loss": {n}}}\n' for n, each in enumerate(ids)))
        report = await loom.history.load_outcomes(rows_in(file), {"id": "id", "actual": "loss"}, by="vera")
        actual = [(await loom.traces.get(each)).outcomes[0].actual for each in ids]

    assert report.written == 4
    assert actual == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("mapping", "source"),
    [
        ({"correct": "repaid"}, None),
        ({"id": "case"}, None),
        ({"id": "case", "own_id": "case", "correct": "repaid"}, "bank"),
        ({"own_id": "case", "correct": "repaid"}, None),
        ({"id": "case", "correct": "repaid"}, "bank"),
        ({"id": "case", "sure": "repaid"}, None),
        ({"id": "case", "correct": "gone"}, None),
    ],
)
async def test_a_mapping_that_makes_no_sense_is_refused(
    config: Path, tmp_path: Path, mapping: dict[str, str], source: str | None
) -> None:
    file = tmp_path / "outcomes.csv"
    file.write_text(GOOD)
    async with Loom.open(config, by="robin") as loom:
        with pytest.raises(ImportMapError):
            await loom.history.load_outcomes(rows_in(file), mapping, by="vera", source=source)
