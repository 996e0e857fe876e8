"""What goes wrong with votes. The kind says how the shell ends; the status over HTTP is in `consensus.wing`."""

from __future__ import annotations

from loom.ext import LoomError

__all__ = ["MotionClosedError", "NotAVoterError"]


class MotionClosedError(LoomError):
    """A vote on a motion that takes none: it was not proposed, or it is closed."""

    kind = "conflict"


class NotAVoterError(LoomError):
    """A vote in a name that may not vote on this motion."""

    kind = "refused"
