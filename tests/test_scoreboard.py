"""The reliability page lists the whole scoreboard, whatever ran, and says from which trees its figures are."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reliability import board, table
from tests.reliability.board import Piece, Tally, merged, row
from tests.reliability.scoreboard import SCOREBOARD

HERE = Path(__file__).parent / "reliability"
HEAD = {"loom": "a" * 40, "tests": "b" * 40}


def result(*pieces: Piece) -> dict[str, Any]:
    return {**merged(pieces), "commit": "c" * 40, "trees": dict(HEAD), "dirty": False}


def every_test_of_a_row() -> Iterator[tuple[str, bool]]:
    """Yield the row of each test that has one, and whether it reports a control."""
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [each.args[0] for each in node.decorator_list if isinstance(each, ast.Call) and _is_row(each)]
                controls = any(isinstance(each, ast.Attribute) and each.attr == "control" for each in ast.walk(node))
                yield from ((str(each.value), controls) for each in names if isinstance(each, ast.Constant))


def _is_row(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "row"


def test_the_scoreboard_has_every_row_from_1_to_46() -> None:
    assert list(SCOREBOARD) == [f"R{number}" for number in range(1, 47)]
    assert all(each.title for each in SCOREBOARD.values())


def test_a_row_has_tests_or_says_why_not_and_a_control_that_is_named_is_tried() -> None:
    found = list(every_test_of_a_row())
    assert {name for name, _ in found} == {name for name, each in SCOREBOARD.items() if each.absent is None}
    named = {name for name, each in SCOREBOARD.items() if each.must_find is not None}
    assert {name for name, controls in found if controls} == named
    assert all(0 < (SCOREBOARD[name].must_find or 0) <= 1 for name in named)
    assert all("control" in SCOREBOARD[name].title for name in named)


@pytest.mark.parametrize("name", ["R1", "R99"])
def test_a_test_of_a_row_that_is_absent_or_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCOREBOARD, "R1", SCOREBOARD["R1"]._replace(absent="nothing is built"))
    with pytest.raises(LookupError, match=name):
        row(name)


def test_the_page_lists_all_rows_with_what_did_not_run_as_skipped_and_why() -> None:
    text = table.page(result(Piece(row="R5", test="t", trials=3)), head=HEAD)
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("| R")}
    assert [name for name in lines if name != "Row"] == list(SCOREBOARD)
    assert lines["R5"].endswith("| passed |")
    assert lines["R1"].endswith(f"| SKIPPED: {board.NOT_RUN} |")
    for name, each in SCOREBOARD.items():
        if each.absent is not None:
            assert lines[name].endswith(f"| – | – | – | – | SKIPPED: {each.absent} |")
        if each.must_find is not None:
            assert f"must find {each.must_find:.0%}" in lines[name]
    assert "1 rows passed, 0 failed, 45 SKIPPED" in text


def test_a_control_that_finds_less_than_its_share_fails_its_test_and_its_row() -> None:
    tally = Tally(Piece(row="R4", test="t"))
    tally.control(trials=600, found=59)
    with pytest.raises(AssertionError, match="found 59 in 600, and must find 10%"):
        tally.judge()
    few = result(Piece(row="R4", test="t", control_trials=600, control_found=59))
    enough = result(Piece(row="R4", test="t", control_trials=600, control_found=60))
    states = [each["rows"][3]["status"] for each in (few, enough)]
    assert states == ["failed", "passed"]
    assert "its control found too little" in table.page(few, head=HEAD)
    with pytest.raises(AssertionError, match=r"say in scoreboard\.py"):
        Tally(Piece(row="R5", test="t")).control(trials=1, found=1)


def test_the_page_names_its_trees_and_says_where_those_of_head_are_others() -> None:
    made = result()
    same = table.page(made, head=HEAD)
    assert table.stated(same) == HEAD
    assert "HEAD has another tree" not in same
    other = table.page(made, head={**HEAD, "tests": "d" * 40})
    assert "HEAD has another tree of `tests/` than this was made from" in other
    assert table.stated(other) == HEAD
    assert "changes that were not committed" in table.page({**made, "dirty": True}, head=HEAD)


def test_the_check_ends_with_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(table, "RESULT", tmp_path / "result.json")
    monkeypatch.setattr(table, "trees_of", lambda _: HEAD)
    assert "there is no [result.json]" in (table.main([]) or "")
    (tmp_path / "result.json").write_text(json.dumps(result()), encoding="utf-8")
    assert table.main([]) is None
    assert table.main(["--check"]) is None
    monkeypatch.setattr(table, "trees_of", lambda _: {**HEAD, "loom": "e" * 40})
    assert "HEAD has another tree of `loom/` than page.md was made from" in (table.main(["--check"]) or "")


def test_the_page_at_hand_states_its_trees_and_every_row() -> None:
    text = table.PAGE.read_text(encoding="utf-8")
    assert set(table.stated(text)) == set(board.TREES)
    for name, each in SCOREBOARD.items():
        assert f"\n| {name} | {each.title} |" in text, f"make the page again: {name}"
