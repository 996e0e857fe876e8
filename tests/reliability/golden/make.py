"""Makes the golden journal of this release: `python -m tests.reliability.golden.make`, once, when it is released.

The discount story with a clock, ids and salts that are the same every time, up to a request that waits for somebody.
What was released is never made again: a later loom has to read it as it is. A directory that is there is refused.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import shutil
import tempfile
from pathlib import Path

from examples.discount_approval import DiscountAgent, RequestDiscount
from loom import Loom
from loom.actors import Sources
from loom.errors import LoomError
from loom.testing import FixedClock, fixed_sources
from tests.reliability.golden.replaying import FILES, copied, replayed

HERE = Path(__file__).parent


async def story(path: Path) -> None:
    """Two actors, consent given and refused, and one request that is open when the process ends."""
    clock = FixedClock()
    async with Loom.open(f"sqlite:///{path}", actors=[DiscountAgent], by="robin", sources=stepping(clock)) as loom:
        await ask(loom, "emea", "delta-retail", 8)
        await ask(loom, "emea", "borealis", 15, grant=True)
        clock.advance(3_600)
        await ask(loom, "apac", "cobalt", 15, grant=True)
        clock.advance(-60)  # a clock that was set back
        await ask(loom, "emea", "delta-retail", 30, grant=False)
        await loom.actor(DiscountAgent, "emea").tell(
            RequestDiscount(customer_id="acme-health", percent=15), id="acme-health-15", by="robin"
        )
        await pending(loom)
        await loom.reached()


def stepping(clock: FixedClock) -> Sources:
    """Return the fixed sources around a clock."""
    return fixed_sources(clock, seed="golden")


async def ask(loom: Loom, key: str, customer_id: str, percent: int, *, grant: bool | None = None) -> None:
    """Send a request and answer for the VP of sales where that is needed."""
    request = RequestDiscount(customer_id=customer_id, percent=percent)
    async with asyncio.TaskGroup() as group:
        group.create_task(loom.actor(DiscountAgent, key).ask(request, id=f"{customer_id}-{percent}", by="robin"))
        if grant is None:
            return
        approval_id = await pending(loom)
        if grant:
            await loom.approvals.grant(approval_id, by="dana", comment="Die Störung lag bei uns — 障害 \U0001f527")
        else:
            await loom.approvals.deny(approval_id, by="dana", comment="no incidents")


async def pending(loom: Loom) -> str:
    """Wait until somebody is asked, and return the id of the approval."""
    while not (found := await loom.approvals.pending("vp_sales")):
        await asyncio.sleep(0.005)
    return found[0].approval_id


def main() -> None:
    """Write the journal, and beside it what comes out of it."""
    target = HERE / importlib.metadata.version("loom-journal")
    if target.exists():
        raise LoomError(f"golden journal [{target}] is there; expected a new release: it is never made again")
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        asyncio.run(story(Path(first) / FILES[0]))
        said = asyncio.run(replayed(copied(Path(first), Path(second))))
        target.mkdir()
        for name in FILES:
            shutil.copy(Path(first) / name, target / name)
    (target / "expected.json").write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{target}: {said['entries']} entries")


if __name__ == "__main__":
    main()
