"""A process that takes five flows through the gate and kills itself after its n-th commit: `python -m … DIR N`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from loom.gate import PolicyProposal
from tests.gate.support import Desk, gated

FLOWS = 5


async def live(path: Path, dies_after: int) -> None:
    """Go through the flows; those that were gone through before are met as such."""
    sink = path / "world.txt"

    async def world(proposal: PolicyProposal, key: str) -> dict[str, Any]:
        with sink.open("a") as file:
            file.write(f"{key}\n")
            file.flush()
            os.fsync(file.fileno())
        return {"sent": proposal.params["discount_offered"]}

    commits = 0

    def count(_: int) -> None:
        nonlocal commits
        commits += 1
        if commits == dies_after:
            os.kill(os.getpid(), signal.SIGKILL)

    async with gated(path, executor=world) as loom:
        loom.store.on_commit(count)
        desk = await Desk(loom).arrive()
        for number in range(FLOWS):
            answer = await desk.offer(f"i-{number}", 5 + number)
            print(answer.code, answer.executed, answer.repeated, flush=True)
        await loom.reactors.reached()


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1]), int(sys.argv[2])))
