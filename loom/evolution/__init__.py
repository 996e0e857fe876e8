"""Evolution: exceptions that became frequent, and suggestions to make them rules. Only people adopt them."""

from __future__ import annotations

from loom.evolution.patterns import ExceptionCase, ExceptionPattern, mine
from loom.evolution.suggestions import Suggestion, Suggestions

__all__ = ["ExceptionCase", "ExceptionPattern", "Suggestion", "Suggestions", "mine"]
