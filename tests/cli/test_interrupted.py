"""Ctrl-C while a command is sent: what is said of its turn, and what is so."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.actors.support import until
from tests.cli.support import RunningLoom, configured, environment, run

pytestmark = pytest.mark.timeout(400)  # processes are started one after the other, on a machine that may be busy


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return configured(tmp_path, module="tests.cli.waiting")


@contextmanager
def sending(config: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Send a command in a process of its own, which does not outlive the test."""
    sender = subprocess.Popen(
        [sys.executable, "-m", "loom.cli", "run", "waiting/a", "Fetch", *arguments, "-c", str(config)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts,
    )
    try:
        yield sender
    finally:
        if sender.poll() is None:
            sender.kill()
        sender.communicate()


def _heed_interrupts() -> None:
    """Heed SIGINT, which a suite that was started in the background has been told to ignore, and would hand down."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def fields(config: Path) -> str:
    return json.dumps({"folder": str(config.parent)})


def interrupted(sender: subprocess.Popen[str]) -> str:
    """Interrupt a process and return what it says; the exit code is that of an interrupted one."""
    sender.send_signal(signal.SIGINT)
    _, said = sender.communicate(timeout=200)
    assert sender.returncode == 130, said
    assert "Traceback" not in said
    return " ".join(said.split())


def test_while_a_pipe_is_read_nothing_was_sent(config: Path) -> None:
    payload = config.parent / "payload"
    os.mkfifo(payload)

    with sending(config, f"@{payload}") as sender, payload.open("w"):  # opens when the command has come to read it
        said = interrupted(sender)

    assert said == ""
    assert not (config.parent / "data").exists()


@pytest.mark.parametrize("again", range(6))
def test_a_signal_in_the_middle_of_a_read_is_never_swallowed(config: Path, again: int) -> None:
    payload = config.parent / "payload"
    os.mkfifo(payload)

    with sending(config, f"@{payload}") as sender, payload.open("w") as writer:
        writer.write(" " * again)
        writer.flush()
        interrupted(sender)


def test_while_the_turn_runs_in_this_process_it_was_cut_short_and_goes_on_later(config: Path) -> None:
    with sending(config, fields(config)) as sender:
        asyncio.run(until((config.parent / "begun").exists, timeout_s=200))
        said = interrupted(sender)

    [command_id] = re.findall(r"turn (\S+) of waiting/a was cut short and goes on with the next `loom run`", said)
    assert said.endswith(f"the same command with --id {command_id} gives its reply")
    (config.parent / "answer").write_text("yes", encoding="utf-8")
    assert run("run", "--once", "-c", config, cwd=config.parent).code == 0
    again = run("run", "waiting/a", "Fetch", fields(config), "--id", command_id, "-c", config, cwd=config.parent)
    assert (again.code, again.out.strip()) == (0, '"yes"')


def test_while_the_turn_runs_in_another_process_it_goes_on_there(config: Path) -> None:
    with RunningLoom(config) as running:
        with sending(config, fields(config)) as sender:
            asyncio.run(until((config.parent / "begun").exists, timeout_s=200))
            said = interrupted(sender)
        [command_id] = re.findall(r"turn (\S+) of waiting/a goes on in the loom that runs", said)

        (config.parent / "answer").write_text("yes", encoding="utf-8")
        again = run("run", "waiting/a", "Fetch", fields(config), "--id", command_id, "-c", config, cwd=config.parent)

        assert (again.code, again.out.strip()) == (0, '"yes"')
        running.end()
