"""The same look-up and decision as two nodes of a graph with `langgraph`'s SQLite saver, its state kept after each."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, TypedDict

import aiosqlite
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

NOTES = "three incidents in this quarter; " * 8


class Case(TypedDict, total=False):
    """What the nodes hand on."""

    customer: str
    percent: int
    account: dict[str, Any]
    granted: bool
    rationale: str


async def look_up(case: Case) -> Case:
    """Look up."""
    return {"account": {"industry": "healthcare", "arr_usd": 500_000, "notes": NOTES}}


async def decide(case: Case) -> Case:
    """Decide."""
    percent = case["percent"]
    return {"granted": percent <= 10, "rationale": f"{percent} % is within 10 %"}


async def per_second(graph: Any, in_flight: int, count: int) -> float:
    """Return decisions per second; each is a thread of its own, and durable when it is answered."""
    gate = asyncio.Semaphore(in_flight)

    async def one(number: int) -> None:
        async with gate:
            config = {"configurable": {"thread_id": f"{in_flight}-{number}"}}
            await graph.ainvoke({"customer": "acme", "percent": 5}, config, durability="sync")

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    return count / (time.perf_counter() - began)


async def main(directory: Path, count: int) -> None:
    """Print the figures as JSON."""
    nodes = StateGraph(Case)
    nodes.add_node("look_up", look_up)
    nodes.add_node("decide", decide)
    nodes.add_edge(START, "look_up")
    nodes.add_edge("look_up", "decide")
    nodes.add_edge("decide", END)
    async with aiosqlite.connect(directory / "langgraph.db") as connection:
        await connection.execute("PRAGMA journal_mode = WAL")
        await connection.execute("PRAGMA synchronous = FULL")
        saver = AsyncSqliteSaver(connection)
        await saver.setup()
        graph = nodes.compile(checkpointer=saver)
        await per_second(graph, 1, 5)
        print(json.dumps({"at_1": await per_second(graph, 1, count), "at_256": await per_second(graph, 256, count)}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
