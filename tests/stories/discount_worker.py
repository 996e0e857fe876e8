"""A process of its own for the discount story: sends one request and waits for its reply.

Every look-up is noted in a file beside the journal, so that the story can count them across processes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from examples import discount_approval as example
from loom import Loom


class NotedDict(dict[str, Any]):
    """A simulated system that writes down each time it is asked."""

    def __init__(self, log: Path, systems: dict[str, Any]) -> None:
        super().__init__(systems)
        self._log = log

    def __getitem__(self, key: str) -> Any:
        self._note(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return what is known of a customer, or the default."""
        self._note(key)
        return super().get(key, default)

    def _note(self, key: str) -> None:
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"{key}\n")


def systems_of(directory: Path) -> None:
    """Put noted systems in place of the simulated ones."""
    example.CRM = NotedDict(directory / "crm.log", dict(example.CRM))
    example.HELP_DESK = NotedDict(directory / "help-desk.log", dict(example.HELP_DESK))


async def main(directory: Path, customer_id: str, percent: int) -> None:
    """Ask, and print the reply when it comes."""
    systems_of(directory)
    url = f"sqlite:///{directory / 'journal.db'}"
    async with Loom.open(url, actors=[example.DiscountAgent], by="robin") as loom:
        agent = loom.actor(example.DiscountAgent, "emea")
        request = example.RequestDiscount(customer_id=customer_id, percent=percent)
        asking = asyncio.create_task(agent.ask(request, id=f"{customer_id}-{percent}", by="robin"))
        while not asking.done() and not await loom.approvals.pending():
            await asyncio.sleep(0.01)
        if not asking.done():
            print("pending", flush=True)
        print((await asking).model_dump_json(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
