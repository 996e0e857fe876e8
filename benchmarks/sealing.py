"""Keys of subjects: what writing, destroying and erasing one costs with ten of them, and with a million.

`python -m benchmarks.sealing [--subjects N]` lays the keys down in the file directly, without a sync for each.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.measure import median
from loom import Loom, LoomConfig
from loom.sealing import Erasures, KeyFile, Subjects, Vault

__all__ = ["costs_ms", "lay_down_keys", "main"]

_MASTER = bytes(range(32))
_TIMES = 100


def lay_down_keys(path: Path, count: int) -> None:
    """Make a file with the keys of so many subjects, synced once at its end."""
    file = KeyFile(path, _MASTER, workspace="default")
    file._make(lambda: [file._write_slot(f"subject-{number}", 1, os.urandom(32)) for number in range(count)])
    asyncio.run(file.close())


async def costs_ms(directory: Path) -> dict[str, float]:
    """Return the median milliseconds of opening, a look for a key, a new key, an erasure in all, and a sealed value."""
    found: dict[str, float] = {}
    async with Loom.open(LoomConfig(data=directory), by="bench") as loom:
        began = time.perf_counter()
        erasures = Erasures(loom.store, make_draft=loom.draft)
        vault = Vault(KeyFile(loom.files.keys, _MASTER, workspace="default"), erasures)
        await vault.load()
        found["open"] = (time.perf_counter() - began) * 1_000
        subjects = Subjects(erasures, vault)

        async def timed(name: str, work: Callable[[int], Awaitable[object]]) -> None:
            taken = []
            for number in range(_TIMES):
                began = time.perf_counter()
                await work(number)
                taken.append((time.perf_counter() - began) * 1_000)
            found[name] = median(taken)

        await timed("look", lambda number: vault.known(f"subject-{number % 10}" if number < 10 else f"none-{number}"))
        await timed("new key", lambda number: vault.keys(f"new-{number}"))
        await timed("erase", lambda number: subjects.erase(f"new-{number}", by="bench", reason="a figure"))
        keys = await vault.keys("subject-0")
        began = time.perf_counter()
        for number in range(_TIMES * 10):
            keys.seal("x" * 100, about="/email", once=str(number))
        found["seal 100 bytes"] = (time.perf_counter() - began) * 100 / _TIMES
        await vault.close()
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sealing", description=__doc__)
    parser.add_argument("--subjects", type=int, default=1_000_000)
    wanted = parser.parse_args().subjects
    print("| subjects | open | look | new key | erase | seal 100 bytes | file, on disk |\n|" + "---:|" * 7)
    for count in (10, wanted):
        with tempfile.TemporaryDirectory() as name:
            place = Path(name) / "default"
            place.mkdir(mode=0o700)
            lay_down_keys(place / "journal.keys", count)
            found = asyncio.run(costs_ms(Path(name)))
            size = (place / "journal.keys").stat().st_blocks * 512
            print(f"| {count:,} | " + " | ".join(f"{each:.3f} ms" for each in found.values()) + f" | {size:,} B |")


if __name__ == "__main__":
    main()
