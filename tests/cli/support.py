"""What the shell's tests share: calling it in this process or as one of its own, and workspaces to look at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.cli.forking import run_forked
from tests.on_postgres import ON_POSTGRES

REPOSITORY = Path(__file__).parents[2]
CONFIG = "data: data\nworkspace: {workspace}\nmodules: [{module}]\n"


@dataclass(frozen=True)
class Answer:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, read as one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Standard output, read as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LOOM_BY")}
    return {**kept, "PYTHONPATH": str(REPOSITORY), **more}


def invoke(*arguments: str | Path, config: Path | None = None, env: Mapping[str, str | None] | None = None) -> Answer:
    """Run a command in this process; a test on PostgreSQL is skipped, as the shell opens the file itself."""
    if ON_POSTGRES:
        pytest.skip("on SQLite alone, as it is about the shell, which opens the file itself")
    from loom.cli.app import app

    given = [] if config is None else ["-c", str(config)]
    result = CliRunner().invoke(
        app, [*map(str, arguments), *given], env={"COLUMNS": "200", "LOOM_BY": None, **(env or {})}
    )
    return Answer(result.exit_code, result.stdout, result.stderr)


def run(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None, stdin: str | None = None) -> Answer:
    """Run a command as a process of its own, which has imported loom already."""
    given = environment(**(env or {}))
    return Answer(*run_forked([*map(str, arguments)], cwd=cwd, env=given, stdin=stdin or "", timeout_s=60))


def run_started(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> Answer:
    """Run a command in an interpreter that is started for it."""
    done = subprocess.run(
        [sys.executable, "-m", "loom.cli", *map(str, arguments)],
        cwd=cwd,
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def configured(directory: Path, *, module: str = "tests.cli.agents", workspace: str = "w") -> Path:
    """Write a config into a directory and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "loom.config.yaml"
    path.write_text(CONFIG.format(workspace=workspace, module=module), encoding="utf-8")
    return path


class RunningLoom:
    """`loom run`, or another `verb`, as a process of its own: `with RunningLoom(config) as running`."""

    def __init__(self, config: Path, *more: str, verb: str = "run") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "loom.cli", verb, "--json", "-c", str(config), *more],
            cwd=config.parent,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.hello: dict[str, Any] = {}

    def __enter__(self) -> RunningLoom:
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert first, self.process.communicate()[1]
        self.hello = json.loads(first)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and return the exit code and what was said on stderr."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said


def ids(answer: Answer, name: str) -> Sequence[str]:
    return [each[name] for each in answer.json]
