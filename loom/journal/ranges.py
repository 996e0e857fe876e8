"""Contiguous ranges of sequences of a journal, with the subjects whom their bodies concern."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["BodyRange", "ranges_of", "within"]


class BodyRange(BaseModel):
    """The bodies of a journal from one sequence up to and with another, all of which concern the same subjects."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: int = Field(ge=1)
    last: int = Field(ge=1)
    subjects: dict[str, int] = Field(default_factory=dict)
    """Subject → the newest generation of its keys then; empty if the bodies concern no subject."""

    def __contains__(self, sequence: object) -> bool:
        return isinstance(sequence, int) and self.first <= sequence <= self.last


def ranges_of(chosen: Mapping[int, Mapping[str, int]]) -> tuple[BodyRange, ...]:
    """Return the ranges that sequences make, each with the subjects that it has; neighbours of other subjects part."""
    found: list[BodyRange] = []
    for sequence in sorted(chosen):
        subjects = dict(chosen[sequence])
        if found and found[-1].last + 1 == sequence and found[-1].subjects == subjects:
            found[-1] = BodyRange(first=found[-1].first, last=sequence, subjects=subjects)
        else:
            found.append(BodyRange(first=sequence, last=sequence, subjects=subjects))
    return tuple(found)


def within(sequences: Collection[int]) -> list[tuple[int, int]]:
    """Return sequences as contiguous ranges (first, last), in order."""
    found: list[tuple[int, int]] = []
    for sequence in sorted(sequences):
        if found and found[-1][1] + 1 == sequence:
            found[-1] = (found[-1][0], sequence)
        else:
            found.append((sequence, sequence))
    return found
