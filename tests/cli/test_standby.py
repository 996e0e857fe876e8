"""`loom run --standby` and `loom serve --standby`: another process waits, and takes its place."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from loom.journal.sqlite import JournalFiles, Reader, WriterLock
from tests.cli.support import RunningLoom, configured, environment, invoke

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")


def _line(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return json.loads(line)


def test_a_standby_takes_the_place_of_one_that_was_killed_and_ends_its_turn(tmp_path: Path) -> None:
    config = configured(tmp_path, module="tests.cli.waiting")
    with RunningLoom(config) as active:
        asked = subprocess.Popen(
            [sys.executable, "-m", "loom.cli", "run", "waiting/a", "Fetch", json.dumps({"folder": str(tmp_path)})],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with asked:
            while not (tmp_path / "begun").exists():
                assert asked.poll() is None, asked.communicate()
            while "command_received" not in asyncio.run(_kinds(tmp_path, "waiting/a")):  # a look-up begins before
                time.sleep(0.02)
            with RunningLoom(config, "--standby") as standby:
                assert standby.hello["event"] == "standby"
                assert standby.hello["active"] == f"process {active.process.pid}"
                active.process.kill()
                assert _line(standby.process)["event"] == "running"
                (tmp_path / "answer").write_text("42", encoding="utf-8")
                assert asked.wait(30) != 0
                while "turn_completed" not in asyncio.run(_kinds(tmp_path, "waiting/a")):
                    assert standby.process.poll() is None
                    time.sleep(0.02)
                assert standby.end()[0] == 0
    kinds = asyncio.run(_kinds(tmp_path, "waiting/a"))
    assert kinds.count("turn_completed") == 1
    assert kinds.count("turn_resumed") == 1


async def _kinds(directory: Path, journal: str) -> list[str]:
    reader = Reader(directory / "data" / "w" / "journal.db")
    try:
        return [each.kind async for each in reader.read(journal)]
    finally:
        await reader.close()


def test_one_that_is_stopped_keeps_its_lock_and_goes_on(tmp_path: Path) -> None:
    """On one machine the kernel knows who has the file. A process that is stopped has it, and may write again."""
    config = configured(tmp_path)
    lock = WriterLock(JournalFiles(tmp_path / "data" / "w" / "journal.db").lock)
    with RunningLoom(config) as active, RunningLoom(config, "--standby") as standby:
        assert standby.hello["event"] == "standby"
        active.process.send_signal(signal.SIGSTOP)
        with pytest.raises(subprocess.TimeoutExpired):
            standby.process.wait(1.0)
        assert (lock.holder() or {})["pid"] == active.process.pid
        active.process.send_signal(signal.SIGCONT)
        assert invoke("doctor", config=config).out.count(f"process {active.process.pid} since") == 1
        assert active.end()[0] == 0
        assert _line(standby.process)["event"] == "running"
        assert (lock.holder() or {})["pid"] == standby.process.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_standby_that_is_signalled_to_end_ends_without_having_run(tmp_path: Path, number: signal.Signals) -> None:
    config = configured(tmp_path)
    with RunningLoom(config) as active, RunningLoom(config, "--standby") as standby:
        code, said = standby.end(number)
        assert (code, "without having run" in said) == (0, True)
        assert active.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_that_stands_by_is_ended_by_a_signal_in_order(tmp_path: Path, number: signal.Signals) -> None:
    pytest.importorskip("fastapi")
    config = configured(tmp_path)
    with RunningLoom(config) as active, RunningLoom(config, "--port", "0", "--standby", verb="serve") as standby:
        assert standby.hello["event"] == "standby"
        code, said = standby.end(number)
        assert (code, said.strip().endswith("ended")) == (0, True), said
        assert active.process.poll() is None


def test_serve_listens_only_once_it_has_taken_the_place(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    config = configured(tmp_path)
    with RunningLoom(config) as active, RunningLoom(config, "--port", "0", "--standby", verb="serve") as standby:
        assert standby.hello["event"] == "standby"
        active.process.kill()
        assert _line(standby.process)["event"] == "listening"
        assert standby.end()[0] == 0


@pytest.mark.parametrize("more", [["--once"], ["waiting/a", "Fetch"]])
def test_a_standby_is_for_what_runs_until_it_is_ended(tmp_path: Path, more: list[str]) -> None:
    answer = invoke("run", "--standby", *more, config=configured(tmp_path))
    assert answer.code == 2
    assert "until it is ended" in answer.err
