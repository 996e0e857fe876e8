"""What the children of the zygote do for people: a support agent hears from them, and they are erased, amid kills."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel

from loom import Actor, Command, Entry, Evaluation, Facts, Loom, LoomConfig, Params, policy
from loom.archive import seal
from loom.config import ActorsConfig
from loom.errors import ActorFailedError, ErasedError
from loom.journal.export import export_lines
from loom.journal.sqlite import Reader
from loom.reports import report
from loom.sealing import MASTER_KEY, Erased, Sealed, SealingConfig

__all__ = [
    "CANDIDATES",
    "MARK",
    "What",
    "forget_until_killed",
    "forgetting",
    "hand_over",
    "marker",
    "refused",
    "said_by",
]

MARK = "~declared~"
"""Is in every value of a declared field that is longer than a word; nothing else of loom's says it."""

What = Literal["yes or no", "age", "postcode"]
CANDIDATES: dict[What, tuple[str | int, ...]] = {
    "yes or no": ("yes", "no"),
    "age": tuple(range(121)),
    "postcode": tuple(f"{number:04}" for number in range(10_000)),
}
"""What somebody who wants to know tries."""

_AT_ONCE = 8
_POSTCODE_EVERY = 60


def marker(subject: str, what: str) -> str:
    return f"{what}{MARK}{subject[::-1]}"


def said_by(subject: str) -> tuple[What, str | int]:
    """Return what a subject said of itself in one word."""
    draw = random.Random(subject)
    if int(subject.rpartition("-")[2]) % _POSTCODE_EVERY == 0:
        return "postcode", draw.choice(CANDIDATES["postcode"])
    what: What = draw.choice(("yes or no", "age"))
    return what, draw.choice(CANDIDATES[what])


class Account(BaseModel):
    name: Annotated[str, Sealed()]
    plan: str


class Letter(BaseModel):
    text: Annotated[str, Sealed()]


class Word(Facts):
    value: Annotated[str, Sealed()]


@policy("form", Params(), examples=[Word(value="yes")])
def form(params: Params, facts: Word) -> Evaluation:
    """Take every answer."""
    return Evaluation(effect="allow", rule="any", why=f"{facts.value} is an answer")


class HeardEntry(Entry):
    kind: ClassVar[str] = "test.reliability.heard"

    value: Annotated[str | int | Erased, Sealed()]


class Ticket(Command[Letter]):
    subject_field = "customer"

    customer: str
    email: Annotated[str, Sealed()]
    asks: bool = False


class Answer(Command[Letter]):
    subject_field = "customer"

    customer: str
    value: Annotated[str | int, Sealed()]


class Support(Actor[list[str | int | Erased]]):
    actor_type: ClassVar[str] = "support"
    policy = form

    async def execute(self, command: Ticket | Answer) -> Letter:
        customer = command.customer
        if isinstance(command, Answer):
            await self.gather_context(
                system="form",
                entity="answer",
                query=str(command.value),
                fetcher=lambda: {"value": command.value},
                protect={"value": "seal", "$query": "seal"},
            )
            await self.record(HeardEntry(value=command.value))
            said = self.evaluate(Word(value=str(command.value)))
            await self.record_decision(rationale=said.why, outcome={"value": command.value}, protect={"value": "seal"})
            return Letter(text=f"{marker(customer, 'letter')} said {command.value}")
        account = await self.gather_context(
            system="crm",
            entity="account",
            query="of the ticket",
            returns=Account,
            fetcher=lambda: {"name": marker(customer, "name"), "plan": "pro"},
        )
        if command.asks:
            await self.request_approval(approver="boss", reason=f"{account.name} asks")
        await self.record(HeardEntry(value=command.email))
        await self.record_decision(rationale=f"{command.email} wrote", outcome={"answered": True})
        return Letter(text=marker(customer, "letter"))

    def apply(self, entry: Entry) -> None:
        if isinstance(entry, HeardEntry):
            self.state.append(entry.value)


@asynccontextmanager
async def forgetting(path: Path) -> AsyncIterator[Loom]:
    os.environ[MASTER_KEY] = base64.b64encode(bytes(range(32))).decode()
    often = ActorsConfig(snapshot_every=3)
    config = LoomConfig(data=path / "data", actors=often, sections={"sealing": SealingConfig(enabled=True)})
    async with Loom.open(config, by="mira", actors=[Support]) as loom:
        yield loom


def forget_until_killed(path: str, life: int, subjects: int, kill_after: int | None, seed: int) -> None:
    """Hear from people and erase each of them; die at a moment soon after so many erasures were asked for."""
    _log_into(Path(path) / "log.txt")
    asyncio.run(_forget(Path(path), life, subjects, kill_after, random.Random(seed)))


async def _forget(path: Path, life: int, subjects: int, kill_after: int | None, draw: random.Random) -> None:
    asked_for = 0

    def ask_for(subject: str) -> None:
        nonlocal asked_for
        _say(f"erasing {subject}")
        asked_for += 1
        if asked_for == kill_after:
            timer = threading.Timer(draw.uniform(0, 0.03), os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True
            timer.start()

    async with forgetting(path) as loom:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(subject: str) -> None:
            async with turns:
                vault: Any = loom.subjects.vault
                keys = (await vault.keys(subject))._keys
                _say(f"known {subject} {keys[max(keys)].hex()}")
                asked = await _heard(loom, subject, asks=draw.random() < 0.3)
                ask_for(subject)
                await loom.subjects.erase(subject, by="vera", reason="asked for")
                _say(f"erased {subject}")
                await asyncio.gather(asked, return_exceptions=True)

        async with asyncio.TaskGroup() as group:
            for number in range(subjects):
                group.create_task(one(f"p-{life}-{number}"))


async def _heard(loom: Loom, subject: str, *, asks: bool) -> asyncio.Future[Letter]:
    """Have the turns of a person run, and return one that may still wait for an approval."""
    ref = loom.actor(Support, f"desk-{subject}")
    _, value = said_by(subject)
    await ref.ask(Answer(customer=subject, value=value))
    ticket = asyncio.ensure_future(ref.ask(Ticket(customer=subject, email=marker(subject, "email"), asks=asks)))
    if not asks:
        await ticket
    else:
        await asyncio.sleep(0)
    return ticket


def hand_over(path: str) -> None:
    """Hand over what leaves a loom: an archive, exports and a report."""
    place = Path(path)
    _log_into(place / "log.txt")

    async def write() -> None:
        async with forgetting(place) as loom:
            async with loom.runs.run(run_id="season"):
                subjects = [f"r-{number}" for number in range(1, 4)]
                for subject in subjects:
                    await (await _heard(loom, subject, asks=False))
                    keys: Any = (await loom.subjects.opened_vault().keys(subject))._keys
                    _say(f"known {subject} {keys[max(keys)].hex()}")
            await _archive(loom, place / "archive.zip")
            for subject in subjects:
                await loom.subjects.erase(subject, by="vera", reason="asked for")
                _say(f"erased {subject}")
            await loom.reached()
            (place / "report.html").write_text(await report(loom.queries, "season"), encoding="utf-8")
        reader = Reader(place / "data" / "default" / "journal.db")
        lines = [line async for line in export_lines(reader, workspace="default")]
        (place / "export.jsonl").write_text("\n".join(lines), encoding="utf-8")
        await reader.close()

    asyncio.run(write())


async def _archive(loom: Loom, out: Path) -> None:
    """Write the encrypted archive of all that there is, of people who are not erased yet."""
    now = datetime.now(UTC) + timedelta(days=1)
    made = await seal(
        loom.store,
        out,
        workspace="default",
        until=loom.store.acknowledged,
        before=now,
        by="vera",
        now=now,
        vault=loom.subjects.vault,
        erasures=loom.subjects.erasures,
    )
    assert made is not None


def refused(path: str, subjects: list[str]) -> None:
    """Say of each subject whether it is erased for everything that comes."""

    async def ask() -> None:
        async with forgetting(Path(path)) as loom:
            for subject in subjects:
                try:
                    await loom.actor(Support, f"desk-{subject}").ask(Ticket(customer=subject, email="late@example.org"))
                    _say(f"open {subject}")
                except (ErasedError, ActorFailedError):
                    _say(f"refused {subject}")

    asyncio.run(ask())


def _say(what: str) -> None:
    os.write(1, f"{what}\n".encode())


def _log_into(file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 2)
    os.close(descriptor)
