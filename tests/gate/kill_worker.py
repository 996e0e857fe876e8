"""A process that takes five flows through the gate and kills itself after its n-th commit: `python -m … DIR N`.

With a third argument, `consent`, a validator escalates every flow, and a person grants what waits.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from loom.gate import Complaint, PolicyProposal
from tests.gate.support import CONTRACT, Desk, gated

FLOWS = 5


ADDRESSED = CONTRACT.model_copy(update={"version": "1.3.0", "escalate_to": "vp_sales"})


def escalates(proposal: PolicyProposal, context: object) -> Complaint | None:
    """Have a person look at everything."""
    return Complaint("NEEDS_A_LOOK", "everything does", escalate=True)


async def live(path: Path, dies_after: int, *, consent: bool) -> None:
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

    async with gated(path, executor=world, validators=[escalates] if consent else []) as loom:
        loom.store.on_commit(count)
        desk = await Desk(loom).arrive(ADDRESSED if consent else CONTRACT)
        for number in range(FLOWS):
            answer = await desk.offer(f"i-{number}", 5 + number)
            while answer.verdict == "ESCALATE":
                for approval in await loom.approvals.pending():
                    await loom.approvals.grant(approval.approval_id, by="vera")
                answer = await desk.offer(f"i-{number}", 5 + number, _attempt=2)
            print(answer.code, answer.executed, answer.repeated, flush=True)
        await loom.reactors.reached()


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1]), int(sys.argv[2]), consent="consent" in sys.argv[3:]))
