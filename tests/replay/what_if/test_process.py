"""The process that judges: over a journal that is written meanwhile, newest question first, replaced if it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from loom import Actor, Command, Loom
from loom.errors import AdmissionError, WhatIfUnavailableError
from loom.policies import Table
from loom.replay.what_if import WhatIfProcess
from tests.replay.what_if.test_trial import WRITTEN

BASE = Table.of({**WRITTEN, "name": "discount"})
WIDER = BASE.with_params(limit=12)


class Ask(Command[None]):
    percent: int
    industry: Any = "retail"


class Seller(Actor[None]):
    actor_type = "seller"
    policy = BASE

    async def execute(self, command: Ask) -> None:
        evaluation = self.evaluate({"percent": command.percent, "industry": command.industry})
        await self.record_decision(rationale=evaluation.why, outcome={"granted": evaluation.allowed})


def opened(path: Path) -> Loom:
    return Loom.open(f"sqlite:///{path}/journal.db", actors=[Seller], by="robin")


async def decide(loom: Loom, *percents: int) -> None:
    for percent in percents:
        await loom.actor(Seller, "one").ask(Ask(percent=percent))
    await loom.reached()


async def gone(pid: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                stat = Path(f"/proc/{pid}/stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                return
            if stat.rpartition(")")[2].split()[0] == "Z":
                return
            await asyncio.sleep(0.01)


async def test_what_was_decided_meanwhile_is_judged_with_the_next_question(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom, WhatIfProcess.open(loom.files.journal) as process:
        await decide(loom, 5, 11)
        assert process.pid is None, "it starts with the first question"
        first = await process.judge("a", BASE, WIDER)
        await decide(loom, 12, 30)
        second = await process.judge("a", BASE, WIDER)
        swept = await process.sweep("a", BASE, BASE, "limit")
        assert first is not None
        assert second is not None
        again = await loom.replay.judge(_all(), under=(await loom.policies.register(WIDER, by="robin")).version)

    assert (first.cases, first.flipped, first.edits) == (2, 1, ("limit: 10 → 12",))
    assert (second.cases, second.flipped) == (4, 2)
    assert (again.cases, again.flipped, again.transitions[0].cases) == (4, 2, second.transitions[0].cases)
    assert first.position < second.position
    assert swept is not None
    assert [point.value for point in swept.points] == [0, 5, 10, 11, 12, 30, 50]


def _all() -> Any:
    from loom.replay import Selection

    return Selection(policy="discount")


async def test_only_the_newest_decisions_are_judged_where_there_are_too_many(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom, WhatIfProcess.open(loom.files.journal, most_cases=3) as process:
        await decide(loom, 11, 12, 13, 14, 15)
        found = await process.judge("a", BASE, BASE.with_params(limit=50))
    assert found is not None
    assert (found.cases, found.older) == (3, 2)
    assert [flip.facts["percent"] for flip in found.listed] == [15, 14, 13]


async def test_a_newer_question_of_a_session_drops_the_older_one_and_no_other_session_waits_for_ever(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as loom, WhatIfProcess.open(loom.files.journal) as process:
        await decide(loom, *range(20))
        asked = [process.judge("a", BASE, BASE.with_params(limit=limit)) for limit in range(30)]
        other = process.judge("b", BASE, WIDER)
        *older, newest, others = await asyncio.gather(*asked, other)
    assert newest is not None
    assert newest.edits == ("limit: 10 → 29",)
    assert others is not None
    assert older.count(None) >= 25


async def test_a_process_that_is_killed_is_replaced_at_the_next_question(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom, WhatIfProcess.open(loom.files.journal) as process:
        await decide(loom, 11)
        await process.judge("a", BASE, WIDER)
        first = process.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)  # so that the question is under way when it ends
        asked = asyncio.create_task(process.judge("a", BASE, WIDER))
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(WhatIfUnavailableError):
            await asked
        again = await process.judge("a", BASE, WIDER)
        second = process.pid
        assert second not in (None, first)
    assert again is not None
    assert again.flipped == 1
    assert second is not None
    await gone(second)


async def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom, WhatIfProcess.open(loom.files.journal, timeout_s=0.001) as process:
        with pytest.raises(WhatIfUnavailableError, match="longer than"):
            await process.judge("a", BASE, WIDER)
        assert process.pid is None


async def test_a_table_that_cannot_be_judged_is_refused_and_the_process_goes_on(tmp_path: Path) -> None:
    other = Table.of({**WRITTEN, "name": "discount", "facts": {**WRITTEN["facts"], "x": {"type": "integer"}}})
    async with opened(tmp_path) as loom, WhatIfProcess.open(loom.files.journal) as process:
        await decide(loom, 11)
        with pytest.raises(AdmissionError, match="edit its rules only"):
            await process.judge("a", BASE, other)
        pid = process.pid
        assert await process.judge("a", BASE, BASE) is not None
        assert process.pid == pid


SERVER = """
import asyncio, sys
from pathlib import Path
from loom.replay.what_if import WhatIfProcess
from tests.replay.what_if.test_process import BASE, WIDER

async def main():
    process = WhatIfProcess(Path(sys.argv[1]))
    await process.judge("a", BASE, WIDER)
    print(process.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_the_process_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await decide(loom, 11)
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVER, str(loom.files.journal), stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
        )
        assert server.stdout is not None
        pid = int(await server.stdout.readline())
        server.kill()
        await server.wait()
        await gone(pid)
