"""Agents vote on motions, a registered rule decides, and the chair breaks ties."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loom.lazy import lazily

if TYPE_CHECKING:
    from consensus.board import Board
    from consensus.errors import MotionClosedError, NotAVoterError
    from consensus.motion import Motion, Result
    from consensus.rule import Quorum, Tally, quorum
    from consensus.wing import extension

__all__ = [
    "Board",
    "Motion",
    "MotionClosedError",
    "NotAVoterError",
    "Quorum",
    "Result",
    "Tally",
    "extension",
    "quorum",
]

if not TYPE_CHECKING:
    __getattr__ = lazily(__name__, ".board .errors .motion .rule .wing")
