"""The entries of a run: it began, and it ended."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import Field, JsonValue

from loom.decisions.decision import PolicyReference
from loom.journal.entry import PersonEntry

__all__ = ["RunEndedEntry", "RunEnding", "RunKind", "RunStartedEntry"]

RunKind: TypeAlias = Literal["live", "simulation", "replay", "import"]
"""Whether a run decided for real, about made-up cases, again about what was decided before, or brought history in."""

RunEnding: TypeAlias = Literal["completed", "failed", "abandoned"]
"""How a run ended: as it should, with an error, or because somebody gave it up."""


class RunStartedEntry(PersonEntry):
    """A run began, in the journal `loom/runs`. `policies` are the versions that it is meant to decide under."""

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
        """Return a body of schema 2 as it is: 3 knows imports, too."""
        return body if version == 2 else super().upcast(version, body)


class RunEndedEntry(PersonEntry):
    """A run ended. `result` is what whoever ended it has to say in numbers, such as the totals of a replay."""

    kind: ClassVar[str] = "run_ended"
    schema_version: ClassVar[int] = 2

    run_id: str
    status: RunEnding
    by: str
    reason: str | None = None
    result: JsonValue = None
