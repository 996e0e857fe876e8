"""The part of consensus in an open loom: motions are proposed, voted on and closed through it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from consensus.errors import MotionClosedError, NotAVoterError
from consensus.motion import Choice, Close, Motion, Propose, Result, Vote
from consensus.view import read_motions
from loom.errors import AskTimeoutError
from loom.ext import By, Host, Section

__all__ = ["Board", "ConsensusConfig"]


class ConsensusConfig(Section):
    """Who breaks ties."""

    chair: str = "chair"


class Board:
    """`host.part(Board)`, or `loom.part(Board)`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, host: Host) -> AsyncIterator[Board]:
        """Yield the board of an open loom, once motions are known to it."""
        section = host.config.sections.get("consensus")
        config = section if isinstance(section, ConsensusConfig) else ConsensusConfig()
        await host.register(Motion, lambda: Motion(config.chair))
        yield cls(host)

    async def propose(self, motion: str, title: str, voters: Sequence[str], *, by: By) -> Result:
        """Put a motion to the vote; raise `MotionClosedError` where there is one of that name."""
        command = Propose(title=title, voters=tuple(voters))
        return _checked(await self._host.actor(Motion, motion).ask(command, by=by))

    async def vote(self, motion: str, choice: Choice, *, voter: str, by: By) -> Result:
        """Vote, or change a vote; raise `MotionClosedError` or `NotAVoterError`."""
        return _checked(await self._host.actor(Motion, motion).ask(Vote(voter=voter, choice=choice), by=by))

    async def close(self, motion: str, *, by: By, timeout_s: float | None = None) -> Result:
        """Take no more votes, and decide. Raises `MotionClosedError`.

        A tie waits for the chair; after `timeout_s` the result says neither that it is carried nor that it is lost.
        """
        try:
            return _checked(await self._host.actor(Motion, motion).ask(Close(), by=by, timeout_s=timeout_s))
        except AskTimeoutError:
            return Result(motion=motion)

    async def motions(self) -> list[dict[str, Any]]:
        """Return every motion, by name, and how it stands."""
        return await read_motions(self._host.queries)


def _checked(result: Result) -> Result:
    if result.refused == "closed":
        raise MotionClosedError(
            f"motion [{result.motion}] takes no such thing now; expected one that is open for votes: see "
            "`loom consensus`"
        )
    if result.refused == "not_a_voter":
        raise NotAVoterError(
            f"motion [{result.motion}] is not for this voter; expected one of its voters: ask who proposed it"
        )
    return result
