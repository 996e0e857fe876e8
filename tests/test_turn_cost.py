"""What a turn costs, in ways that a busy machine does not change."""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.workload import BenchAgent, DecideOnce
from loom import Loom
from loom.actors.entries import EffectIntendedEntry, EffectPerformedEntry
from loom.decisions.entries import ContextGatheredEntry, DecisionJournalEntry, EvaluatedEntry, PrecedentReferencedEntry
from loom.journal.kinds import CommandReceivedEntry, TurnCompletedEntry
from loom.journal.serialisation import _checked

_CALLS = 455
"""Calls of Python functions on the event loop's thread, in a turn of five entries: to be lowered as it falls.

Those of the event loop itself and of the projector are left out: how often they go round depends on how busy the
machine is.
"""
_LOOP = (os.path.dirname(asyncio.__file__), selectors.__file__, threading.__file__)


async def test_a_turn_makes_no_more_calls_than_it_did(tmp_path: Path) -> None:
    turns, calls = 50, 0

    def count(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls
        if event == "call" and not frame.f_code.co_filename.startswith(_LOOP):
            task = asyncio.current_task()
            calls += task is None or not task.get_name().startswith("loom-projector")

    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[BenchAgent], by="robin") as loom:
        actor = loom.actor(BenchAgent, "one")
        for _ in range(3):
            await actor.ask(DecideOnce(customer="acme", percent=5))
        await loom.reached()
        sys.setprofile(count)
        try:
            for _ in range(turns):
                await actor.ask(DecideOnce(customer="acme", percent=5))
        finally:
            sys.setprofile(None)

    assert calls / turns <= _CALLS


def test_what_turns_write_is_serialised_once() -> None:
    written = (
        CommandReceivedEntry,
        ContextGatheredEntry,
        EvaluatedEntry,
        PrecedentReferencedEntry,
        DecisionJournalEntry,
        EffectIntendedEntry,
        EffectPerformedEntry,
        TurnCompletedEntry,
    )
    assert [each.kind for each in written if not _checked(each)] == []
