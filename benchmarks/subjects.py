"""A person's data: what sealing costs a turn, what the first command of somebody costs, and what an erasure does."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from benchmarks.measure import Figure, median
from benchmarks.sealing import costs_ms, lay_down_keys
from benchmarks.workload import ACCOUNT, Reply, bench
from loom import Actor, Command, Loom, LoomConfig
from loom.journal import Append, draft
from loom.journal.kinds import CommandReceivedEntry, TurnCompletedEntry
from loom.sealing import MASTER_KEY, Sealed, SealingConfig

__all__ = ["TurnCosts", "costs_of_turns", "erasures_ms", "figures"]

_MASTER = bytes(range(32))
_TEXT = "a hundred bytes of what somebody wrote, which is more than most fields have, and about as much as "
_ROUNDS = 15
_IN_FLIGHT = 32
_APPENDED = 500


class PlainCase(Command[Reply]):
    """A case with three texts that nothing is declared of."""

    customer: str
    percent: int
    first: str
    second: str
    third: str


class SealedCase(Command[Reply]):
    """The same case with its three texts sealed."""

    subject_field = "customer"

    customer: str
    percent: int
    first: Annotated[str, Sealed()]
    second: Annotated[str, Sealed()]
    third: Annotated[str, Sealed()]


class _Clerk(Actor[None]):
    policy = bench

    async def _decided(self, command: PlainCase | SealedCase) -> Reply:
        account = await self.gather_context(
            system="crm", entity="account", query="of the case", relevance="size", fetcher=lambda: ACCOUNT
        )
        facts = {"industry": account["industry"], "arr_usd": account["arr_usd"], "percent": command.percent}
        evaluation = self.evaluate(facts)
        decision_id = await self.record_decision(rationale=evaluation.why, outcome={"granted": evaluation.allowed})
        return Reply(granted=evaluation.allowed, decision_id=decision_id)


class PlainClerk(_Clerk):
    """Looks up, evaluates, decides."""

    actor_type = "plain-clerk"

    async def execute(self, command: PlainCase) -> Reply:
        """Decide."""
        return await self._decided(command)


class SealedClerk(_Clerk):
    """Does the same for a person whose data is sealed."""

    actor_type = "sealed-clerk"

    async def execute(self, command: SealedCase) -> Reply:
        """Decide."""
        return await self._decided(command)


class TurnCosts(NamedTuple):
    """Microseconds of CPU of a turn without and with sealed fields, their median ratio; milliseconds of a new subject.

    CPU is that of the process, views included; the two take turns, and the ratio is the median over the rounds. Of a
    new subject it is the wall time of its first command, and that of one like it of a known one.
    """

    plain_us: float
    sealed_us: float
    ratio: float
    first_ms: float
    known_ms: float


async def costs_of_turns(directory: Path, *, turns: int) -> TurnCosts:
    """Measure turns of one known subject, in rounds of so many each, and then the first command of new ones."""
    async with _opened(directory, PlainClerk, SealedClerk) as loom:
        await _sealed(loom, "c-7", 1)
        taken: dict[str, list[float]] = {"plain": [], "sealed": []}
        for number in range(_ROUNDS + 1):
            for name in ("plain", "sealed") if number % 2 else ("sealed", "plain"):
                began = time.process_time()
                await (_plain(loom, turns) if name == "plain" else _sealed(loom, "c-7", turns))
                await loom.reached()
                if number:  # the first round warms up
                    taken[name].append((time.process_time() - began) / turns)
        ratios = [sealed / plain for sealed, plain in zip(taken["sealed"], taken["plain"], strict=True)]
        first, known = [], []
        for number in range(40):
            began = time.perf_counter()
            await _sealed(loom, f"n-{number}", 1)
            between = time.perf_counter()
            await _sealed(loom, f"n-{number}", 1)
            first.append(between - began)
            known.append(time.perf_counter() - between)
    return TurnCosts(
        median(taken["plain"]) * 1e6,
        median(taken["sealed"]) * 1e6,
        median(ratios),
        median(first) * 1e3,
        median(known) * 1e3,
    )


async def erasures_ms(directory: Path, *, entries: int, times: int = 3) -> tuple[float, float]:
    """Return milliseconds of erasing a subject who has so many entries, and until the views are there."""
    taken, views = [], []
    async with _opened(directory, SealedClerk) as loom:
        for number in range(times):
            await _lay_down(loom, f"subject-{number}", entries)
        await loom.reached()
        for number in range(times):
            began = time.perf_counter()
            await loom.subjects.erase(f"subject-{number}", by="bench", reason="a figure")
            between = time.perf_counter()
            await loom.reached()
            taken.append(between - began)
            views.append(time.perf_counter() - between)
    return median(taken) * 1e3, median(views) * 1e3


def figures(place: Path, scale: float) -> Iterator[Figure]:
    """Yield what a person's data costs."""
    seen = asyncio.run(costs_of_turns(place / "turns", turns=max(int(200 * scale), 20)))
    yield Figure("a turn, CPU", seen.plain_us, "µs")
    of = "without, the same turn"
    met = seen.ratio <= 1.3
    yield Figure(
        "… of a known subject, three sealed fields of 100 bytes", seen.sealed_us, "µs", seen.ratio, of, "≤ 1.3", met
    )
    yield Figure("a command of a known subject, wall", seen.known_ms, "ms")
    yield Figure(
        "the first command of a new subject, wall", seen.first_ms, "ms", seen.first_ms / seen.known_ms, "a known one"
    )
    few, many = 10, max(int(1_000_000 * scale), 1_000)
    costs = {}
    for count in (few, many):
        home = place / f"keys-{count}"
        lay_down_keys(_keys_of(home), count)
        costs[count] = asyncio.run(costs_ms(home))
    for name in ("new key", "erase"):
        ratio = costs[many][name] / costs[few][name]
        yield Figure(f"{name} among {few}, wall", costs[few][name], "ms")
        yield Figure(f"{name} among {many:,}, wall", costs[many][name], "ms", ratio, f"among {few}")
    entries = max(int(10_000 * scale), 100)
    lay_down_keys(_keys_of(place / "erased"), many)
    erased, views = asyncio.run(erasures_ms(place / "erased", entries=entries))
    name = f"erasing one of {many:,} subjects, who has {entries:,} entries"
    yield Figure(name, erased, "ms", aim="≤ 100", met=erased <= 100)
    yield Figure("… and until the views were there", views, "ms")


def _keys_of(directory: Path) -> Path:
    place = directory / "default"
    place.mkdir(mode=0o700, parents=True)
    return place / "journal.keys"


def _opened(directory: Path, *actors: type[Actor[Any]]) -> Loom:
    os.environ[MASTER_KEY] = base64.b64encode(_MASTER).decode()
    config = LoomConfig(data=directory, sections={"sealing": SealingConfig(enabled=True)})
    return Loom.open(config, by="bench", actors=actors)


async def _plain(loom: Loom, turns: int) -> None:
    case = PlainCase(customer="c-7", percent=5, first=_TEXT + "1", second=_TEXT + "2", third=_TEXT + "3")
    await _in_flight([loom.actor(PlainClerk, f"c{number % _IN_FLIGHT}").ask(case) for number in range(turns)])


async def _sealed(loom: Loom, subject: str, turns: int) -> None:
    case = SealedCase(customer=subject, percent=5, first=_TEXT + "1", second=_TEXT + "2", third=_TEXT + "3")
    await _in_flight([loom.actor(SealedClerk, f"c{number % _IN_FLIGHT}").ask(case) for number in range(turns)])


async def _in_flight(asked: list[Any]) -> None:
    for start in range(0, len(asked), _IN_FLIGHT):
        await asyncio.gather(*asked[start : start + _IN_FLIGHT])


async def _lay_down(loom: Loom, subject: str, entries: int) -> None:
    """Append entries in which something is sealed for a subject, as finished turns would have them."""
    keys = await loom.subjects.opened_vault().keys(subject)
    journal = f"sealed-clerk/{subject}"
    for start in range(0, entries, _APPENDED):
        drafts = []
        for number in range(start, min(start + _APPENDED, entries), 2):
            payload = {"customer": subject, "first": keys.seal(_TEXT, about="/first", once=f"{subject} {number}")}
            received = CommandReceivedEntry(
                command_type="SealedCase", payload=payload, by="bench", correlation_id=f"{number}", subject=subject
            )
            reply = {"letter": keys.seal(_TEXT, about="/letter", once=f"{subject} {number}")}
            drafts += [
                draft(received, command_id=f"{number}"),
                draft(TurnCompletedEntry(reply=reply), command_id=f"{number}"),
            ]
        head = await loom.store.head(journal)
        await loom.store.append(Append(journal, head.sequence, drafts))
