"""Standings: automation takes away at once, a person gives back, and what cannot be written still holds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from loom import Loom, LoomConfig
from loom.errors import AdmissionError, DiskFullError, InvalidNameError, SelfReinstatementError, StandingError
from loom.identity import Identity


def opened(path: Path) -> Loom:
    return Loom.open(LoomConfig(data=path), by="mira")


async def test_a_standing_lasts_and_says_who_and_why(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        assert loom.standings.of("a").standing == "ACTIVE"
        await loom.standings.suspend("a", by="a monitor", reason="drift", trigger="system", cause="d-1")
        await loom.standings.suspend("a", by="another", reason="again", trigger="system")
        await loom.standings.suspend("b", by="mira", reason="holiday")
    async with opened(tmp_path) as loom:
        standing = loom.standings.of("a")
        assert (standing.standing, standing.by, standing.reason, standing.cause) == (
            "SUSPENDED",
            "a monitor",
            "drift",
            "d-1",
        )
        assert [each.subject for each in loom.standings.all()] == ["a", "b"]
        await loom.standings.reinstate("a", by="jonas", reason="looked into")
        assert loom.standings.of("a").standing == "ACTIVE"
        await loom.standings.retire("a", by="jonas", reason="replaced")
        with pytest.raises(StandingError, match=r"\[a\] is \[RETIRED\]"):
            await loom.standings.reinstate("a", by="jonas", reason="back")
        await loom.standings.suspend("a", by="mira", reason="late")
        assert loom.standings.of("a").standing == "RETIRED", "there is nothing left to take away"
        kinds = [each.kind async for each in loom.store.read("loom/standings")]
        assert kinds == ["standing_changed"] * 4


async def test_only_a_named_person_gives_back_and_always_with_a_reason(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.standings.suspend("a", by="m", reason="r", trigger="system")
        for by, reason, error in (("", "r", InvalidNameError), ("mira", "", AdmissionError)):
            with pytest.raises(error):
                await loom.standings.reinstate("a", by=by, reason=reason)
        with pytest.raises(InvalidNameError):
            await loom.standings.suspend("", by="mira", reason="r")


async def test_a_suspension_that_cannot_be_written_holds_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as loom:

        async def refuse(_: Any) -> Any:
            raise DiskFullError("disk is full; expected room: make some")

        with monkeypatch.context() as patch:
            patch.setattr(loom.store, "append", refuse)
            with pytest.raises(DiskFullError):
                await loom.standings.suspend("a", by="m", reason="r", trigger="system")
        assert loom.standings.of("a").standing == "SUSPENDED"
        await loom.standings.reinstate("a", by="mira", reason="there is room again")
        assert loom.standings.of("a").standing == "ACTIVE"


async def test_of_many_suspensions_at_once_one_is_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await asyncio.gather(*(loom.standings.suspend("a", by=f"m{n}", reason="r", trigger="system") for n in range(9)))
        assert len([each async for each in loom.store.read("loom/standings")]) == 1


@pytest.mark.parametrize(
    "by", ["agent-1", "Agent-1", "ＡＧＥＮＴ-1", "gate/agent-1", Identity("agent-1", "api_key:7", "http")]
)
async def test_nobody_reinstates_himself(tmp_path: Path, by: str | Identity) -> None:
    async with opened(tmp_path) as loom:
        await loom.standings.suspend("agent-1", by="monitor drift", reason="drift", trigger="system")
        with pytest.raises(SelfReinstatementError, match="expected another person"):
            await loom.standings.reinstate("agent-1", by=by, reason="I am fine")
        assert loom.standings.of("agent-1").standing == "SUSPENDED"
        await loom.standings.reinstate("agent-1", by="jonas", reason="looked into")
        assert loom.standings.of("agent-1").standing == "ACTIVE"


async def test_a_standing_says_where_the_name_of_its_author_comes_from(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        suspended = await loom.standings.suspend("a", by="monitor drift", reason="drift", trigger="system")
        assert str(suspended.identity) == "monitor drift (system)"
        for who, shown in (("mira", "mira (claimed, via python)"), (Identity("mira", "api_key:7", "http"), None)):
            standing = await loom.standings.reinstate("a", by=who, reason="looked into")
            assert str(standing.identity) == (shown or "mira (api_key:7, via http)")
            await loom.standings.suspend("a", by="mira", reason="again")
    async with opened(tmp_path) as loom:
        assert str(loom.standings.of("a").identity) == "mira (claimed, via python)"
