"""Vectors of texts for tests: how often each letter occurs. A config may name the function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

__all__ = ["LETTERS", "by_letters"]

LETTERS = "abcdefghijklmnopqrstuvwxyz"


async def by_letters(texts: Sequence[str]) -> list[list[float]]:
    """Return for each text how often it has each letter."""
    return [[float(Counter(text.casefold())[letter]) for letter in LETTERS] for text in texts]
