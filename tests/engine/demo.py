"""`make cluster-demo`: three nodes, one journal; the owner of a request is killed, and another node answers.

The nodes are processes of their own on the loopback, with PostgreSQL for the journal. Restate is the engine where it is
installed, else the leases of the tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests import postgres_server, restate_server
from tests.engine.cluster import Cluster
from tests.postgres_server import served

_PATIENCE_S = 180.0


async def tell(cluster: Cluster, console: Console) -> None:
    """Play the story on a cluster that runs."""

    def title(text: str) -> None:
        console.print(f"\n[bold]{text}[/bold]")

    names = list(cluster.nodes)
    title("Within the limit of 10 %: asked on n0")
    easy = await cluster.workers["n0"].do(ask="delta-retail", id="delta-retail-8", percent=8, by="robin")
    home = await cluster.home_of("delta-retail")
    console.print(f"Granted. The actor lives on {home}, wherever it is asked. Decision {easy['decision_id'][:12]}.")

    title("Over the limit: asked on n0, and it waits for a person")
    wanted = {"ask": "acme-health", "id": "acme-health-15", "percent": 15, "by": "robin"}
    asked = asyncio.create_task(cluster.workers["n0"].do(**wanted))
    approval = await cluster.approval_of("acme-health", seen_by="n1")
    home = await cluster.home_of("acme-health")
    console.print(f"Every node knows of the request {approval[:12]}. Its actor lives on {home}.")

    title(f"{home} is killed (SIGKILL), the request with it")
    cluster.workers[home].kill()
    await cluster.workers[home].ended()
    killed_at = time.monotonic()
    console.print(f"Process {cluster.workers[home].pid} is gone; the request has no answer yet.")

    granter = next(name for name in reversed(names) if name != home)
    title(f"dana grants it on {granter}")
    granted = await cluster.workers[granter].do(grant=approval, by="dana")
    away = await cluster.home_of("acme-health")
    console.print(
        f"{granted['status']}, by {granted['by']}, {time.monotonic() - killed_at:.1f} s after the kill. "
        f"The actor lives on {away} now, and its turn went on where it was."
    )

    asker = next(name for name in names if name not in (home, granter))
    title(f"robin asks again on {asker}, with the same id")
    answer = await cluster.workers[asker].do(**wanted)
    with contextlib.suppress(ConnectionError):
        first = await asked
        console.print("The one who asked first has the same answer." if first == answer else "ANOTHER ANSWER")
    console.print(f"Granted: {answer['granted']}. Decision {answer['decision_id'][:12]}.")

    title("The journal of the actor")
    kinds = (await cluster.kinds())["desk/acme-health"]
    for kind, count in kinds.items():
        console.print(f"  {count} × {kind}")
    once = kinds["decision"] == kinds["turn_completed"] == kinds["approval_answered"] == 1
    console.print("One decision, one answer, one end." if once else "NOT ONCE: see above.", style="bold")
    if not once:
        sys.exit(1)


async def main() -> int:
    """Start servers and nodes, play the story, and end them."""
    console = Console(highlight=False)
    if (why := postgres_server.why_missing()) is not None:
        console.print(why)
        return 1
    restate = restate_server.why_missing() is None
    engine = "Restate, a server on each" if restate else "leases, as Restate is not installed"
    console.print(f"Three nodes on the loopback, one journal in PostgreSQL; engine: {engine}. Starting …")
    with served() as server, tempfile.TemporaryDirectory(prefix="loom-cluster-") as directory:
        async with Cluster(server, Path(directory), restate=restate) as cluster, asyncio.timeout(_PATIENCE_S):
            await cluster.start()
            await tell(cluster, console)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
