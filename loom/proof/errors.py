"""The errors of proofs, checkpoints and anchors."""

from __future__ import annotations

from loom.errors import AnswerKind, LoomError

__all__ = ["ProofError", "TreeIncompleteError"]


class ProofError(LoomError):
    """Something that was to prove something does not: a note, a key, a signature, a tree."""

    kind: AnswerKind = "invalid"


class TreeIncompleteError(ProofError):
    """The journal has a hole, or cannot be read: there is no tree over all of its entries."""

    kind: AnswerKind = "fault"
