"""Killed at each commit in turn: what was accepted is executed once, neither lost nor doubled, and counted once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from loom.decisions import ApprovalRequestedEntry
from loom.gate.entries import ExecutedEntry
from loom.journal.entry import Entry
from loom.monitors import ObservedEntry
from tests.cli.support import environment
from tests.gate.kill_worker import FLOWS
from tests.gate.support import AGENT, gated


def by_day(commits: range) -> list[object]:
    """Return commits, of which every second one is tried at night alone (`make slow`)."""
    night = pytest.mark.reliability
    return [pytest.param(each, marks=night) if number % 2 else each for number, each in enumerate(commits)]


def worker(path: Path, dies_after: int, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.gate.kill_worker", str(path), str(dies_after), *more],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("first", by_day(range(1, 41, 3)))
def test_a_kill_at_any_commit_neither_loses_nor_doubles_an_execution(tmp_path: Path, first: int) -> None:
    deaths = 0
    for dies_after in (first, first + 1, first + 2):
        deaths += worker(tmp_path, dies_after).returncode == -signal.SIGKILL
    ended = worker(tmp_path, 0)
    assert ended.returncode == 0, ended.stderr
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["VALIDATION_PASSED"] * FLOWS

    async def read() -> tuple[list[ExecutedEntry], list[ObservedEntry]]:
        async with gated(tmp_path) as loom:
            entries = [each.entry async for each in loom.store.read_all()]
        return (
            [each for each in entries if isinstance(each, ExecutedEntry)],
            [each for each in entries if isinstance(each, ObservedEntry)],
        )

    executed, observed = asyncio.run(read())
    assert sorted(int(str(each.params["discount_offered"])) for each in executed) == [5, 6, 7, 8, 9]
    assert len({each.idempotency_key for each in executed}) == FLOWS
    assert sorted(each.value for each in observed) == [5, 6, 7, 8, 9]
    # The world may be told again after a kill, under the same key: whoever listens can tell a repeat.
    told = Counter((tmp_path / "world.txt").read_text().split())
    assert set(told) == {each.idempotency_key for each in executed}
    assert sum(told.values()) <= FLOWS + deaths
    assert AGENT == "retention-agent"


@pytest.mark.parametrize("first", by_day(range(1, 60, 6)))
def test_a_kill_at_any_commit_asks_for_each_consent_once_and_executes_what_was_granted_once(
    tmp_path: Path, first: int
) -> None:
    for dies_after in (first, first + 2, first + 4):
        worker(tmp_path, dies_after, "consent")
    ended = worker(tmp_path, 0, "consent")
    assert ended.returncode == 0, ended.stderr
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["VALIDATION_PASSED"] * FLOWS

    async def read() -> list[Entry]:
        async with gated(tmp_path) as loom:
            return [each.entry async for each in loom.store.read_all()]

    entries = asyncio.run(read())
    executed = [each.idempotency_key for each in entries if isinstance(each, ExecutedEntry)]
    asked = [each.step.key for each in entries if isinstance(each, ApprovalRequestedEntry) and each.step is not None]
    assert sorted(asked) == sorted(executed)
    assert len(set(executed)) == len(executed) == FLOWS
    told = Counter((tmp_path / "world.txt").read_text().split())
    assert set(told) == set(executed)
