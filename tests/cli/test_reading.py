"""Reading a workspace back that nobody runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import HOSTILE
from tests.cli.support import Answer, environment, ids, invoke


@pytest.fixture
def by_rationale(filled: Path) -> dict[str, dict[str, Any]]:
    return {each["rationale"]: each for each in invoke("decisions", "--json", config=filled).json}


def rationales(answer: Answer) -> set[str]:
    return {each["rationale"] for each in answer.json}


def test_decisions_are_listed_newest_first(filled: Path) -> None:
    said = invoke("decisions", config=filled)
    assert said.code == 0
    assert said.out.index("granted heavy note") < said.out.index("a first light note")
    positions = [each["position"] for each in invoke("decisions", "--json", config=filled).json]
    assert positions == sorted(positions, reverse=True)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--exception"], {"granted heavy note", "denied heavy note"}),
        (["--no-exception", "--actor", "note-agent/a"], {"a first light note", "a second light note"}),
        (["--type", "exception", "-n", "1"], {"denied heavy note"}),
        (["--text", "LIGHT note first"], {"a first light note"}),
        (["--actor", "note-agent/b"], {HOSTILE}),
        (["--actor", "other-agent"], set()),
        (["--since", "2020-01-01", "--text", "first"], {"a first light note"}),
        (["--until", "2020-01-01"], set()),
        (["--status", "failed"], set()),
    ],
)
def test_filters_apply_before_the_limit(filled: Path, options: list[str], wanted: set[str]) -> None:
    assert rationales(invoke("decisions", "--json", *options, config=filled)) == wanted


def test_decisions_are_found_by_policy_name_and_version(filled: Path) -> None:
    version = invoke("policies", "--json", config=filled).json[0]["version"]
    for shorter in (version, "v1", version.removeprefix("policy_"), version[-8:]):
        assert len(invoke("decisions", "--json", "--policy", shorter, config=filled).json) == 5
    unknown = invoke("decisions", "--policy", "v7", config=filled)
    assert unknown.code == 1
    assert "policy version [v7] is not registered" in unknown.err
    assert len(invoke("decisions", "--json", "--policy", "notes", config=filled).json) == 5


def test_a_moment_that_makes_no_sense_is_a_usage_error(filled: Path) -> None:
    said = invoke("decisions", "--since", "whenever", config=filled)
    assert said.code == 2
    assert "whenever" in said.err


def test_why_answers_in_the_order_in_which_a_person_asks(filled: Path, by_rationale: dict[str, Any]) -> None:
    decision_id = by_rationale["granted heavy note"]["decision_id"]
    said = invoke("why", decision_id[:12], config=filled, env={"COLUMNS": "80"})
    assert said.code == 0
    questions = [
        "What was decided?",
        "Why?",
        "On which facts?",
        "Under which rule?",
        "After which precedents?",
        "Who agreed?",
        "What was done?",
        "What was the result?",
    ]
    places = [said.out.index(question) for question in questions]
    assert places == sorted(places)
    assert "granted by dana" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_why_in_json_is_the_whole_trace(filled: Path, by_rationale: dict[str, Any]) -> None:
    decision_id = by_rationale["denied heavy note"]["decision_id"]
    said = invoke("why", decision_id, "--chain", "--json", config=filled).json
    assert said["decision_id"] == decision_id
    assert said["approvals"][0]["answered_by"] == "dana"
    assert said["explanation"]["sections"][0]["question"] == "What was decided?"
    assert said["chain"]["ancestors"] == []


def test_why_without_an_id_explains_the_newest_decision(filled: Path, tmp_path: Path) -> None:
    newest = invoke("decisions", "--json", config=filled).json[0]["decision_id"]
    assert invoke("why", "--json", config=filled).json["decision_id"] == newest
    (tmp_path / "loom.config.yaml").write_text("data: data\n")
    invoke("run", "--once", config=tmp_path)
    nothing = invoke("why", config=tmp_path)
    assert nothing.code == 1
    assert "there are [0] decisions" in nothing.err


def test_why_of_what_is_not_known_is_a_no(filled: Path) -> None:
    said = invoke("why", "ffffffffffffffff", config=filled)
    assert said.code == 1
    assert "not known" in said.err


def test_an_ambiguous_id_names_the_candidates(filled: Path, by_rationale: dict[str, Any]) -> None:
    known = sorted(each["decision_id"] for each in by_rationale.values())
    shared = {each[:1] for each in known if sum(other[:1] == each[:1] for other in known) > 1}
    if not shared:
        pytest.skip("no two of these decisions begin alike")
    said = invoke("why", shared.pop(), config=filled)
    assert said.code == 1
    assert "ambiguous" in said.err


def test_an_ambiguous_turn_or_approval_names_the_candidates(copied: Path) -> None:
    said = invoke("turns", "abandon", "parked", "--by", "kim", "-m", "enough", config=copied)
    assert said.code == 1
    assert "parked-1" in said.err
    assert "parked-2" in said.err


@pytest.mark.parametrize("command", [["decisions"], ["journal", "note-agent/b"], ["precedents", "--text", "bold"]])
def test_journaled_text_cannot_steer_the_terminal_and_is_no_markup(filled: Path, command: list[str]) -> None:
    said = invoke(*command, config=filled)
    assert "[bold]bold[/bold]" in said.out
    assert "\\u001b[31mred" in said.out
    assert "\x1b" not in said.out
    assert "\u202e" not in said.out


def test_hostile_text_is_whole_in_json(filled: Path) -> None:
    said = invoke("decisions", "--json", "--actor", "note-agent/b", config=filled)
    assert said.json[0]["rationale"] == HOSTILE
    assert said.out.replace("\n", "").isprintable()


def test_where_nobody_looks_a_row_is_a_line_without_frame_or_colour(filled: Path) -> None:
    lines = invoke("decisions", config=filled).out.splitlines()
    assert len(lines) == 1 + 5
    assert all(line == line.rstrip() for line in lines)
    assert not set("─│━┃╭") & set("".join(lines))


def test_journals_are_listed(filled: Path) -> None:
    listed = invoke("journal", "--json", config=filled).json
    assert ids(invoke("journal", "--json", config=filled), "journal") == [
        "loom/equivalence",
        "loom/policies",
        "note-agent/a",
        "note-agent/b",
    ]
    assert all(each["entries"] > 0 for each in listed)
    assert ids(invoke("journal", "note-agent", "--json", config=filled), "journal") == ["note-agent/a", "note-agent/b"]


def test_the_entries_of_a_journal_are_told_one_a_line(filled: Path) -> None:
    said = invoke("journal", "note-agent/a", "--until", "6", config=filled)
    assert said.code == 0
    assert "command_received" in said.out
    assert "Note text=a first light note" in said.out
    assert "light → allow" in said.out
    assert len(said.out.splitlines()) == 1 + 6


def test_the_entries_of_a_journal_in_json_are_lines_with_everything(filled: Path) -> None:
    entries = invoke("journal", "note-agent/a", "--json", "--after", "2", "--until", "4", config=filled).lines
    assert [each["sequence"] for each in entries] == [3, 4]
    assert set(entries[0]) == {
        "position",
        "journal",
        "sequence",
        "kind",
        "schema_version",
        "command_id",
        "epoch",
        "recorded_at",
        "policy",
        "entry_hash",
        "erased",
        "body",
    }


def test_raw_bodies_are_shown_as_stored(filled: Path) -> None:
    said = invoke("journal", "note-agent/a", "--raw", "--until", "1", config=filled)
    assert said.out.startswith("1 command_received {")


def test_a_journal_that_is_not_there_is_a_no(filled: Path) -> None:
    said = invoke("journal", "note-agent/none", config=filled)
    assert said.code == 1
    assert "no journal" in said.err
    assert invoke("journal", "note-agent/a", "--after", "9999", config=filled).code == 1


def test_precedents_are_grouped_found_and_followed(filled: Path, by_rationale: dict[str, Any]) -> None:
    classes = invoke("precedents", "--json", config=filled).json
    assert [each["support"] for each in classes] == [4, 1]
    of = invoke("precedents", "--of", by_rationale["denied heavy note"]["decision_id"][:12], "--json", config=filled)
    assert [each["rationale"] for each in of.json["decisions"]] == ["denied heavy note"]
    assert len(invoke("precedents", "--facet", "weight=20", "--json", config=filled).json) == 2
    assert len(invoke("precedents", "-f", "topic=plain", "--text", "light", "--json", config=filled).json) == 2
    assert invoke("precedents", "--facet", "nonsense", config=filled).code == 2
    assert invoke("precedents", config=filled).code == 0


def test_approvals_are_listed_with_how_long_they_wait(filled: Path) -> None:
    said = invoke("approvals", config=filled)
    assert said.out.count("editor") == 2
    assert "parked-1 heavy note" in said.out
    pending = invoke("approvals", "--json", config=filled).json
    assert [each["command_id"] for each in pending] == ["parked-1", "parked-2"]
    assert invoke("approvals", "--approver", "nobody", "--json", config=filled).json == []
    everything = invoke("approvals", "--all", "--json", config=filled).json
    assert [each["status"] for each in everything] == ["pending", "pending", "denied", "granted"]


def test_one_approval_is_shown_with_all_that_happened_to_it(filled: Path) -> None:
    denied = invoke("approvals", "--all", "--json", config=filled).json[2]["approval_id"]
    said = invoke("approvals", denied[:12], config=filled)
    assert "denied by dana (claimed, via python): “too long”" in said.out
    assert invoke("approvals", denied[:12], "--json", config=filled).json["approval_id"] == denied
    assert invoke("approvals", "nonesuch", config=filled).code == 1


def test_turns_without_an_end_are_listed_with_what_to_do(filled: Path) -> None:
    said = invoke("turns", config=filled)
    assert "parked-1" in said.out
    assert "waits for approval" in said.out
    assert [each["status"] for each in invoke("turns", "--json", config=filled).json] == ["parked", "parked"]


def test_all_turns_are_listed_and_filtered(filled: Path) -> None:
    turns = invoke("turns", "list", "--all", "--json", config=filled).json
    assert len(turns) == 8
    failed = invoke("turns", "--status", "failed", "--json", config=filled).json
    assert [each["summary"]["command_id"] for each in failed] == ["failing"]
    assert failed[0]["why"] == "no ink"
    assert len(invoke("turns", "--all", "--actor", "note-agent/b", "--json", config=filled).json) == 2


def test_policies_are_listed_and_shown(filled: Path) -> None:
    [version] = invoke("policies", "--json", config=filled).json
    assert version["adopted"]
    for name in ("notes", version["version"], version["hash"][:10]):
        said = invoke("policies", "show", name, config=filled)
        assert said.code == 0
        assert version["hash"] in said.out
        assert "def notes(params: NoteParams" in said.out
        assert "parameter limit" in said.out
    assert invoke("policies", "show", "policy_v9_00000000", config=filled).code == 1


def test_the_state_is_shown_after_each_entry_or_at_one(filled: Path) -> None:
    states = invoke("replay", "note-agent/a", "--json", config=filled).lines
    assert states[0]["state"] == {"count": 0}
    assert states[-1]["state"] == {"count": 4}
    assert sum(each["changed"] for each in states) == 5
    at = invoke("replay", "note-agent/a", "--at", "6", "--json", config=filled).json
    assert at["state"] == states[5]["state"]
    assert invoke("replay", "note-agent/a", config=filled).code == 0
    assert invoke("replay", "note-agent/none", config=filled).code == 2


def test_finished_turns_are_driven_again_and_compared(filled: Path) -> None:
    said = invoke("replay", "note-agent/a", "--verify", "--json", config=filled)
    assert said.code == 0
    assert {each["verdict"] for each in said.json} == {"same"}
    assert len(said.json) == 4


def test_a_replay_without_the_code_says_what_is_missing(filled: Path) -> None:
    said = invoke("replay", "note-agent/a", "-j", filled.parent / "data" / "w")
    assert said.code == 2
    assert "note-agent" in said.err


def test_reading_changes_nothing_and_takes_no_lock(filled: Path) -> None:
    directory = filled.parent / "data" / "w"

    def touched() -> dict[str, int]:
        """Return when each file was last written, but for what SQLite's readers keep among themselves."""
        return {
            path.name: path.stat().st_mtime_ns
            for path in directory.iterdir()
            if path.suffix not in (".db-shm", ".db-wal")
        }

    before = touched()
    for command in (["decisions"], ["turns"], ["verify"], ["replay", "note-agent/a"], ["export"], ["journal"]):
        assert invoke(*command, config=filled).code == 0
    assert touched() == before


def test_views_that_are_gone_are_no_reason_not_to_answer(copied: Path) -> None:
    for path in (copied.parent / "data" / "w").glob("journal.views.db*"):
        path.unlink()
    assert len(invoke("decisions", "--json", config=copied).json) == 5
    assert not list((copied.parent / "data" / "w").glob("journal.views.db"))


@pytest.mark.parametrize("columns", [80, 120])
def test_on_a_terminal_tables_fit_and_only_colours_are_sent(filled: Path, columns: int) -> None:
    for command in (["decisions"], ["journal", "note-agent/b"], ["approvals"], ["turns", "--all"], ["precedents"]):
        shown = on_a_terminal(*command, "-c", str(filled), columns=columns)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
        assert "─" in plain
        assert "\x1b" not in plain
        assert "\u202e" not in plain
        assert max(map(len, plain.splitlines())) <= columns


def on_a_terminal(*arguments: str, columns: int) -> str:
    """Return what a command shows on a terminal of a given width."""
    terminal, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "loom.cli", *arguments], env=environment(TERM="xterm"), stdout=its_end
    )
    os.close(its_end)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while part := os.read(terminal, 65_536):
            shown += part
    os.close(terminal)
    assert process.wait(timeout=30) == 0
    return shown.decode()
