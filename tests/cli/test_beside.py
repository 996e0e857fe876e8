"""The shell beside a running loom: real processes, a control socket, signals and kills."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import RunningLoom, configured, invoke, run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return configured(tmp_path / "beside")


def send(config: Path, text: str, *, weight: int, command_id: str) -> dict[str, Any]:
    payload = json.dumps({"text": text, "weight": weight})
    said = invoke("run", "note-agent/a", "Note", payload, "--by", "robin", "--id", command_id, "--json", config=config)
    assert said.code == 0, said.err
    answer: dict[str, Any] = said.json
    return answer


def test_everything_works_beside_a_running_loom(config: Path) -> None:
    with RunningLoom(config) as running:
        assert running.hello["workspace"] == "w"
        assert send(config, "light", weight=1, command_id="light")["status"] == "completed"
        assert send(config, "heavy", weight=50, command_id="heavy")["status"] == "parked"
        [turn] = invoke("turns", "--json", config=config).json
        assert turn["status"] == "parked"
        [pending] = invoke("approvals", "--json", config=config).json

        refused = invoke("approve", pending["approval_id"], "--by", "robin", config=config)
        assert refused.code == 1
        assert "robin" in refused.err
        granted = invoke("approve", pending["approval_id"][:12], "--by", "dana", config=config)
        assert granted.code == 0
        assert "loom run" not in granted.err
        assert send(config, "heavy", weight=50, command_id="heavy")["status"] == "completed"

        decisions = invoke("decisions", "--json", config=config).json
        assert {each["rationale"] for each in decisions} == {"light", "heavy"}
        assert invoke("why", decisions[0]["decision_id"][:8], config=config).code == 0
        assert invoke("replay", "note-agent/a", "--verify", config=config).code == 0
        assert invoke("verify", config=config).code == 0
        assert len(invoke("export", config=config).lines) == invoke("verify", "--json", config=config).json["size"]
        version = invoke("policies", "--json", config=config).json[0]["version"]
        assert invoke("policies", "adopt", version, "--by", "dana", config=config).code == 0
        examined = invoke("doctor", config=config)
        assert examined.code == 0, examined.out
        assert f"process {running.process.pid}" in examined.out

        code, said = running.end()
        assert code == 0, said
    assert invoke("turns", "--json", config=config).json == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_well_and_parked_turns_stay(config: Path, number: signal.Signals) -> None:
    with RunningLoom(config) as running:
        send(config, "heavy", weight=50, command_id="heavy")
        code, said = running.end(number)
    assert code == 0, said
    assert "Traceback" not in said
    verdict = invoke("verify", "--json", config=config).json
    assert verdict["ok"]
    assert verdict["unanchored"] == 0
    assert [each["status"] for each in invoke("turns", "--json", config=config).json] == ["parked"]


def test_after_a_kill_answers_are_journaled_and_the_turn_goes_on(config: Path) -> None:
    with RunningLoom(config) as running:
        approval_id = send(config, "heavy", weight=50, command_id="heavy")["approvals"][0]["approval_id"]
        running.end(signal.SIGKILL)
    granted = invoke("approve", approval_id, "--by", "dana", config=config)
    assert granted.code == 0, granted.err
    with RunningLoom(config) as running:
        assert running.hello["unfinished"] == 1
        assert send(config, "heavy", weight=50, command_id="heavy")["status"] == "completed"
        running.end()
    lookups = [
        each
        for each in invoke("journal", "note-agent/a", "--json", config=config).lines
        if each["kind"] == "context_gathered"
    ]
    assert len(lookups) == 1


def test_a_second_loom_is_refused_and_says_who_holds_the_journal(config: Path) -> None:
    with RunningLoom(config) as running:
        second = run("run", "-c", config, cwd=config.parent)
        assert second.code == 2
        assert str(running.process.pid) in second.err
        assert "Traceback" not in second.err
        running.end()
