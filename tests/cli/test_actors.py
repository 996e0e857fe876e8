"""`loom actors`: beside a running loom, and where none runs."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import RunningLoom, configured, invoke

BACK_OFF = "actors: {max_failures: 1, backoff_min_s: 3600, backoff_max_s: 3600}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = configured(tmp_path / "actors")
    path.write_text(path.read_text() + BACK_OFF)
    return path


def send(config: Path, name: str, payload: dict[str, Any], *, to: str = "a") -> int:
    said = invoke("run", f"note-agent/{to}", name, json.dumps(payload), "--by", "robin", "--json", config=config)
    return said.code


def test_a_stopped_actor_is_listed_and_restarted_by_a_person(config: Path) -> None:
    with RunningLoom(config) as running:
        assert send(config, "Note", {"text": "light"}, to="b") == 0
        for text in ("one", "two"):
            assert send(config, "Fail", {"text": text}) == 1
        assert send(config, "Note", {"text": "refused"}) == 2, "it is stopped: the same may work later"
        [stopped, idle] = invoke("actors", "--json", config=config).json
        assert (stopped["journal"], stopped["state"], stopped["failures"]) == ("note-agent/a", "stopped", 2)
        assert datetime.fromisoformat(stopped["until"]) > datetime.fromisoformat(stopped["since"])
        assert (idle["journal"], idle["state"]) == ("note-agent/b", "idle")
        shown = invoke("actors", config=config)
        assert shown.code == 0
        assert "stopped" in shown.out
        assert re.search(r"in \d+ ?(min|m|h)", shown.out), shown.out
        only = invoke("actors", "--state", "idle", "--json", config=config).json
        assert [each["journal"] for each in only] == ["note-agent/b"]

        assert invoke("actors", "restart", "note-agent/a", config=config).code == 2, "somebody has to say so"
        restarted = invoke("actors", "restart", "note-agent/a", "--by", "mira", config=config)
        assert (restarted.code, restarted.out) == (0, "note-agent/a takes commands again\n")
        assert send(config, "Note", {"text": "fine"}) == 0
        again = invoke("actors", "restart", "note-agent/a", "--by", "mira", config=config)
        assert again.code == 1
        assert "is not stopped" in again.err
        code, said = running.end()
        assert code == 0, said
        assert "actor_restarted" in said
        assert "mira" in said


def test_where_no_loom_runs_unfinished_turns_are_listed_and_nothing_is_stopped(config: Path) -> None:
    assert send(config, "Note", {"text": "heavy", "weight": 50}) == 0
    shown = invoke("actors", config=config)
    assert shown.code == 0
    assert "no loom runs here" in shown.err
    [asleep] = invoke("actors", "--json", config=config).json
    assert (asleep["journal"], asleep["state"], asleep["turns"]) == ("note-agent/a", "asleep", 1)
    refused = invoke("actors", "restart", "note-agent/a", "--by", "mira", config=config)
    assert refused.code == 1
    assert "no loom runs on workspace [w]" in refused.err
