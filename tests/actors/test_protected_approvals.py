"""What an approver is shown: sealed for everybody, opened for whom the request names, and that is journaled first."""

from __future__ import annotations

import asyncio
import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from loom.errors import ConfigError, NotAReaderError
from loom.identity import Edge, Identity
from loom.operations import Operations
from loom.sealing import MASTER_KEY, SealedOpenedEntry, is_sealed
from tests.actors.test_protected_facts import AGE, NOTE, Desk, judge, master, opened, written
from tests.cli.support import invoke

__all__ = ["master"]

GUARDIAN = Identity("Guardian", "api_key:0123456789abcdef", "http")
PLAIN = {"age": AGE, "note": NOTE, "percent": 5}


async def waiting(loom: Any) -> str:
    await loom.actor(Desk, "c7").tell(judge("ask"), id="one")
    while not (found := await loom.approvals.pending()):
        await asyncio.sleep(0)
    assert is_sealed(found[0].facts["age"])
    return str(found[0].approval_id)


async def openings(loom: Any) -> list[SealedOpenedEntry]:
    return [each.entry async for each in loom.store.read("loom/access")]


async def test_whom_the_request_names_sees_it_opened_and_others_do_not(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        asked = await waiting(loom)
        for refused in (
            "guardian",
            Identity("guardian", "claimed", "http"),
            Identity("vera", "api_key:0123456789abcdef", "http"),
        ):
            with pytest.raises(NotAReaderError):
                await loom.approvals.shown(asked, by=refused)
        with pytest.raises(NotAReaderError):
            await Operations(loom).call("approvals.show", {"id": asked, "by": "guardian"}, edge=Edge("http"))
        assert await openings(loom) == []
        shown = await loom.approvals.shown(asked[:12], by=GUARDIAN)
        assert shown.facts == PLAIN
        [entry] = await openings(loom)
        assert (entry.purpose, entry.subjects, entry.identity) == ("approval", ("c-7",), GUARDIAN)
        assert entry.what == {"approval_id": asked, "journal": "desk/c7", "shown": shown.shown}
        assert entry.reason == "asked for consent: [sealed], she is a minor"
        await loom.subjects.erase("c-7", by="vera", reason="she asked for it")
        after = await loom.approvals.shown(asked, by=GUARDIAN)
        assert after.facts == {"age": "erased", "note": "erased", "percent": 5}
        assert len(await openings(loom)) == 1, "nothing was opened"
    assert NOTE.encode() not in written(tmp_path)


async def test_without_a_vault_nothing_is_shown(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        asked = await waiting(loom)
    async with opened(tmp_path, sealing=False, resume=False) as loom:
        with pytest.raises(ConfigError, match="there is no vault"):
            await loom.approvals.shown(asked, by=GUARDIAN)


@pytest.mark.sqlite("the shell, which opens the file itself")
async def test_the_shell_shows_it_sealed_and_opens_it_for_the_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr("tests.actors.test_protected_facts.GUARDIAN", account)
    async with opened(tmp_path / "data") as loom:
        asked = await waiting(loom)
    config = tmp_path / "loom.config.yaml"
    config.write_text("data: data\nsealing: {enabled: true}\n")
    assert os.environ[MASTER_KEY]

    def said(*arguments: str) -> Any:
        return invoke("approvals", asked, *arguments, config=config)

    listed = await asyncio.to_thread(said)
    assert "age=[sealed], note=[sealed], percent=5" in listed.out
    refused = await asyncio.to_thread(said, "--open", "--by", "somebody-else")
    assert (refused.code, NOTE in refused.out + refused.err) == (1, False)
    shown = await asyncio.to_thread(said, "--open", "--by", account)
    assert f"age={AGE}, note={NOTE}, percent=5" in shown.out
    missing = await asyncio.to_thread(said, "--open")
    assert missing.code == 2
