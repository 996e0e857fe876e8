"""Parking: a turn that waits for people, and does nothing else, lets other turns of its actor run.

Every step counts as busy from its beginning to its end, except while it waits for an answer. When no step is busy and
one waits, the code of the turn gets some rounds of the event loop to begin another step. After that the turn is parked,
once, and `on_parked` releases the actor's lock. The turn takes the lock again before it continues for real.
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
"""An answer, the time when it was recorded, and its entry."""


class Parking:
    """The steps of a turn that are in progress, those of them that wait for people, and the answers."""

    def __init__(self, on_parked: Callable[[], None]) -> None:
        self._on_parked = on_parked
        self._busy = 0
        self._waiting = 0
        self._looking = False
        self._answers: dict[str, asyncio.Future[Answer]] = {}

    @property
    def parked(self) -> bool:
        """Whether a step waits for people and no other step is in progress."""
        return self._waiting > 0 and self._busy == 0

    def step_begins(self) -> None:
        """Note the beginning of a step."""
        self._busy += 1

    def step_ends(self) -> None:
        """Note the end of a step."""
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
        """Deliver an answer; only the first answer counts."""
        future = self._answer_to(answer[0].approval_id)
        if not future.done():
            future.set_result(answer)

    def _answer_to(self, approval_id: str) -> asyncio.Future[Answer]:
        future = self._answers.get(approval_id)
        if future is None:
            future = self._answers[approval_id] = asyncio.get_running_loop().create_future()
        return future

    def _look_soon(self) -> None:
        """Check whether the turn is parked, after its code has had the chance to begin another step."""
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
