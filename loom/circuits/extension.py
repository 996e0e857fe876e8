"""Circuits as an extension: what they bring to a loom."""

from __future__ import annotations

from loom.circuits.circuits import Circuits
from loom.circuits.view import CircuitsProjection
from loom.extension import Extension

__all__ = ["extension"]

extension = Extension(name="circuits", projections=(CircuitsProjection(),), start=Circuits.open)
