"""Parking: a turn that waits for people, and has nothing else under way, lets other turns of its actor run.

Every step counts as busy from its beginning to its end, except while it waits for an answer. When nothing is busy and
something waits, the code of the turn gets some rounds of the event loop to begin another step; after that the turn is
parked, once, and `on_parked` gives the actor's lock back. It takes the lock again before it goes on for real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from loom.actors.steps import REACTION
from loom.decisions.entries import ApprovalAnsweredEntry
from loom.journal.entry import StepReference

__all__ = ["Answer", "Parking"]

Answer: TypeAlias = tuple[ApprovalAnsweredEntry, datetime, StepReference]
"""What somebody answered, when that was recorded, and which entry says so."""


class Parking:
    """Which steps of a turn are under way, which of them wait for people, and what was answered."""

    def __init__(self, on_parked: Callable[[], None]) -> None:
        self._on_parked = on_parked
        self._busy = 0
        self._waiting = 0
        self._looking = False
        self._answers: dict[str, asyncio.Future[Answer]] = {}

    @property
    def parked(self) -> bool:
        """Whether something waits for people and nothing else is under way."""
        return self._waiting > 0 and self._busy == 0

    def step_begins(self) -> None:
        """Take note of a step that is under way."""
        self._busy += 1

    def step_ends(self) -> None:
        """Take note of the end of a step."""
        self._busy -= 1
        if self._waiting:
            self._look_soon()

    async def wait_for(self, approval_id: str) -> Answer:
        """Wait for a person; other turns of the actor may run in the meantime."""
        answer = self._answer_to(approval_id)
        self._waiting += 1
        self._busy -= 1
        self._look_soon()
        try:
            return await asyncio.shield(answer)
        finally:
            self._waiting -= 1
            self._busy += 1

    def answered(self, approval_id: str) -> bool:
        """Tell whether a request has its answer."""
        return self._answer_to(approval_id).done()

    def answer(self, answer: Answer) -> None:
        """Hand in what somebody answered; only the first answer counts."""
        future = self._answer_to(answer[0].approval_id)
        if not future.done():
            future.set_result(answer)

    def _answer_to(self, approval_id: str) -> asyncio.Future[Answer]:
        future = self._answers.get(approval_id)
        if future is None:
            future = self._answers[approval_id] = asyncio.get_running_loop().create_future()
        return future

    def _look_soon(self) -> None:
        """Look whether the turn is parked once its code has had the chance to begin another step."""
        if not self._looking:
            self._looking = True
            self._look(REACTION)

    def _look(self, rounds: int) -> None:
        if rounds and self.parked:
            asyncio.get_running_loop().call_soon(self._look, rounds - 1)
            return
        self._looking = False
        if self.parked:
            self._on_parked()
