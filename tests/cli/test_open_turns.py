"""`loom check` and `loom versions`: which open turns the code at hand could not resume."""

from __future__ import annotations

from pathlib import Path

from tests.cli.support import CONFIG, invoke


def test_the_code_that_recorded_open_turns_can_resume_them(filled: Path) -> None:
    answer = invoke("--json", "check", "--sample", "20", config=filled)

    assert answer.code == 0, answer.err
    assert [each["verdict"] for each in answer.json["open"]] == ["continues", "continues"]
    assert {each["verdict"] for each in answer.json["ended"]} == {"same"}
    said = invoke("check", config=filled).out
    assert "2 open turns: 2 continue\n" in said
    assert "The code at hand can resume all of them." in said


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


def test_a_failed_turn_is_taken_up_and_goes_on_with_the_next_run(copied: Path) -> None:
    answer = invoke("--json", "turns", "retry", "failing", "--by", "dana", "-m", "there is ink", config=copied)

    assert answer.code == 0, answer.err
    assert answer.json["status"] in ("interrupted", "stuck", "received")
    assert answer.json["summary"]["command_type"] == "Fail"
    assert "retry of failing by dana" in invoke("journal", "note-agent/b", config=copied).out
    again = invoke("turns", "retry", "failing", "--by", "robin", config=copied)
    assert again.code != 0
    assert "is being tried again as" in again.err


def test_a_fork_names_its_step_and_what_is_changed(copied: Path) -> None:
    wrong = invoke("turns", "fork", "light-1", "--at", "nothing", "--by", "dana", config=copied)
    assert wrong.code != 0
    assert "evaluate" in wrong.err

    made = invoke(
        "--json",
        "turns",
        "fork",
        "light-1",
        "--at",
        "evaluate",
        "--with",
        '{"text": "changed"}',
        "--by",
        "dana",
        config=copied,
    )
    assert made.code == 0, made.err
    assert made.json["summary"]["command_id"] != "light-1"
