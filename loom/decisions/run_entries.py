"""The entries of a run: it began, and it ended."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import Field, JsonValue

from loom.decisions.decision import PolicyReference
from loom.journal.entry import PersonEntry

__all__ = ["RunEndedEntry", "RunEnding", "RunKind", "RunStartedEntry"]

RunKind: TypeAlias = Literal["live", "simulation", "replay", "import"]
"""Whether a run decided real cases or made-up ones, decided earlier cases again, or imported history."""

RunEnding: TypeAlias = Literal["completed", "failed", "abandoned"]
"""How a run ended: normally, with an error, or abandoned by a person."""


class RunStartedEntry(PersonEntry):
    """A run began, in the journal `loom/runs`. `policies` are the versions that it is meant to use."""

    kind: ClassVar[str] = "run_started"
    schema_version: ClassVar[int] = 3

    run_id: str
    run_kind: RunKind
    by: str
    policies: tuple[PolicyReference, ...] = ()
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    seed: int | str | None = None
    note: str | None = None

    @classmethod
    def upcast(cls, version: int, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of schema 2 as it is: schema 3 adds imports."""
        return body if version == 2 else super().upcast(version, body)


class RunEndedEntry(PersonEntry):
    """A run ended. `result` has numbers from the caller, such as the totals of a replay."""

    kind: ClassVar[str] = "run_ended"
    schema_version: ClassVar[int] = 2

    run_id: str
    status: RunEnding
    by: str
    reason: str | None = None
    result: JsonValue = None
