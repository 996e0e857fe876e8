"""The entry of a refused command. It needs no server, as journals are also read where none is installed."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from loom.journal.entry import PersonEntry

__all__ = ["CommandRefusedEntry"]


class CommandRefusedEntry(PersonEntry):
    """A command over HTTP was refused by the policy `web.permissions`.

    Equal refusals within a minute are one entry; the next entry says how many there were.
    """

    kind: ClassVar[str] = "web.command_refused"
    sources_since: ClassVar[int] = 1

    by: str
    role: str
    actor_type: str
    key: str
    command: str
    policy: str
    """The full hash of the version that refused."""
    rule: str | None
    why: str
    not_written: int = Field(default=0, ge=0)
    """The number of equal refusals since the entry before."""
