"""Of several processes one asks the critic: no decision is paid for twice, unless the process dies meanwhile."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from loom.decisions.enrichments import EnrichmentEntry
from loom.journal.postgres.url import PostgresUrl
from tests.journal.support import environment
from tests.postgres_server import Server

pytestmark = pytest.mark.slow


class Node:
    """A process that decides; each command is answered with itself."""

    def __init__(self, url: str, directory: Path, name: str) -> None:
        self.name = name
        (directory / name).mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.enrichment.elected_worker", url, str(directory / name), name],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answer()

    def ask(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def answer(self) -> object:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{self.name} has ended"
        return json.loads(line)

    def do(self, command: str) -> None:
        self.ask(command)
        self.answer()


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.url(workspace="w", schema=f"t_{uuid4().hex[:16]}")


@pytest.fixture
def nodes(url: str, tmp_path: Path) -> Iterator[list[Node]]:
    started = [Node(url, tmp_path, name) for name in ("a", "b")]
    yield started
    for each in started:
        each.process.kill()
        each.process.communicate()


async def test_two_processes_pay_once_and_the_second_goes_on_when_the_first_is_killed(
    nodes: list[Node], url: str, tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    for each in nodes:
        each.ask("decide 6")
    for each in nodes:
        each.answer()
    for each in nodes:
        each.do("idle")
    calls = _calls(tmp_path)
    assert len(calls) == len({decision for _, decision in calls}) == 12
    (leader,) = {name for name, _ in calls}

    (tmp_path / "go").unlink()
    victim = next(each for each in nodes if each.name == leader)
    heir = next(each for each in nodes if each.name != leader)
    heir.do("decide 4")
    while len(_calls(tmp_path)) < 14:  # two calls are under way, as many as run at once
        await asyncio.sleep(0.02)
    victim.process.kill()
    (tmp_path / "go").touch()
    heir.do("idle")
    counted = Counter(decision for _, decision in _calls(tmp_path))
    assert len(counted) == 16
    in_flight = {decision for name, decision in _calls(tmp_path)[12:] if name == leader}
    assert {decision for decision, times in counted.items() if times > 1} == in_flight
    assert await _enriched(url) == dict.fromkeys(counted, 1)


def _calls(directory: Path) -> list[tuple[str, str]]:
    lines = (directory / "calls").read_text().splitlines() if (directory / "calls").exists() else []
    return [(name, decision) for name, decision in (line.split() for line in lines)]


async def _enriched(url: str) -> Counter[str]:
    from loom.journal.postgres.reader import PostgresReader

    reader = PostgresReader(PostgresUrl.parse(url))
    try:
        entries = [each.entry async for each in reader.read("loom/enrichment")]
    finally:
        await reader.close()
    return Counter(each.decision_id for each in entries if isinstance(each, EnrichmentEntry))
