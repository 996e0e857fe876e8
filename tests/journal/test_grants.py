"""`verify` names grants by those who had asked, and entries of clocks that were ahead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loom.clock import SystemClock
from loom.journal import Append, Entry, TurnCompletedEntry, draft
from loom.journal.sqlite import SqliteStore
from loom.journal.sqlite.verify import Verification, verify
from tests.journal.support import PLENTY, START_US, SetClock, notes
from tests.projections.journals import answer, command, request

MINUTE_US = 60_000_000


async def write(path: Path, *entries: Entry, journal: str = "a/1", turn: str | None = "t") -> None:
    store = await SqliteStore.open(path, options=PLENTY)
    try:
        head = await store.head(journal)
        await store.append(Append(journal, head.sequence, [draft(each, command_id=turn) for each in entries]))
    finally:
        await store.close()


def said(path: Path, code: str) -> list[tuple[Any, ...]]:
    found: Verification = verify(path)
    return [(each.journal, each.sequence, each.position) for each in found.findings if each.code == code]


@pytest.mark.parametrize("by", ["ana", "ANA", "\uff21na"])
async def test_a_grant_by_its_own_requester_is_a_finding_with_its_place(tmp_path: Path, by: str) -> None:
    path = tmp_path / "journal.db"
    await write(path, command(), request("one"), journal="a/2")
    await write(path, command(), request("one"), answer("one", by=by))
    assert said(path, "SELF_GRANTED") == [("a/1", 3, 5)]
    assert not verify(path).ok
    assert any(f"[{by}] granted approval" in line and "[ana]" in line for line in verify(path).lines())


async def test_answers_of_other_people_denials_and_deadlines_are_no_findings(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await write(path, command(), request("one"), answer("one", by="maria"))
    await write(path, command(), request("two"), answer("two", by="ana", granted=False), turn="u")
    await write(path, command(), request("three"), answer("three", by=None, granted=False), turn="v")
    await write(path, command(by=None), request("four", requested_by=None), answer("four"), turn="w")
    await write(path, answer("one", by="ana"), journal="a/9", turn="elsewhere")
    assert verify(path).ok


async def test_a_grant_by_the_requester_that_came_too_late_to_count_is_named_as_well(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await write(path, command(), request("one"), answer("one", granted=False), answer("one", by="ana"))
    await write(path, TurnCompletedEntry(reply=None), answer("one", by="ana"))
    assert said(path, "SELF_GRANTED") == [("a/1", 4, 4)]  # what comes after the end belongs to no turn


# --- clocks -------------------------------------------------------------------------------------


async def journal_of(path: Path, *said_us: int) -> None:
    """Write an entry each time that a clock says."""
    clock = SetClock()
    store = await SqliteStore.open(path, options=PLENTY, clock=clock)
    for sequence, us in enumerate(said_us):
        clock.us = us
        await store.append(notes("a/1", sequence))
    await store.close()


async def test_an_entry_of_a_clock_that_was_ahead_is_told_and_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    year_us = 365 * 86_400 * 1_000_000
    await journal_of(
        path, START_US, START_US + year_us, START_US + 1, START_US + 2, START_US + 2 * year_us, START_US + 3
    )
    assert said(path, "CLOCK_AHEAD") == [(None, None, 2), (None, None, 5)]
    assert verify(path).ok
    assert any(f"ahead by {365 * 86_400 - 1} s" in line for line in verify(path).lines())


async def test_an_entry_of_the_future_is_told(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    now_us = SystemClock().now_us()
    await journal_of(path, START_US, now_us + 60 * MINUTE_US, now_us + 61 * MINUTE_US)
    assert said(path, "CLOCK_AHEAD") == [(None, None, 3)]


async def test_ten_minutes_are_nothing_to_speak_of(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await journal_of(path, START_US, START_US + 10 * MINUTE_US, START_US, START_US + 1)
    assert said(path, "CLOCK_AHEAD") == []
