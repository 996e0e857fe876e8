"""Old data: what was written before a field was declared is found, and its bodies go into an encrypted archive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from loom import Actor, Command, Entry, Loom, LoomConfig
from loom.archive import Archive
from loom.operations import Operations
from loom.sealing import MASTER_KEY, Masked, Sealed, SealingConfig
from tests.actors.test_checkpoints import KEYS
from tests.on_postgres import stored, verify

EMAIL, PHONE, NOTE = "ada@example.org", "+44 20 7946 0000", "calls only at night"


def classes(*, declared: bool) -> tuple[type[Actor[Any]], type[Any], type[Any]]:
    """Return the classes of one actor as they were, and as they are since fields are declared."""
    text: Any = Annotated[str, Sealed()] if declared else str
    masked: Any = Annotated[str, Masked()] if declared else str

    class Answer(BaseModel):
        note: text

    class Written(Entry):
        kind = "test.scan_written"
        note: text

    class Apply(Command[Answer]):
        command_type = "scan.apply"
        subject_field = "customer" if declared else None

        customer: str
        email: text
        phone: masked
        amount: int = 1

    class Ping(Command[int]):
        command_type = "scan.ping"
        note: masked

    class Desk(Actor[list[str]]):
        actor_type = "scan-desk"

        async def execute(self, command: Any) -> Any:
            if isinstance(command, Ping):
                return 1
            if not declared:
                await self.record(Written(note=command.email))
            return Answer(note=command.email)

        def apply(self, entry: Entry) -> None:
            if entry.__class__.__name__ == "Written":
                self.state.append("written")

    return Desk, Apply, Ping


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, KEYS)


@asynccontextmanager
async def opened(path: Path, actor: type[Actor[Any]]) -> AsyncIterator[Loom]:
    config = LoomConfig(data=path, sections={"sealing": SealingConfig(enabled=True)})
    async with Loom.open(config, by="mira", actors=[actor]) as loom:
        yield loom


async def call(loom: Loom, name: str, **arguments: Any) -> Any:
    return await Operations(loom).call(name, arguments)


async def test_entries_with_a_declared_field_in_clear_are_found_and_moved_into_an_encrypted_archive(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    desk, apply, ping = classes(declared=False)
    async with opened(data, desk) as loom:
        for name in ("ada", "bob"):
            await loom.actor(desk, "d").ask(apply(customer=name, email=f"{name} {EMAIL}", phone=PHONE))
        await loom.actor(desk, "p").ask(ping(note=NOTE))
    desk, apply, ping = classes(declared=True)
    async with opened(data, desk) as loom:
        await loom.actor(desk, "d").ask(apply(customer="cy", email=EMAIL, phone=PHONE))
        found = await call(loom, "subjects.scan")
        assert [(each["journal"], each["kind"], each["path"], each["subject"]) for each in found] == [
            ("scan-desk/d", "command_received", "payload/email", "ada"),
            ("scan-desk/d", "command_received", "payload/phone", "ada"),
            ("scan-desk/d", "test.scan_written", "note", "ada"),
            ("scan-desk/d", "turn_completed", "reply/note", "ada"),
            ("scan-desk/d", "command_received", "payload/email", "bob"),
            ("scan-desk/d", "command_received", "payload/phone", "bob"),
            ("scan-desk/d", "test.scan_written", "note", "bob"),
            ("scan-desk/d", "turn_completed", "reply/note", "bob"),
            ("scan-desk/p", "command_received", "payload/note", None),
        ]
        given = {"directory": str(tmp_path), "by": "vera", "reason": "from before"}
        kept = await call(loom, "subjects.prune_clear", **given)
        assert kept["file"] is None
        assert kept["left"]["scan-desk/d"].startswith("retention keeps it until")
        done = await call(loom, "subjects.prune_clear", **given, override="they are from before")
        assert done["journals"] == {"scan-desk/d": 6}
        assert done["left"] == {"scan-desk/p": "the subject of [payload/note] of sequence [1] is not named"}
        assert [each["journal"] for each in await call(loom, "subjects.scan")] == ["scan-desk/p"]
        assert await loom.replay.state("scan-desk/d") == ["written", "written"]
        archive = Archive(Path(done["file"]), vault=loom.subjects.vault)
        bodies = [each.body async for each in archive.read("scan-desk/d") if each.body is not None]
        assert len(bodies) == 6
        assert any(b"ada " + EMAIL.encode() in each for each in bodies)
        await loom.subjects.erase("ada", by="vera", reason="she asked")
        bodies = [each.body async for each in archive.read("scan-desk/d") if each.body is not None]
        assert len(bodies) == 3
        assert not any(b"ada " in each for each in bodies)
        archive.close()
    async with opened(data, desk) as loom:
        await loom.actor(desk, "d").ask(apply(customer="cy", email=EMAIL, phone=PHONE))
        assert await loom.replay.state("scan-desk/d") == ["written"], "that of bob is there still"
    assert verify(data / "default" / "journal.db", workspace="default").ok
    raw = stored(data)
    assert EMAIL.encode() not in raw
    assert PHONE.encode() not in raw
