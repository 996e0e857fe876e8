"""The verb of an actor whose code has changed while turns were in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from loom.actors import verbs
from loom.actors.turn_context import current_turn

if TYPE_CHECKING:
    from loom.actors.ports import Decider

__all__ = ["ChangingVerbs"]


class ChangingVerbs:
    """How an actor's code may change: base of `Actor`."""

    def version(self, change: str, newest: int) -> int:
        """Return which version of a change this turn follows, as in `if self.version("triage", 2) >= 2:`.

        A turn that begins now follows the `newest`. One that was in flight follows the version that it has followed:
        1, which is the code before the change, while it repeats recorded steps that do not say. The answer is
        journaled, and is the same in all of a turn. `loom versions` shows when no turn follows an old branch any more.

        Raises `AdmissionError` for a blank name, or a version below 1. A turn that follows a version above `newest` is
        stopped as a divergence: the code of its branch is missing.
        """
        return verbs.version(current_turn(cast("Decider", self), "version"), change, newest)
