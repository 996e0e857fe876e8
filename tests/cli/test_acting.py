"""Answering where no loom runs: the workspace is opened for a moment, without any code and without resuming."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import invoke, run


@pytest.fixture
def pending(copied: Path) -> list[str]:
    return [each["approval_id"] for each in invoke("approvals", "--json", config=copied).json]


def without_code(config: Path) -> Path:
    """Let the config name a module that cannot be imported."""
    config.write_text(config.read_text().replace("tests.cli.agents", "no_such_module"), encoding="utf-8")
    return config


def test_a_request_is_granted_by_a_short_id_in_a_persons_name(copied: Path, pending: list[str]) -> None:
    said = invoke("approve", pending[0][:12], "--by", "dana", "-m", "go on", config=copied)
    assert said.code == 0
    assert "granted" in said.out
    assert "loom run" in said.err
    [answered] = [
        each for each in invoke("approvals", "--all", "--json", config=copied).json if each["approval_id"] == pending[0]
    ]
    assert (answered["status"], answered["answered_by"], answered["comment"]) == ("granted", "dana", "go on")
    assert len(invoke("turns", "--json", config=copied).json) == 2  # nothing was resumed


def test_answers_need_no_code_of_the_actor(copied: Path, pending: list[str]) -> None:
    without_code(copied)
    assert invoke("approve", pending[0], "--by", "dana", config=copied).code == 0
    assert invoke("deny", pending[1], "--by", "dana", "-m", "no", config=copied).code == 0
    assert invoke("turns", "abandon", "parked-2", "--by", "dana", "-m", "no use", config=copied).code == 0
    assert invoke("run", config=copied).code == 2


def test_who_answers_may_stand_in_the_environment(copied: Path, pending: list[str]) -> None:
    said = invoke("deny", pending[0], "-m", "no", "--json", config=copied, env={"LOOM_BY": "dana"})
    assert said.code == 0
    assert said.json["answered_by"] == "dana"


@pytest.mark.parametrize(
    "arguments",
    [["approve"], ["deny", "-m", "no"], ["deny", "--by", "dana"]],
    ids=["nobody", "nobody denies", "no why"],
)
def test_nobody_answers_and_no_denial_goes_without_a_reason(
    copied: Path, pending: list[str], arguments: list[str]
) -> None:
    assert invoke(arguments[0], pending[0], *arguments[1:], config=copied).code == 2
    assert len(invoke("approvals", "--json", config=copied).json) == 2


def test_a_blank_name_is_refused(copied: Path, pending: list[str]) -> None:
    said = invoke("approve", pending[0], "--by", " ", config=copied)
    assert said.code == 2
    assert "expected a person's name" in said.err


def test_who_asked_may_not_agree(copied: Path, pending: list[str]) -> None:
    said = invoke("approve", pending[0], "--by", "robin", config=copied)
    assert said.code == 1
    assert "robin" in said.err
    assert "Traceback" not in said.err


def test_the_first_answer_counts(copied: Path, pending: list[str]) -> None:
    assert invoke("approve", pending[0], "--by", "dana", config=copied).code == 0
    late = invoke("deny", pending[0], "--by", "kim", "-m", "no", config=copied)
    assert late.code == 1
    assert "[granted] by [dana (claimed, via shell)]" in late.err


def test_what_is_not_known_is_a_no(copied: Path) -> None:
    assert invoke("approve", "nonesuch", "--by", "dana", config=copied).code == 1
    assert invoke("turns", "retry", "nonesuch", "--by", "dana", config=copied).code == 1
    assert invoke("policies", "adopt", "v7_12345678", "--by", "dana", config=copied).code == 1


def test_a_turn_is_given_up_and_stays_so(copied: Path) -> None:
    said = invoke("turns", "abandon", "parked-1", "--by", "dana", "-m", "no use", "--json", config=copied)
    assert said.code == 0
    assert said.json["status"] == "abandoned"
    assert invoke("turns", "abandon", "parked-1", "--by", "dana", "-m", "again", config=copied).code == 1
    assert [each["status"] for each in invoke("approvals", "--all", "--json", config=copied).json][:2] == [
        "pending",
        "moot",
    ]


def test_a_policy_version_is_adopted_in_a_persons_name(copied: Path) -> None:
    version = invoke("policies", "--json", config=copied).json[0]["version"]
    said = invoke("policies", "adopt", version, "--by", "dana", "--reason", "again", config=copied)
    assert said.code == 0
    assert version in said.out


def test_turns_go_on_with_the_next_run(copied: Path, pending: list[str]) -> None:
    invoke("approve", pending[0], "--by", "dana", config=copied)
    invoke("deny", pending[1], "--by", "dana", "-m", "no", config=copied)
    settled = run("run", "--once", "--json", "-c", copied, cwd=copied.parent)
    assert settled.code == 0, settled.err
    assert settled.json == {"before": 2, "left": []}
    newest = invoke("decisions", "--json", "-n", "2", config=copied).json
    assert {each["rationale"] for each in newest} == {"parked-1 heavy note", "parked-2 heavy note"}


def test_a_run_once_leaves_what_waits_for_people_and_for_code(copied: Path) -> None:
    left = run("run", "--once", "-c", copied, cwd=copied.parent)
    assert (left.code, left.out.strip()) == (0, "2 unfinished turns, 0 ended; left: 2 parked")
    copied.write_text(copied.read_text().replace("[tests.cli.agents]", "[]"), encoding="utf-8")
    left = run("run", "--once", "-c", copied, cwd=copied.parent)
    assert (left.code, left.out.strip()) == (0, "2 unfinished turns, 0 ended; left: 2 waiting for code")


def test_a_command_is_sent_and_its_reply_printed(copied: Path) -> None:
    arguments = ("note-agent/c", "Note", json.dumps({"text": "by hand"}), "--by", "robin", "--id", "by-hand")
    said = run("run", *arguments, "-c", copied, cwd=copied.parent)
    assert said.code == 0, said.err
    reply = json.loads(said.out)
    assert reply["granted"]
    again = run("run", *arguments, "-c", copied, cwd=copied.parent)
    assert json.loads(again.out) == reply
    other = run("run", "note-agent/c", "Note", '{"text": "other"}', "--id", "by-hand", "-c", copied, cwd=copied.parent)
    assert other.code == 1
    assert "other contents" in other.err


def test_a_command_that_waits_says_for_whom_and_gives_its_reply_later(copied: Path) -> None:
    payload = json.dumps({"text": "heavy by hand", "weight": 40})
    arguments = ("run", "note-agent/c", "Note", "-", "--by", "robin", "--id", "waits", "--json", "-c", copied)
    said = run(*arguments, cwd=copied.parent, stdin=payload)
    assert said.code == 0, said.err
    assert said.json["status"] == "parked"
    [asked] = said.json["approvals"]
    assert run("approve", asked["approval_id"], "--by", "dana", "-c", copied, cwd=copied.parent).code == 0
    later = run(*arguments, cwd=copied.parent, stdin=payload)
    assert later.code == 0, later.err
    assert later.json["status"] == "completed"
    assert later.json["reply"]["granted"]


def test_a_command_that_fails_is_a_no(copied: Path) -> None:
    said = run("run", "note-agent/c", "Fail", '{"text": "no paper"}', "-c", copied, cwd=copied.parent)
    assert said.code == 1
    assert "no paper" in said.out
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("note-agent/c",), "no command"),
        (("note-agent/c", "Note", "{"), "JSON"),
        (("note-agent/c", "Note", "[]"), "no object"),
        (("note-agent/c", "Note", "{}"), "text: Field required"),
        (("note-agent/c", "Shout", "{}"), "takes no command [Shout]"),
        (("other-agent/c", "Note", "{}"), "other-agent"),
        (("nonsense", "Note", "{}"), "nonsense"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_and_journals_nothing(
    copied: Path, arguments: tuple[str, ...], said: str
) -> None:
    refused = invoke("run", *arguments, config=copied)
    assert refused.code == 2
    assert said in " ".join(refused.err.replace("│", " ").split())
    journals: list[dict[str, Any]] = invoke("journal", "--json", config=copied).json
    assert [each["journal"] for each in journals if not each["journal"].startswith("loom/")] == [
        "note-agent/a",
        "note-agent/b",
    ]


def test_a_stuck_turn_is_listed_and_may_try_again(copied: Path) -> None:
    died = run("run", "note-agent/c", "Once", '{"marker": "m"}', "--id", "once", "-c", copied, cwd=copied.parent)
    assert died.code == 9
    run("run", "--once", "-c", copied, cwd=copied.parent)
    [stuck] = [each for each in invoke("turns", "--json", config=copied).json if each["status"] == "stuck"]
    assert stuck["summary"]["command_id"] == "once"
    said = invoke("turns", "retry", "once", "--by", "dana", "-m", "looked at the stamp", config=copied)
    assert said.code == 0
    assert "may try again" in said.out
    assert not [each for each in invoke("turns", "--json", config=copied).json if each["status"] == "stuck"]


def test_a_request_is_sent_back_and_informed_and_then_granted(copied: Path, pending: list[str]) -> None:
    back = invoke("approvals", "send-back", pending[0][:12], "--by", "dana", "-m", "did it arrive?", config=copied)
    assert (back.code, "sent back by dana" in back.out, "waits for information" in back.out) == (0, True, True)
    assert "did it arrive?" in invoke("approvals", pending[0], config=copied).out
    assert invoke("approvals", "inform", pending[1], "--by", "eve", "-m", "yes", config=copied).code == 1
    informed = invoke("approvals", "inform", pending[0], "--by", "eve", "-m", "on Monday", config=copied)
    assert (informed.code, "informed by eve" in informed.out) == (0, True)
    assert "on Monday" in invoke("approvals", "list", pending[0], config=copied).out
    refused = invoke("approve", pending[0], "--by", "dana", "--set", "amount=5", config=copied)
    assert (refused.code, "expected changes of [nothing]" in refused.err) == (2, True)
    granted = invoke("approve", pending[0], "--by", "dana", "--json", config=copied)
    assert [each["event"] for each in granted.json["events"]] == ["requested", "sent_back", "informed", "granted"]
