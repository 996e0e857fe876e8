"""What the tests of the mutation score try themselves on: half of it is judged by tests, half of it is not."""

from __future__ import annotations

__all__ = ["LIMIT", "is_adult", "is_far"]

LIMIT = 18


def is_adult(age: int) -> bool:
    """Tell whether an age is that of an adult; every mutant of it is found out."""
    return age >= LIMIT


def is_far(distance: int, *, limit: int = 100) -> bool:
    """Tell whether something is far; no test asks for the answer, so every mutant of it survives."""
    if distance > limit:
        return True
    return distance + limit == 0
