"""The section `publish`: which views are published in PostgreSQL, where, and for whom."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from loom.config import Section

__all__ = ["EVERY", "PublishConfig"]

EVERY = "*"

_Name = Annotated[str, Field(min_length=1, max_length=63)]


class PublishConfig(Section):
    """Which views one of the processes keeps in PostgreSQL as well, for SQL and BI tools; none by default."""

    views: tuple[_Name, ...] = ()
    """Their names, such as traces, approvals, runs, model_calls, precedents; `*` for all that say that they can be."""
    url: SecretStr | None = None
    """Another database than the journal's: `postgresql://…`; a journal in a file needs one. `schema=` names the schema,
    by default that of the journal with `_views`."""
    readers: tuple[_Name, ...] = ()
    """Roles of PostgreSQL that may read them, and nothing else."""
    every_s: float = Field(default=0.5, ge=0.05, le=3_600)
    """How long entries gather before they are published."""
