"""Five walks through the house, as data: `python -m benchmarks.walks [--edges WALK]`.

A hop is a call from a function in one file of loom to one in another; each is counted once, however often it happens.
It is what someone has to follow who reads how a thing is done. Run it with another checkout on PYTHONPATH to compare.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import loom as house
from benchmarks.workload import BenchAgent, DecideOnce
from loom import Actor, Command, Loom, Window
from loom.journal.control import control_call

ROOT = str(Path(house.__file__).parent) + "/"
Edge = tuple[str, str]


class Hops:
    """Collects the hops that are made while it counts, in every thread that began under it."""

    def __init__(self) -> None:
        self.edges: dict[Edge, None] = {}
        self._counting = False
        self._names: dict[CodeType, str | None] = {}

    def __enter__(self) -> Hops:
        threading.setprofile(self._see)
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    @contextlib.contextmanager
    def counting(self) -> Any:
        """Count what happens inside."""
        self._counting = True
        try:
            yield
        finally:
            self._counting = False

    def _see(self, frame: FrameType, event: str, _: Any) -> None:
        if not self._counting or event != "call":
            return
        callee, caller = self._name(frame.f_code), frame.f_back
        while caller is not None and self._name(caller.f_code) is None:
            caller = caller.f_back  # through the standard library, and through the code of the walk
        if callee is None or caller is None:
            return
        above = self._name(caller.f_code)
        if above is not None and above.partition(":")[0] != callee.partition(":")[0]:
            self.edges[above, callee] = None

    def _name(self, code: CodeType) -> str | None:
        if code not in self._names:
            inside = code.co_filename.startswith(ROOT) and code.co_name not in ("<module>", "<lambda>", "<genexpr>")
            self._names[code] = f"{code.co_filename.removeprefix(ROOT)}:{code.co_qualname}" if inside else None
        return self._names[code]


class Ask(Command[bool]):
    """Ask the boss."""


class Asker(Actor[None]):
    """Waits for a person."""

    async def execute(self, command: Ask) -> bool:
        """Ask."""
        granted = (await self.request_approval(approver="boss", reason="it matters")).granted
        await self.record_decision(rationale="asked", outcome={"granted": granted})
        return granted


@contextlib.asynccontextmanager
async def opened(place: Path, **more: Any) -> AsyncIterator[Loom]:
    """Yield a loom whose actor has decided before: what is made once is no part of a walk."""
    async with Loom.open(f"sqlite:///{place / 'journal.db'}", actors=[BenchAgent, Asker], by="bench", **more) as loom:
        for percent in (5, 20):
            await loom.actor(BenchAgent, "one").ask(DecideOnce(customer="acme", percent=percent))
        await loom.reached()
        yield loom


async def command(place: Path, hops: Hops) -> None:
    """A command to its reply."""
    async with opened(place) as loom:
        with hops.counting():
            await loom.actor(BenchAgent, "one").ask(DecideOnce(customer="acme", percent=5))


async def why(place: Path, hops: Hops) -> None:
    """A look-up to why."""
    async with opened(place) as loom:
        with hops.counting():
            reply = await loom.actor(BenchAgent, "one").ask(DecideOnce(customer="acme", percent=5))
            str(await loom.traces.explain(reply.decision_id))


async def drift(place: Path, hops: Hops) -> None:
    """A policy version to drift."""
    async with opened(place) as loom:
        with hops.counting():
            await loom.policies.register(BenchAgent.policy, by="bench")
            middle = loom.now()
            await loom.actor(BenchAgent, "one").ask(DecideOnce(customer="acme", percent=5))
            await loom.drift.compare(Window(until=middle), Window(since=middle), rule="outcomes alone")


async def approval(place: Path, hops: Hops) -> None:
    """An approval across processes: over the control socket, to the turn that waits."""
    async with opened(place) as loom:
        asked = asyncio.create_task(loom.actor(Asker, "one").ask(Ask()))
        while not (waiting := await loom.approvals.pending()):
            await asyncio.sleep(0.01)
        with hops.counting():
            given = {"id": waiting[0].approval_id, "by": "boss", "comment": None}
            await control_call(loom.files.lock, "approvals.grant", given, timeout_s=10.0)
            await asked


async def circuit(place: Path, hops: Hops) -> None:
    """A request to a circuit and back."""
    from loom.circuits import Circuits, extension

    async with opened(place, extensions=[extension]) as loom:
        circuits = Circuits.of(loom)
        given = {"business_profile": "SaaS", "campaign_goal": "more leads"}
        await circuits.run("client-0", [("CX01_INTENT_DETECTION", given)])
        with hops.counting():
            await circuits.run("client-1", [("CX01_INTENT_DETECTION", given)])


WALKS: dict[str, Callable[[Path, Hops], Awaitable[None]]] = {
    each.__name__: each for each in (command, why, drift, approval, circuit)
}


def walked(name: str) -> dict[Edge, None]:
    """Return the hops of a walk, in the order in which they were first made."""
    with tempfile.TemporaryDirectory() as place, Hops() as hops:
        asyncio.run(WALKS[name](Path(place), hops))  # type: ignore[arg-type]
    return hops.edges


def main() -> None:
    """Print the hops of each walk, or those of one with their names."""
    asked = argparse.ArgumentParser(prog="python -m benchmarks.walks", description=__doc__)
    asked.add_argument("--edges", choices=sorted(WALKS), help="name the hops of this one")
    chosen = asked.parse_args().edges
    if chosen is not None:
        for caller, callee in walked(chosen):
            print(f"{caller} -> {callee}")
        return
    for name, walk in WALKS.items():
        edges = walked(name)
        files = {each.partition(":")[0] for edge in edges for each in edge}
        print(f"{name:10} {len(edges):4} hops in {len(files):3} files  {str(walk.__doc__).splitlines()[0]}")


if __name__ == "__main__":
    main()
