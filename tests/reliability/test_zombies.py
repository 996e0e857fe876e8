"""R17 on PostgreSQL: a writer that is stopped with appends under way, while another acquires its journal."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from loom.errors import JournalBusyError
from loom.journal.postgres import PostgresStore
from loom.journal.postgres.verify import verify_server
from tests.journal.support import notes
from tests.postgres_server import Place
from tests.reliability.board import Tally, row
from tests.reliability.forks import Forked, Zygote

ROUNDS = 6
JOURNAL = "a/1"
_OF_ZOMBIE = "SELECT position FROM entries WHERE journal = $1 AND position > $2 AND convert_from(body, 'UTF8') LIKE $3"
_LIKE = '%"' + "x" * 60 + '"%'


@pytest.mark.seconds(20)
@pytest.mark.timeout(300)
@row("R17")
async def test_on_a_server_a_writer_that_was_overtaken_while_it_was_stopped_writes_nothing_more(
    place: Place, tally: Tally, zygote: Zygote, tmp_path: Path
) -> None:
    for number in range(ROUNDS):
        with zygote.fork(
            "append_to_server_until_fenced", address=place.address, journal=JOURNAL, checks_epoch=True
        ) as zombie:
            fence = await overtake(place, zombie, tally, appends=number % 3 * 3)
            said = [line.split() for line in zombie.rest()]
            tally.check(zombie.wait() == 0, "the zombie did not end by itself")
        tally.tried()
        tally.check(said and said[-1][:2] == ["refused", "WriterFencedError"], f"the zombie ended with {said[-1:]}")
        after = await of_zombie(place, fence)
        tally.check(not after, f"{after} entries of the zombie after the fence")
    tally.check((await verify_server(place.url(), tmp_path / "none.heads")).ok, "it does not verify")


@row("R17")
async def test_on_a_server_a_writer_that_did_not_check_its_epoch_would_write_on_as_a_zombie(
    place: Place, tally: Tally, zygote: Zygote
) -> None:
    found = 0
    for _ in range(3):
        with zygote.fork(
            "append_to_server_until_fenced", address=place.address, journal=JOURNAL, checks_epoch=False
        ) as zombie:
            fence = await overtake(place, zombie, tally, appends=0)
            for _ in range(20):
                zombie.line()
            found += bool(await of_zombie(place, fence))
    tally.control(trials=3, found=found)


async def overtake(place: Place, zombie: Forked, tally: Tally, *, appends: int) -> int:
    """Stop a writer, acquire its journal, let it go on; return the position after which nothing of it may be."""
    zombie.line()
    for _ in range(tally.dice.randrange(5, 50)):
        zombie.line()
    store: PostgresStore = await place.open(lock_timeout_s=0.2)
    while True:
        zombie.signal(signal.SIGSTOP)
        try:
            at = (await store.acquire(JOURNAL)).sequence
            break
        except JournalBusyError:  # it was stopped in the middle of a transaction, which has to end before the next stop
            before = await store.refresh()
            zombie.signal(signal.SIGCONT)
            while await store.refresh() == before:
                await asyncio.sleep(0.001)
    fence = await store.refresh()
    written = 0
    while written < appends:
        try:
            await store.append(notes(JOURNAL, at + written, text="of the new"))
            written += 1
        except JournalBusyError:  # it was stopped in an append: the server waits for its client, and may do so for ever
            zombie.signal(signal.SIGCONT)
    await store.close()
    zombie.signal(signal.SIGCONT)
    return fence


async def of_zombie(place: Place, fence: int) -> int:
    """Return how many entries of the writer that was overtaken came after the fence."""
    connection = await place.connect()
    try:
        return len(await connection.fetch(_OF_ZOMBIE, JOURNAL, fence, _LIKE))
    finally:
        await connection.close()
