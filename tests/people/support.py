"""A loom with an actor that asks for approval, and identities that edges have established."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loom import Actor, Command, Loom
from loom.config import LoomConfig
from loom.decisions import Approval
from loom.identity import Identity
from loom.people import PeopleConfig
from loom.testing import FixedClock, fixed_sources
from tests.actors.support import until

__all__ = ["Ask", "Asking", "asked", "keyed", "opened"]


class Ask(Command[str]):
    """What is asked of whom."""

    approver: str = "vp"
    quorum: int = 1
    deny_quorum: int = 1
    timeout_s: float | None = None
    escalate_to: tuple[str, ...] = ()


class Asking(Actor[None]):
    """Asks for an approval, and replies with what came of it."""

    async def execute(self, command: Ask) -> str:
        answer = await self.request_approval(
            approver=command.approver,
            reason="please",
            quorum=command.quorum,
            deny_quorum=command.deny_quorum,
            timeout_s=command.timeout_s,
            on_deadline="escalate" if command.escalate_to else "deny",
            escalate_to=command.escalate_to,
        )
        await self.record_decision(rationale="asked", outcome={"granted": answer.granted})
        return f"{'granted' if answer.granted else 'denied'} by {answer.by} with {list(answer.others)}"


def keyed(name: str, key: str | None = None) -> Identity:
    """Return the identity of a person who came with an API key."""
    return Identity(name, f"api_key:{key or name.lower()}", "http")


@asynccontextmanager
async def opened(
    path: Path, *, clock: FixedClock | None = None, people: dict[str, Any] | None = None, **given: Any
) -> AsyncIterator[Loom]:
    """Open a loom with the actor; `people` is the section of the config."""
    sections = {} if people is None else {"people": PeopleConfig.model_validate(people)}
    config = LoomConfig(data=path, sections=sections)
    sources = fixed_sources(clock) if clock is not None else None
    async with Loom.open(config, actors=[Asking], by="the tester", sources=sources, **given) as loom:
        yield loom


async def asked(loom: Loom, command: Ask, *, by: Any = "bob", key: str = "one") -> tuple[asyncio.Task[str], Approval]:
    """Send a command, and return its reply to come, and the request for approval."""
    known = {each.approval_id for each in await loom.approvals.pending()}
    asking = asyncio.create_task(loom.actor(Asking, key).ask(command, by=by))

    async def found() -> Approval | None:
        if asking.done():
            await asking
        return next((each for each in await loom.approvals.pending() if each.approval_id not in known), None)

    return asking, await until(found)
