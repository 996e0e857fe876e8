"""What the children of the zygote do with a budget: call a provider that bills at once, until they are killed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from datetime import UTC, datetime
from pathlib import Path

from loom.enrichment import Budget, BudgetsConfig
from loom.enrichment.budget import Reservation
from loom.journal.sqlite import SqliteOptions, SqliteStore, WriterOptions

WORST = 10
CALLERS = 16
OPTIONS = SqliteOptions(writer=WriterOptions(min_free_bytes=0))


def spend_until_killed(path: str, bill: str, cap: int, calls: int, dies_after: int, seed: int, guarded: bool) -> None:  # noqa: FBT001
    """Have sixteen callers spend at once; the process dies between a call and its settlement."""
    asyncio.run(_spend(Path(path), Path(bill), cap, calls, dies_after, random.Random(seed), guarded=guarded))


async def _spend(
    path: Path, bill: Path, cap: int, calls: int, dies_after: int, draw: random.Random, *, guarded: bool
) -> None:
    store = await SqliteStore.open(path, options=OPTIONS)
    config = BudgetsConfig(max_cost_per_day=cap / 1e6, max_enrichments_per_day=10**9)
    budget = Budget(store, config, now=lambda: datetime(2026, 5, 5, tzinfo=UTC))
    for lost in await budget.unsettled():
        await budget.settle(lost, None, settlement="lost")
    billing = os.open(bill, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    left = dies_after

    async def caller(number: int) -> None:
        nonlocal left
        for call in range(calls):
            made: Reservation | None
            if guarded:
                reserved = await budget.reserve(
                    f"d{number}-{call}", reservation_id=f"{os.getpid()}-{number}-{call}", worst_case_micro_usd=WORST
                )
                if not isinstance(reserved, Reservation):
                    return
                made = reserved
            else:  # the wrong way: look what is spent, call, and write down afterwards
                made = None
                if (await budget.today()).spent_micro_usd >= cap:
                    return
            await asyncio.sleep(0)
            cost = draw.randint(1, WORST)
            os.write(billing, f"{cost}\n".encode())  # the provider has it now, whatever becomes of us
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            await asyncio.sleep(0)
            if made is None:
                name = f"late-{os.getpid()}-{number}-{call}"
                late = await budget.reserve(name, reservation_id=name, worst_case_micro_usd=0)
                assert isinstance(late, Reservation)
                made = late
            await budget.settle(made, cost, settlement="known")

    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    await store.close()
