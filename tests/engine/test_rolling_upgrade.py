"""A rolling upgrade with turns in flight: nodes of two looms on one journal, and the floor that a person raises."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loom.errors import JournalFormatError
from loom.journal import Recorded
from loom.journal.kinds import TurnCompletedEntry
from loom.journal.postgres import PostgresReader
from tests.engine.cluster import Cluster
from tests.engine.newer import LEVEL, SCHEMA
from tests.postgres_server import PASSWORD, QUOTED, Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
async def cluster(postgres: Server, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(postgres, tmp_path, count=2) as cluster:
        await cluster.start()
        yield cluster


async def test_a_rolling_upgrade_writes_the_new_shapes_after_the_floor_was_raised_alone(cluster: Cluster) -> None:
    keys = [f"k{at}" for at in range(6)]
    await asked(cluster, "n0", keys, "old")
    for name, other in (("n0", "n1"), ("n1", "n0")):
        flying = asyncio.create_task(asked(cluster, other, keys, f"while {name} goes", think_s=1.0))
        async with asyncio.timeout(30):
            while not sum([await each.do(running=True) for each in cluster.workers.values()]):
                await asyncio.sleep(0.02)
        await cluster.workers[name].close()
        await cluster.start_node(name, newer=True)
        await flying
        if name == "n0":
            await asked(cluster, "n0", keys, "mixed")
            await asked(cluster, "n1", keys, "mixed, by the older")
            refused = await raising(cluster)
            assert refused.returncode != 0
            assert "processes of an earlier loom write the journal" in refused.stderr
            assert PASSWORD not in refused.stderr
    assert {each.schema_version for each in await ends(cluster)} == {SCHEMA - 1}
    flying = asyncio.create_task(asked(cluster, "n0", keys, "meanwhile", think_s=1.0))
    done = await raising(cluster)
    assert done.returncode == 0, done.stderr
    await flying
    for name in cluster.nodes:
        await asked(cluster, name, keys, f"new on {name}")
    found = await ends(cluster)
    versions = [each.schema_version for each in found]
    assert set(versions) == {SCHEMA - 1, SCHEMA}
    assert set(versions[-2 * len(keys) :]) == {SCHEMA}
    assert len(found) == len({(each.journal, each.command_id) for each in found}) == len(keys) * 8
    with pytest.raises(JournalFormatError, match=rf"floor \[{LEVEL}\], which \[dana\] raised.*install loom"):
        await cluster.place.open(node="older")


async def asked(cluster: Cluster, name: str, keys: list[str], command: str, *, think_s: float = 0.0) -> None:
    """Ask every actor the same thing by way of a node."""
    doing = [cluster.workers[name].do(ask=key, id=f"{command} {key}", think_s=think_s) for key in keys]
    assert all(each["granted"] for each in await asyncio.gather(*doing))


async def ends(cluster: Cluster) -> list[Recorded]:
    """Return the ends of turns, by position."""
    reader = PostgresReader(cluster.place.url())
    found = [each async for each in reader.read_all() if each.kind == TurnCompletedEntry.kind]
    await reader.close()
    return found


async def raising(cluster: Cluster) -> subprocess.CompletedProcess[str]:
    """Raise the floor as a person does, with the shell of the newer loom."""
    url = cluster.place.text.replace(f":{QUOTED}@", "@")
    program = "from tests.engine.newer import become_newer; become_newer(); from loom.cli.app import main; main()"
    command = [sys.executable, "-c", program, "--journal", url, "upgrade", "--by", "dana"]
    root = Path(__file__).parents[2]
    return await asyncio.to_thread(
        subprocess.run,
        command,
        env={**os.environ, "PGPASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        cwd=root,
        check=False,
    )
