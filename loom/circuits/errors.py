"""The errors of circuits."""

from __future__ import annotations

from collections.abc import Sequence

from loom.errors import LoomError

__all__ = ["CircuitDependencyError"]


class CircuitDependencyError(LoomError):
    """An execution is acted on that lacks a success of circuits which have to succeed first.

    To do: run the circuits that it depends on first.
    """

    kind = "conflict"

    @classmethod
    def of(cls, execution_id: str, missing: Sequence[str]) -> CircuitDependencyError:
        """Return the error of an execution that has not had these circuits succeed."""
        return cls(
            f"execution [{execution_id:.80}] has no success of [{', '.join(missing)}]; expected it before anyone "
            "acts on it: run these circuits first"
        )
