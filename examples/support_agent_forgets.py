"""A support agent whose customer asks to be forgotten, while a refund of theirs waits for an approval.

    python examples/support_agent_forgets.py

The agent works on what the customer wrote; the journal has it sealed. Once the customer is erased, nothing of it opens,
the turn that waited has ended, and the journal verifies as before. Everything is simulated and offline.
"""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel

from loom import Actor, Command, Entry, Loom
from loom.errors import ActorFailedError, ErasedError
from loom.journal.sqlite.verify import verify
from loom.sealing import Erased, Sealed

CUSTOMER = "c-1001"
"""A number, and no name: subjects stand in clear in headers that are hashed."""


class Account(BaseModel):
    """What the CRM knows of a customer."""

    name: Annotated[str, Sealed()]
    plan: str


class Answered(BaseModel):
    """What the customer gets."""

    letter: Annotated[str, Sealed()]
    refunded_usd: int


class TicketTakenEntry(Entry):
    """A customer wrote."""

    kind = "example.ticket_taken"

    ticket: str
    email: Annotated[str | Erased, Sealed()]


class Ticket(Command[Answered]):
    """A customer writes, and may ask for money back."""

    subject_field = "customer"

    customer: str
    ticket: str
    email: Annotated[str, Sealed()]
    refund_usd: int = 0


class SupportAgent(Actor[dict[str, str | Erased]]):
    """Answers tickets, and keeps who wrote which; a refund over 100 $ needs the lead's consent."""

    actor_type = "support"

    async def execute(self, command: Ticket) -> Answered:
        await self.record(TicketTakenEntry(ticket=command.ticket, email=command.email))
        account = await self.gather_context(
            system="crm",
            entity="account",
            query="of the ticket",
            returns=Account,
            fetcher=lambda: {"name": "Ada Lovelace", "plan": "pro"},
        )
        if command.refund_usd > 100:
            await self.request_approval(approver="lead", reason=f"{account.name} wants {command.refund_usd} $ back")
        await self.record_decision(
            rationale=f"{account.name} is on the plan {account.plan}", outcome={"refunded_usd": command.refund_usd}
        )
        return Answered(letter=f"Dear {account.name}, it is done.", refunded_usd=command.refund_usd)

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, TicketTakenEntry):
            self.state[entry.ticket] = entry.email


# --- the story -----------------------------------------------------------------------------------


async def main() -> None:
    """Tell the story in a directory that is thrown away."""
    os.environ["LOOM_MASTER_KEY"] = base64.b64encode(bytes(range(32))).decode()  # of your own: openssl rand -base64 32
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "loom.config.yaml"
        config.write_text("data: data\nsealing: {enabled: true}\n", encoding="utf-8")
        async with Loom.open(config, actors=[SupportAgent], by="mira") as loom:
            await story(loom)
        async with Loom.open(config, actors=[SupportAgent], by="mira") as loom:
            print(f"after a restart the desk knows {await desk_of(loom)}")
            journal = loom.files.journal
        found = verify(journal, workspace="default")
        print(f"the journal verifies: {found.ok}; in clear it has the address: {b'ada@' in journal.read_bytes()}")
        show(config)


async def story(loom: Loom) -> None:
    """Write twice, wait for the lead, and ask to be forgotten."""
    desk = loom.actor(SupportAgent, "desk")
    first = Ticket(customer=CUSTOMER, ticket="t-1", email="ada@example.org")
    answered = await desk.ask(first, id="mail-1")
    print(f"the customer reads: {answered.letter}")
    print(f"the desk knows {await desk_of(loom)}")

    waits = asyncio.ensure_future(
        desk.ask(Ticket(customer=CUSTOMER, ticket="t-2", email="ada@home.example", refund_usd=300), id="mail-2")
    )
    while not (pending := await loom.approvals.list(status="pending")):
        await asyncio.sleep(0.01)
    print(f"the lead is asked: {pending[0].reason}")

    await loom.subjects.erase(CUSTOMER, by="vera", reason="the customer asked to be forgotten")
    try:
        await waits
    except ActorFailedError as error:
        print(f"the turn that waited ended: {error}")
    print(f"the lead is asked no more: {not await loom.approvals.list(status='pending')}")
    try:
        await desk.ask(first, id="mail-1")
    except ErasedError as error:
        print(f"the same mail once more: {error}")


async def desk_of(loom: Loom) -> dict[str, str | Erased]:
    """Return who wrote which ticket, as the desk knows it."""
    state: dict[str, str | Erased] = await loom.replay.state("support/desk")
    return state


def show(config: Path) -> None:
    """Ask the shell what concerns the customer: it opens nothing and needs no key."""
    environ = {name: value for name, value in os.environ.items() if name != "LOOM_MASTER_KEY"}
    ran = subprocess.run(
        [sys.executable, "-m", "loom.cli", "-c", str(config), "subjects", "show", CUSTOMER],
        capture_output=True,
        text=True,
        check=True,
        env={**environ, "COLUMNS": "160"},
    )
    head, *table = ran.stdout.splitlines()
    print(
        f"loom subjects show: {head}; {sum('support/desk' in line for line in table)} entries of the desk concern them"
    )


if __name__ == "__main__":
    asyncio.run(main())
