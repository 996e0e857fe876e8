"""The agent of the benchmark, bare and made durable with pydantic-ai's own DBOS integration, on SQLite.

A tool runs in a step of its own where its function is one, as that integration has it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from dbos import DBOS
from desk import agent, order, refund
from pydantic_ai import Agent, Tool
from pydantic_ai.durable_exec.dbos import DBOSDurability


def durable() -> Agent[None, str]:
    """Return the same agent, whose requests of models and tools are steps."""
    made = agent([])
    return Agent(
        made.model,
        name="desk",
        tools=[Tool(DBOS.step()(order), name="order"), Tool(DBOS.step()(refund), name="refund")],
        capabilities=[DBOSDurability()],
    )


AGENT = durable()
BARE = agent()


@DBOS.workflow()
async def run() -> str:
    """Run the agent durably."""
    return (await AGENT.run("My lamp is broken.")).output


async def bare() -> str:
    """Run the agent with nothing kept."""
    return (await BARE.run("My lamp is broken.")).output


async def per_second(work: Any, in_flight: int, count: int) -> float:
    """Return runs per second."""
    gate = asyncio.Semaphore(in_flight)

    async def one() -> None:
        async with gate:
            assert await work() == "It was paid back."

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return count / (time.perf_counter() - began)


async def main(directory: Path, count: int) -> None:
    """Print the figures as JSON."""
    DBOS(
        config={
            "name": "bench",
            "system_database_url": f"sqlite:///{directory / 'agent-dbos.db'}",
            "log_level": "ERROR",
            "run_admin_server": False,
        }
    )
    DBOS.launch()
    await per_second(run, 1, 5)
    await per_second(bare, 1, 5)
    figures = {
        "at_1": await per_second(run, 1, count),
        "at_64": await per_second(run, 64, max(count, 64)),
        "bare_at_1": await per_second(bare, 1, count),
        "bare_at_64": await per_second(bare, 64, max(count, 64)),
    }
    print(json.dumps(figures))
    DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
