"""The how-to "Run two machines", as it is: two nodes with a directory each, one PostgreSQL, a crash, and an upgrade."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import environment
from tests.postgres_server import Server
from tests.production.proxies import replaced
from tests.test_docs import DOCS
from tests.test_readme import ROOT

# By night: a score of processes, one after the other.
pytestmark = [pytest.mark.reliability, pytest.mark.timeout(900)]
PAGE = (DOCS / "how-to.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Run two machines\n")[1].split("\n## ")[0]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
DESK = ROOT / "tests" / "desk.py"


def lines(block: int) -> list[str]:
    """Return the commands of a block of the section, without their comments."""
    shells = [text for language, text in BLOCKS if language == "sh"]
    return [each.partition("  #")[0].strip() for each in shells[block].splitlines()]


class Machine:
    """A directory with the code and the config of the page; `call` runs a command there."""

    def __init__(self, at: Path, server: Server) -> None:
        self.at = at
        at.mkdir()
        (config,) = [text for language, text in BLOCKS if language == "yaml"]
        (at / "loom.config.yaml").write_text(replaced(config, {"/var/lib/loom": str(at / "data")}), encoding="utf-8")
        shutil.copy(DESK, at)
        self._environment = environment(LOOM_JOURNAL_URL=server.url(), COLUMNS="200")

    def call(self, line: str, *more: str) -> subprocess.CompletedProcess[str]:
        words = [*shlex.split(line), *more]
        assert words[0] == "loom"
        given = [sys.executable, "-m", "loom.cli", *words[1:]]
        return subprocess.run(
            given, cwd=self.at, env=self._environment, capture_output=True, text=True, check=False, timeout=120
        )

    def noted(self, text: str) -> int:
        return self.call("loom run diary/me Note", json.dumps({"text": text}), "--by", "ada").returncode

    @contextmanager
    def running(self, line: str) -> Iterator[Node]:
        given = [sys.executable, "-m", "loom.cli", *shlex.split(line)[1:], "--port", "0", "--json"]
        with (self.at / "log").open("a") as log:
            process = subprocess.Popen(
                given, cwd=self.at, env=self._environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        try:
            yield Node(process, self.at / "log")
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


class Node:
    """A process that runs the workspace, or waits."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process, self._log = process, log

    def says(self) -> dict[str, Any]:
        """Return the next line of its output."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self._log.read_text()
        said: dict[str, Any] = json.loads(line)
        return said

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def test_the_section_is_done_as_it_is_written(postgres: Server, tmp_path: Path) -> None:
    doctor, serve = lines(0)
    (upgrade,) = lines(2)
    one, two = (Machine(tmp_path / name, postgres) for name in ("one", "two"))
    assert "a loom of this config opens" in one.call(doctor).stdout
    with ExitStack() as nodes:
        first = nodes.enter_context(one.running(serve))
        assert first.says()["event"] == "listening"
        second = nodes.enter_context(two.running(serve))
        assert second.says()["event"] == "standby"
        assert one.noted("by the first") == 0
        assert two.noted("where it waits") == 2, "what acts goes to the node that is active"
        processes, elections, decisions = (two.call(line) for line in lines(1))
        assert processes.stdout.count("writes") == 2
        assert "leader_elected" in elections.stdout
        assert "by the first" in decisions.stdout

        first.process.kill()  # a crash: the other takes its place
        assert second.says()["event"] == "listening"
        assert two.noted("by the second") == 0

        # The machine that crashed comes back with the new version, and the other one is replaced after it.
        third = nodes.enter_context(one.running(serve))
        assert third.says()["event"] == "standby"
        assert str(second.process.pid) in re.findall(r"active: process (.*?),", one.call(doctor).stdout)[0]
        assert second.end() == 0
        assert third.says()["event"] == "listening"
        fourth = nodes.enter_context(two.running(serve))
        assert fourth.says()["event"] == "standby"
        raised = two.call(upgrade)
        assert (raised.returncode, "there is nothing to do" in raised.stdout) == (0, True), raised.stderr
        assert one.noted("by the third") == 0
        decided = json.loads(two.call("loom decisions --json").stdout)
        assert sorted(each["rationale"] for each in decided) == ["by the first", "by the second", "by the third"]
        assert fourth.end() == 0, "one that waits ends in order, too"
        assert third.end() == 0
    assert two.call("loom verify").returncode == 0
    roles = re.findall(r"leader_\w+", two.call("loom journal loom/elections").stdout)
    assert roles.count("leader_elected") >= 3
    assert roles[-1] == "leader_resigned"
