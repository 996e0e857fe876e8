"""Kill switches, as the API and the pages find them: parts of extensions that can be stopped, whichever these are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from loom.identity import By
from loom.runtime import Loom
from loom.web.guard import HttpRefusal

__all__ = ["Switched", "switch_of", "switches_of"]


@runtime_checkable
class Switched(Protocol):
    """What an extension has that can be stopped at once; its `status()` says whether it is `killed`."""

    async def kill(self, *, by: By, reason: str) -> None:
        """Stop it."""
        ...

    async def rearm(self, *, by: By, reason: str, cause: str | None = None, replay: str | None = None) -> None:
        """Let it work again."""
        ...

    async def status(self) -> Any:
        """Return how it stands."""
        ...


def switches_of(loom: Loom) -> Mapping[str, Switched]:
    """Return the parts that have a kill switch, by the name of their extension."""
    return {name: part for name, part in sorted(loom.parts.items()) if isinstance(part, Switched)}


def switch_of(loom: Loom, name: str) -> Switched:
    """Return one of them; raise `HttpRefusal` where there is none."""
    part = loom.parts.get(name)
    if not isinstance(part, Switched):
        raise HttpRefusal(404, "switch_not_found", f"no extension [{name:.80}] with a kill switch runs here")
    return part
