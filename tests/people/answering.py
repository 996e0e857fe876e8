"""People who answer requests: simulated ones, and a journal whose clock tests set."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from loom.decisions import ApprovalChains
from loom.decisions.entries import DecisionJournalEntry
from loom.identity import Identity, derived_id
from loom.journal import TurnCompletedEntry
from loom.journal.sqlite import SqliteOptions, SqliteStore, WriterOptions
from loom.people.oversight import Oversight
from loom.people.oversight_reading import Answer
from loom.policies.registry import PolicyRegistry
from loom.projections import Projector, Queries, Views
from tests.projections.every import every_projection
from tests.projections.journals import answer, command, decision, request, write

BEGIN = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


class HandClock:
    """A clock that stays until it is set."""

    def __init__(self) -> None:
        self.now = BEGIN

    def now_us(self) -> int:
        return int(self.now.timestamp() * 1_000_000)


@dataclass
class House:
    """A journal with requests and answers, and what oversight reads in it."""

    store: SqliteStore
    queries: Queries
    oversight: Oversight
    clock: HandClock
    number: int = 0

    async def ask_and_answer(
        self, person: str | None, seconds: float, *, granted: bool = True, percent: int = 15, requester: str = "ana"
    ) -> str:
        """Have a person answer a request after some seconds, and the turn decide; return the approval's id."""
        self.number += 1
        name = f"case {self.number}"
        journal, turn = f"discount-agent/{self.number}", f"turn-{self.number}"
        facts = {"industry": "healthcare", "percent": percent}
        deadline = self.clock.now + timedelta(days=1)
        asked = request(name, facts=facts, requested_by=requester, deadline=deadline)
        await write(self.store, journal, command(by=requester), asked, command_id=turn)
        self.clock.now += timedelta(seconds=seconds)
        made = decision(name, facts=facts, outcome={"granted": granted})
        entries = (
            answer(name, granted=granted, by=person),
            DecisionJournalEntry(decision=made),
            TurnCompletedEntry(reply=None),
        )
        await write(self.store, journal, *entries, command_id=turn)
        self.clock.now += timedelta(seconds=30)
        return derived_id("approval", name)


@contextlib.asynccontextmanager
async def house(directory: Path) -> AsyncIterator[House]:
    clock = HandClock()
    options = SqliteOptions(writer=WriterOptions(durability="process-crash-only", min_free_bytes=0))
    store = await SqliteStore.open(directory / "journal.db", clock=clock, options=options)
    views = Views(store.files.views)
    projector = Projector(store, views, every_projection())
    await projector.start()
    queries = Queries(views, projector)
    policies = PolicyRegistry(store)
    await policies.load()
    try:
        yield House(store, queries, Oversight(queries, policies, ApprovalChains(queries), store, by="robin"), clock)
    finally:
        await projector.close()
        await views.close()
        await store.close()


# --- simulated people ------------------------------------------------------------------------------


def answers_of(
    dice: random.Random, person: str, number: int, *, median_s: float, sigma: float, denies: float, waits_s: float = 0.0
) -> Iterator[Answer]:
    """Yield the answers of one person: log-normal times, denials by chance, one request after the other.

    With `waits_s` all requests have waited for that long when the first one is answered, as in an inbox.
    """
    now = BEGIN + timedelta(seconds=waits_s)
    for place in range(1, number + 1):
        spent = dice.lognormvariate(math.log(median_s), sigma)
        asked_at = BEGIN if waits_s else now
        now += timedelta(seconds=spent)
        yield Answer(
            approval_id=f"{person}-{place}",
            position=place,
            journal=f"discount-agent/{place}",
            command_id=f"turn-{place}",
            person=Identity(person),
            role="vp_sales",
            asked_at=asked_at,
            answered_at=now,
            granted=dice.random() >= denies,
            changed=False,
            requester="ana",
        )


def honest(dice: random.Random, number: int) -> list[Answer]:
    """Somebody who reads: half of the answers take longer than 40 s, 15 % are denials."""
    return list(answers_of(dice, "maria", number, median_s=40.0, sigma=1.0, denies=0.15))


def rubber_stamp(dice: random.Random, number: int, *, waits_s: float = 0.0) -> list[Answer]:
    """Somebody who clicks: half of the answers take less than 2.5 s, 2 % are denials."""
    return list(answers_of(dice, "sam", number, median_s=2.5, sigma=0.5, denies=0.02, waits_s=waits_s))
