"""How an actor is made that takes something: an HTTP client, a model, a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from loom.actors.ports import Decider

__all__ = ["ActorFactory"]

A = TypeVar("A", bound=Decider)


class ActorFactory(NamedTuple, Generic[A]):
    """An actor class that is made with something: `make` is called for each actor that is woken."""

    cls: type[A]
    make: Callable[[], A]
