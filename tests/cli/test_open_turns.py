"""`loom check` and `loom versions`: which open turns the code at hand could not resume."""

from __future__ import annotations

from pathlib import Path

from tests.cli.support import CONFIG, invoke


def test_the_code_that_recorded_open_turns_can_resume_them(filled: Path) -> None:
    answer = invoke("--json", "check", "--sample", "20", config=filled)

    assert answer.code == 0, answer.err
    assert [each["verdict"] for each in answer.json["open"]] == ["continues", "continues"]
    assert {each["verdict"] for each in answer.json["ended"]} == {"same"}
    assert "The code at hand can resume all of them." in invoke("check", config=filled).out


def test_turns_that_would_not_continue_are_named_and_the_exit_code_is_one(copied: Path) -> None:
    copied.write_text(CONFIG.format(workspace="w", module="tests.cli.waiting"), encoding="utf-8")

    answer = invoke("check", config=copied)

    assert answer.code == 1
    assert "2 open turns: 2 cannot continue" in answer.out
    assert "parked" in answer.out
    assert "has no code in this process" in answer.out


def test_without_markers_no_branch_is_listed(filled: Path) -> None:
    assert invoke("versions", config=filled).out == "No open turn follows a version of changed code.\n"
    assert invoke("--json", "versions", config=filled).json == []
