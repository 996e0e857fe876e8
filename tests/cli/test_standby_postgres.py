"""`loom run --standby` over PostgreSQL: another node takes the place of one that is killed, stopped or cut off."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.support import RunningLoom, environment, invoke
from tests.postgres_server import Server
from tests.relay import Relay

pytestmark = pytest.mark.slow


@pytest.fixture
def nodes(postgres: Server, tmp_path: Path) -> list[Path]:
    """Three nodes of one workspace: each has a directory of its own."""
    url = postgres.url(workspace="w", schema=f"t_{uuid4().hex[:16]}")
    configs = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        configs.append(path := tmp_path / name / "loom.config.yaml")
        path.write_text(f"data: data\nworkspace: w\nmodules: [tests.cli.waiting]\njournal: {{url: '{url}'}}\n")
    return configs


def _begun(config: Path, folder: Path) -> subprocess.Popen[str]:
    """Send a command to the node that runs, and return once its turn is under way, and its command durable."""
    folder.mkdir()
    asked = subprocess.Popen(
        [sys.executable, "-m", "loom.cli", "run", "waiting/a", "Fetch", json.dumps({"folder": str(folder)})],
        cwd=config.parent,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (folder / "begun").exists():
        assert asked.poll() is None, asked.communicate()
    while "command_received" not in _kinds(config):  # a look-up begins before
        pass
    return asked


def test_a_node_that_is_cut_off_the_server_is_replaced_and_what_it_sent_meanwhile_changes_nothing(
    nodes: list[Path], tmp_path: Path, postgres: Server
) -> None:
    here, there, _ = nodes
    with Relay(postgres.port) as network:
        here.write_text(here.read_text().replace(f":{postgres.port}/", f":{network.port}/"))
        with RunningLoom(here) as active, RunningLoom(there, "--standby") as standby:
            assert standby.hello["event"] == "standby"
            with _begun(here, tmp_path / "f") as asked:
                network.cut()
                (tmp_path / "f" / "answer").write_text("42", encoding="utf-8")  # both find it, and one may write it
                assert standby.process.stdout is not None
                assert json.loads(standby.process.stdout.readline())["event"] == "running"
                while "turn_completed" not in _kinds(there):
                    assert standby.process.poll() is None
                assert (written := len(_all(there))) > 3
                network.heal()
                assert active.process.wait(60) == 2
                assert "was fenced" in active.process.communicate()[1]
                asked.wait(60)
            assert _all(there)[:written] == _all(there), "nothing of the one that was cut off came after that"
            assert standby.end()[0] == 0
    assert _kinds(there).count("turn_completed") == _kinds(there).count("context_gathered") == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_node_takes_the_place_of_one_that_is_silent_and_each_turn_ends_once(
    nodes: list[Path], tmp_path: Path, number: signal.Signals
) -> None:
    here, there, third = nodes
    with RunningLoom(here) as active, RunningLoom(there, "--standby") as standby:
        assert standby.hello["event"] == "standby"
        assert f"active: {standby.hello['active']}" in invoke("doctor", config=third).out
        assert str(active.process.pid) in standby.hello["active"]
        refused = invoke("run", config=third)
        assert refused.code == 2
        assert "is run by process" in refused.err
        with _begun(here, tmp_path / "f") as asked:
            active.process.send_signal(number)
            assert standby.process.stdout is not None
            running = json.loads(standby.process.stdout.readline())
            assert running["event"] == "running"
            (tmp_path / "f" / "answer").write_text("42", encoding="utf-8")
            if number == signal.SIGSTOP:  # it finds the answer, too, and may write nothing
                active.process.send_signal(signal.SIGCONT)
                assert active.process.wait(60) == 2
                assert "was fenced" in active.process.communicate()[1]
            asked.wait(60)
        while "turn_completed" not in (kinds := _kinds(there)):
            assert standby.process.poll() is None
        assert standby.end()[0] == 0
    assert kinds.count("turn_completed") == kinds.count("context_gathered") == 1
    with RunningLoom(third) as next_one:  # one that ended in order is not waited for
        assert next_one.hello["event"] == "running"
        assert next_one.end()[0] == 0
    roles = _kinds(third, "loom/elections")
    assert roles == ["leader_elected", "leader_elected", "leader_resigned", "leader_elected", "leader_resigned"]


def _all(config: Path) -> list[str]:
    """Every entry of the turn's journal and of those of control, but for elections, which go on."""
    return [each for each in invoke("export", config=config).out.splitlines() if "loom/elections" not in each]


def _kinds(config: Path, journal: str = "waiting/a") -> list[str]:
    return [each["kind"] for each in invoke("journal", journal, "--json", config=config).lines]
