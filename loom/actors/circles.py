"""Circles of asks: actors whose turns wait for each other, so that none of them ever ends."""

from __future__ import annotations

from typing import Protocol

from loom.errors import AskCycleError

__all__ = ["check_circle"]


class Waits(Protocol):
    """The actors of this process."""

    def waits_for(self, journal: str) -> list[str]:
        """Return the journals whose actors the running turn of an actor has asked and waits for."""
        ...


def check_circle(waits: Waits, waiting: tuple[str, ...], journal: str) -> None:
    """Refuse to wait for an actor whose running turn waits, directly or through others here, for one that waits.

    `waiting` are the journals whose turns wait for this command, the last one for its reply. Each process sees the
    waits of its own turns, and the path of the command: a circle through three processes or more, of turns that do not
    wait for this command, shows in none of them. Raises `AskCycleError`.
    """
    if journal == waiting[-1]:
        raise _circle((journal, journal))
    seen: set[str] = set()
    following: list[tuple[str, tuple[str, ...]]] = [(journal, (waiting[-1], journal))]
    while following:
        at, path = following.pop()
        seen.add(at)
        for each in waits.waits_for(at):
            if each in waiting:
                raise _circle((*path, each))
            if each not in seen:
                following.append((each, (*path, each)))


def _circle(path: tuple[str, ...]) -> AskCycleError:
    return AskCycleError(
        f"asking would never end [{' → '.join(path)}]; expected actors that do not wait in a circle: tell instead"
    )
