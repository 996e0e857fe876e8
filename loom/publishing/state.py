"""What is known of published views: how far they are on the server, and what is to change there next."""

from __future__ import annotations

from typing import NamedTuple

from loom.publishing.capture import Changes, PublishedTable

__all__ = ["MovedError", "Page", "Part", "PublishedState", "Target"]


class MovedError(Exception):
    """Another process has published meanwhile: its position has to be read again."""


class PublishedState(NamedTuple):
    """How far the tables of a projection are; those that are `building` have not taken the place of the others yet."""

    name: str
    building: bool
    version: int
    shape: str
    position: int
    entry_hash: bytes
    tables: tuple[str, ...]
    problem: str | None


class Target(NamedTuple):
    """What is published of a projection of this process."""

    name: str
    version: int
    shape: str
    tables: tuple[PublishedTable, ...]


class Part(NamedTuple):
    """A projection of this process, and how far it is on the server."""

    target: Target
    state: PublishedState


class Page(NamedTuple):
    """What changes with the next page of a projection, after a state."""

    target: Target
    after: PublishedState
    position: int
    entry_hash: bytes
    changes: dict[str, Changes]
