"""Proof to a stranger: the Merkle tree of a workspace, signed checkpoints of it, witnesses, and anchors elsewhere."""

from __future__ import annotations

from loom.proof.errors import ProofError, TreeIncompleteError
from loom.proof.tree import ProofTree, tree_of

__all__ = ["ProofError", "ProofTree", "TreeIncompleteError", "tree_of"]
