"""Appends and turns in PostgreSQL, to raw COPY and to SQLite in the same run: `python -m benchmarks.postgres`.

Appends of one entry each, 1, 16 and 256 in flight, each to a journal of its own. They are compared with two programs
that write over one connection and wait for each transaction. Raw COPY writes as many rows into a table of six columns
without guards. Guarded COPY writes the rows of a journal, made before, in the transactions of a journal, which begin
with `begin_append` and end in the guard: what is between it and appends is Python, with drafts, hashes and futures. The
server syncs, as SQLite does. All of it shares one machine, so that the ratios count, and not the figures. Processor
time is that of this process, and that of all processes of the server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from loom import Loom
from loom.config import LoomConfig
from loom.journal import JournalStore
from loom.journal.postgres.reader import COLUMNS
from loom.journal.sqlite import SqliteStore
from tests.engine.worker import Desk, rate
from tests.journal.support import notes
from tests.postgres_server import Place, Server

IN_FLIGHT = (1, 16, 256)
_TURNS_IN_FLIGHT = 64
_RAW = """
CREATE TABLE raw (position bigint PRIMARY KEY, journal text, sequence bigint, body bytea, digest bytea, hash bytea)
"""
_ENTRY = tuple(COLUMNS.split(", "))
_BEGIN = "SELECT * FROM begin_append($1, $2)"
_COLUMNS = ("position", "journal", "sequence", "body", "digest", "hash")


async def appends(store: JournalStore, *, in_flight: int, seconds: float, tag: str) -> float:
    """Return appends a second."""
    done, until = 0, time.perf_counter() + seconds

    async def run(number: int) -> None:
        nonlocal done
        journal, sequence = f"{tag}-{in_flight}/{number}", 0
        while time.perf_counter() < until:
            sequence = (await store.append(notes(journal, sequence))).sequence
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(run(number) for number in range(in_flight)))
    return done / (time.perf_counter() - began)


async def raw(connection: Any, *, in_flight: int, seconds: float, first: int) -> tuple[float, int]:
    """Return rows a second by COPY, as many in a transaction as are in flight, and the next free position."""
    position, began = first, time.perf_counter()
    while time.perf_counter() - began < seconds:
        rows = [(position + n, "desk/1", n, b"x" * 60, b"d" * 32, b"h" * 32) for n in range(in_flight)]
        async with connection.transaction():
            await connection.copy_records_to_table("raw", records=rows, columns=_COLUMNS)
        position += in_flight
    return (position - first) / (time.perf_counter() - began), position


async def guarded(connection: Any, writer: int, *, in_flight: int, seconds: float, tag: str) -> float:
    """Return rows a second by COPY into the tables of a journal, past loom: hashes are none, the guard checks none."""
    names = sorted(f"{tag}/{number}" for number in range(in_flight))
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        async with connection.transaction():
            (_, position, _, at_us, _, fresh), *heads = await connection.fetch(_BEGIN, writer, names)
            known = {name: (at, epoch) for name, at, _, _, _, epoch in heads}
            rows = []
            for number, name in enumerate(names, 1):
                at, epoch = known.get(name, (0, fresh))
                header = (position + number, name, at + 1, "test.noted", 1, None, epoch, at_us, 0, None)
                rows.append((*header, b"s" * 16, b"x" * 28, b"d" * 32, b"h" * 32, 1))
            await connection.copy_records_to_table("entries", records=rows, columns=_ENTRY)
        count += in_flight
    return count / (time.perf_counter() - began)


async def measure(*, seconds: float) -> dict[str, dict[str, float]]:
    """Return figures by what was measured; ratios are to what was measured right before or after."""
    found: dict[str, dict[str, float]] = {}
    server = Server(settings={"fsync": "on"}).make()
    with tempfile.TemporaryDirectory(prefix="loom-postgres-", dir=os.environ.get("TMPDIR")) as directory:
        place = Place(server, Path(directory))
        try:
            store, connection = await place.open(), await place.connect()
            past = Place(server, Path(directory))
            register = await past.open(node="past")
            by_hand = await past.connect()
            sqlite = await SqliteStore.open(Path(directory) / "sqlite" / "journal.db")
            await connection.execute(_RAW)
            position = 1
            for in_flight in IN_FLIGHT:
                rows, position = await raw(connection, in_flight=in_flight, seconds=seconds, first=position)
                checked = await guarded(by_hand, register.writer, in_flight=in_flight, seconds=seconds, tag="g")
                client_s, server_s, began = time.process_time(), cpu_s(server), time.perf_counter()
                ours = await appends(store, in_flight=in_flight, seconds=seconds, tag="p")
                count = ours * (time.perf_counter() - began)
                client_s, server_s = time.process_time() - client_s, cpu_s(server) - server_s
                theirs = await appends(sqlite, in_flight=in_flight, seconds=seconds, tag="s")
                found[f"appends, {in_flight} in flight"] = {
                    "per_s": ours,
                    "to raw COPY": ours / rows,
                    "to guarded COPY": ours / checked,
                    "client µs": client_s / count * 1e6,
                    "server µs": server_s / count * 1e6,
                    "to SQLite": ours / theirs,
                }
            await sqlite.close()
            await connection.close()
            await by_hand.close()
            await past.close()
            found |= await turns(place, server, Path(directory), seconds=seconds)
        finally:
            await place.close()
            server.remove()
    return found


async def turns(place: Place, server: Server, directory: Path, *, seconds: float) -> dict[str, dict[str, float]]:
    """Return turns a second on both, with the share of a core that the client and the server took."""
    found: dict[str, dict[str, float]] = {}
    config = {"data": directory / "node", "journal": {"url": server.url(schema="turns")}}
    for name, where in (
        ("SQLite", f"sqlite:///{directory}/turns/journal.db"),
        ("PostgreSQL", LoomConfig.model_validate(config)),
    ):
        async with Loom.open(where, actors=[Desk], by="ops") as loom:
            before, began = cpu_s(server), time.perf_counter()
            figures = await rate(loom, seconds, _TURNS_IN_FLIGHT, name[0].lower())
            figures["cpu of the server"] = (cpu_s(server) - before) / (time.perf_counter() - began)
        found[f"turns on {name}, {_TURNS_IN_FLIGHT} in flight"] = figures
    ours, theirs = (found[f"turns on {name}, {_TURNS_IN_FLIGHT} in flight"] for name in ("PostgreSQL", "SQLite"))
    ours["to SQLite"] = ours["turns_per_s"] / theirs["turns_per_s"]
    return found


def cpu_s(server: Server) -> float:
    """Return the seconds of processor time that the server's processes have taken."""
    assert server.pid is not None
    main = psutil.Process(server.pid)
    return float(sum(sum(each.cpu_times()[:2]) for each in (main, *main.children())))


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure")
    for name, figures in asyncio.run(measure(seconds=parser.parse_args().seconds)).items():
        print(f"{name:34}", "  ".join(f"{what} {value:,.2f}" for what, value in figures.items()))


if __name__ == "__main__":
    main()
