"""Proof to a stranger: the Merkle tree of a workspace, signed checkpoints of it, witnesses, and anchors elsewhere."""

from __future__ import annotations

from loom.proof.checkpoints import Checkpoints
from loom.proof.errors import CutError, ForkError, NoteError, ProofError, TreeIncompleteError
from loom.proof.log import CheckpointLog, SignedCheckpoint
from loom.proof.notes import Checkpoint, Note, VerifyingKey
from loom.proof.tree import Inclusion, ProofTree, tree_of

__all__ = [
    "Checkpoint",
    "CheckpointLog",
    "Checkpoints",
    "CutError",
    "ForkError",
    "Inclusion",
    "Note",
    "NoteError",
    "ProofError",
    "ProofTree",
    "SignedCheckpoint",
    "TreeIncompleteError",
    "VerifyingKey",
    "tree_of",
]
