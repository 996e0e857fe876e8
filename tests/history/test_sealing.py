"""Imported values that are sealed for whom they are about: before they are written, and gone with their key."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loom import Loom, LoomConfig
from loom.errors import ImportMapError, ImportRefusedError
from loom.sealing import MASTER_KEY, SealingConfig, is_sealed
from tests.history.support import bank, rows

SECRET = "Wernigerode"
FACTS = {
    "amount": {"column": "amount", "as": "integer"},
    "town": {"seal": {"column": "town", "subject": "client"}},
}


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())


@asynccontextmanager
async def opened(path: Path, *, enabled: bool = True) -> AsyncIterator[Loom]:
    config = LoomConfig(data=path, sections={"sealing": SealingConfig(enabled=enabled)})
    async with Loom.open(config, by="mira") as loom:
        yield loom


def given(count: int = 3) -> list[dict[str, str]]:
    return [{**each, "town": f"{SECRET} {at}", "client": f"c-{at % 2}"} for at, each in enumerate(rows(count))]


async def decisions(loom: Loom) -> list[dict[str, Any]]:
    found = [each.plain async for each in loom.store.read_all() if each.kind == "decision_observed"]
    return [each["decision"] for each in found if each is not None]


async def test_sealed_values_are_in_no_file_open_for_their_subject_and_are_recognised_again(tmp_path: Path) -> None:
    mapped = bank(facts=FACTS)
    async with opened(tmp_path) as loom:
        report = await loom.history.check(given(), mapped)
        assert report.ok
        assert "3 values are sealed for whom they are about" in report.notes
        assert not await loom.subjects.opened_vault().knows("c-0"), "a dry run makes no keys"
        done = await loom.history.load(given(), mapped, by="vera")
        assert done.written == 3
        vault = loom.subjects.opened_vault()
        towns = [each["facts"]["town"] for each in await decisions(loom)]
        assert all(is_sealed(each) for each in towns)
        opened_towns = {await vault.open(each, subject=each["subject"]) for each in towns}
        assert opened_towns == {f"{SECRET} {at}" for at in range(3)}
        again = await loom.history.check(given(), mapped)
        assert (again.same, again.good) == (3, 0)
        other = [{**given()[0], "town": "Ulm"}, *given()[1:]]
        assert [each.code for each in (await loom.history.check(other, mapped)).problems] == ["differs"]
        await loom.subjects.erase("c-1", by="vera", reason="asked for it")
        late = await loom.history.check(given(5), mapped)
        assert [(each.row, each.code) for each in late.problems if each.code == "erased"] == [
            (2, "erased"),
            (4, "erased"),
        ]
    held = b"".join(each.read_bytes() for each in (tmp_path / "default").glob("journal*") if each.is_file())
    assert SECRET.encode() not in held


async def test_a_value_that_is_sealed_for_nobody_or_is_a_name_itself_is_refused_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    mapped = bank(facts=FACTS)
    bad = given(4)
    bad[0]["client"] = " "
    bad[1]["client"] = "e\u0301"
    bad[2]["town"] = bad[2]["client"]
    async with opened(tmp_path) as loom:
        with pytest.raises(ImportRefusedError, match="names no subject") as refused:
            await loom.history.load(bad, mapped, by="vera")
        report: Any = refused.value.report
        assert [each.code for each in report.problems] == ["no_subject", "bad_subject", "in_clear"]
        assert await loom.traces.find() == ()
    async with opened(tmp_path, enabled=False) as loom:
        with pytest.raises(ImportMapError, match="there is no vault"):
            await loom.history.check(given(), mapped)


async def test_protect_seals_for_whom_the_map_names_and_what_is_not_there_is_not_sealed(tmp_path: Path) -> None:
    mapped = bank(
        protect={"facts.town": "seal", "context.note": "seal"},
        subject={"column": "client"},
        context={"note": {"column": "note"}},
    )
    some = [{**each, "note": "" if at else SECRET} for at, each in enumerate(given(2))]
    async with opened(tmp_path) as loom:
        await loom.history.load(some, mapped, by="vera")
        found = await decisions(loom)
        assert all(is_sealed(each["facts"]["town"]) for each in found)
        assert sorted(is_sealed(each["context"].get("note")) for each in found) == [False, True]
        assert {each["context"]["subject"] for each in found} == {"c-0", "c-1"}
