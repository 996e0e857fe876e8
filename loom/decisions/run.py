"""A run: decisions that belong together, because they were made, simulated or replayed together."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, JsonValue

from loom.clock import datetime_from_us
from loom.decisions.decision import PolicyReference
from loom.decisions.entries import RunEndedEntry, RunEnding, RunKind, RunStartedEntry
from loom.identity import Identity
from loom.projections import Row

__all__ = ["Run", "RunStatus", "VersionSeen"]

RunStatus: TypeAlias = Literal["open"] | RunEnding
"""`open` until the end of the run is recorded. If its process dies, the run stays open."""


class VersionSeen(BaseModel):
    """A policy version that judged decisions of a run, and their number."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    hash: str
    decisions: int


class Run(BaseModel):
    """One run: how it was started, how it ended, and the counts of its decisions where they were looked up.

    `policies` and `parameters` are given at the start; `versions` are those that its decisions name. A run that comes
    from `start` or `end` has no counts: `get` and `find` return them. Decisions of turns that outlast the run count
    as well. The counts come from the views; everything else comes from the journal of runs.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    position: int
    """The position of its start in the workspace: runs are ordered by it."""
    kind: RunKind
    status: RunStatus
    by: str
    identity_source: str | None = None
    via: str | None = None
    started_at: datetime
    policies: tuple[PolicyReference, ...]
    parameters: dict[str, JsonValue]
    seed: int | str | None
    note: str | None
    ended_at: datetime | None = None
    ended_by: str | None = None
    ended_identity_source: str | None = None
    ended_via: str | None = None
    reason: str | None = None
    result: JsonValue = None
    decisions: int = 0
    actors: int = 0
    versions: tuple[VersionSeen, ...] = ()
    first_decision_at: datetime | None = None
    last_decision_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether no end is recorded yet."""
        return self.status == "open"

    @property
    def starter(self) -> Identity:
        """Who started it, and the source of the name."""
        return Identity(self.by, self.identity_source, self.via)

    @property
    def ender(self) -> Identity | None:
        """Who ended it, and the source of the name; None while it is open."""
        by, source, via = self.ended_by, self.ended_identity_source, self.ended_via
        return None if by is None else Identity(by, source, via)

    @property
    def duration_s(self) -> float | None:
        """The duration in seconds; None while it is open."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()

    @classmethod
    def begun(cls, entry: RunStartedEntry, *, position: int, at: datetime) -> Run:
        """Return the run that an entry began."""
        return cls(
            run_id=entry.run_id,
            position=position,
            kind=entry.run_kind,
            status="open",
            by=entry.by,
            identity_source=entry.identity_source,
            via=entry.via,
            started_at=at,
            policies=entry.policies,
            parameters=entry.parameters,
            seed=entry.seed,
            note=entry.note,
        )

    def ended(self, entry: RunEndedEntry, *, at: datetime) -> Run:
        """Return the run as it is after the entry that ended it."""
        ending = {"status": entry.status, "ended_at": at, "reason": entry.reason, "result": entry.result}
        who = {"ended_by": entry.by, "ended_identity_source": entry.identity_source, "ended_via": entry.via}
        return self.model_copy(update={**ending, **who})

    def counted(self, row: Row) -> Run:
        """Return the run with the counts from a row of the views."""
        return self.model_copy(
            update={
                "decisions": row["decisions"],
                "actors": row["actors"],
                "versions": tuple(VersionSeen(**each) for each in json.loads(row["versions"])),
                "first_decision_at": datetime_from_us(row["first_at_us"]),
                "last_decision_at": datetime_from_us(row["last_at_us"]),
            }
        )
