"""Agents that are bound to circuits: they act only where these have succeeded under the same execution id."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from loom.actors import Actor, Command
from loom.circuits.circuits import Circuits
from loom.circuits.errors import CircuitDependencyError
from loom.errors import InvalidNameError

__all__ = ["bound_to"]

A = TypeVar("A", bound=Actor[Any])


def bound_to(*circuits: str) -> Callable[[type[A]], type[A]]:
    """Mark an actor: it refuses a command unless these circuits have succeeded under its `execution_id`.

    The actor keeps the loom's `Circuits` as `self.circuits`, and its commands have fields `client_id` and
    `execution_id`: ids are chosen by callers, so another client's execution must not do. What had succeeded is looked
    up first of all, and journaled; a refusal is a turn that failed with `CircuitDependencyError`.
    """

    def mark(cls: type[A]) -> type[A]:
        execute = cls.execute

        @functools.wraps(execute)
        async def bound(self: A, command: Command[Any]) -> Any:
            known: Any = getattr(self, "circuits", None)
            if not isinstance(known, Circuits):
                raise InvalidNameError(
                    f"actor [{cls.__name__}] is bound to circuits and has none; expected self.circuits: "
                    "register it with a factory that hands Circuits.of(loom) in"
                )
            client_id, execution_id = (str(getattr(command, name, "")) for name in ("client_id", "execution_id"))
            succeeded = await self.gather_context(
                system="circuits",
                entity=execution_id or "none",
                query="which have succeeded",
                fetcher=lambda: known.succeeded(client_id, execution_id),
            )
            missing = [each for each in circuits if each not in succeeded]
            if missing:
                raise CircuitDependencyError.of(execution_id, missing)
            return await execute(self, command)

        marked: Any = cls
        marked.execute = bound
        return cls

    return mark
