"""The same work with `dbos` on SQLite: a workflow of two durable steps, a look-up and a decision."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from dbos import DBOS

NOTES = "three incidents in this quarter; " * 8


@DBOS.step()
async def look_up(customer: str) -> dict[str, object]:
    """Look up."""
    return {"industry": "healthcare", "arr_usd": 500_000, "notes": NOTES}


@DBOS.step()
async def decide(account: dict[str, object], percent: int) -> dict[str, object]:
    """Decide."""
    return {"granted": percent <= 10, "rationale": f"{percent} % is within 10 %", "account": account}


@DBOS.workflow()
async def workflow(customer: str, percent: int) -> dict[str, object]:
    """Decide durably."""
    return await decide(await look_up(customer), percent)


async def per_second(in_flight: int, count: int) -> float:
    """Return workflows per second."""
    gate = asyncio.Semaphore(in_flight)

    async def one() -> None:
        async with gate:
            await workflow("acme", 5)

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return count / (time.perf_counter() - began)


async def main(directory: Path, count: int) -> None:
    """Print the figures as JSON."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": f"sqlite:///{directory / 'dbos.db'}",
            "log_level": "ERROR",
            "run_admin_server": False,
        }
    )
    DBOS.launch()
    await per_second(1, 10)
    figures = {"at_1": await per_second(1, count), "at_256": await per_second(256, count)}
    print(json.dumps(figures))
    DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
