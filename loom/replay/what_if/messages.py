"""Messages between a server and the process that judges for it: a length of four bytes, then JSON."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from loom.replay.what_if.results import Sweep, TrialResult

__all__ = ["HEADER_BYTES", "MOST_BYTES", "Answered", "Job", "framed"]

HEADER_BYTES = 4
MOST_BYTES = 64 * 1_048_576


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Job(_Message):
    """One question of a session: an edited table over the decisions of its policy in a journal.

    `base` and `edited` are tables as plain data. `sweeps` names a parameter to try other values of; without it the
    edited table is judged.
    """

    number: int
    session: str
    journal: str
    base: dict[str, Any]
    edited: dict[str, Any]
    listed: int = 50
    sweeps: str | None = None
    most: int


class Answered(_Message):
    """The answer to a job: a result, or that it was dropped, or what is wrong with it."""

    number: int
    result: TrialResult | None = None
    sweep: Sweep | None = None
    dropped: bool = False
    refused: str | None = None


def framed(message: BaseModel) -> bytes:
    """Return a message as it is sent."""
    body = message.model_dump_json().encode()
    return len(body).to_bytes(HEADER_BYTES) + body
