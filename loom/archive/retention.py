"""How long journals are kept whole: nothing younger is archived for pruning or pruned, unless a person overrides it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import ClassVar, Literal, NamedTuple

from loom.config import RetentionConfig
from loom.errors import AdmissionError
from loom.identity import parse_journal_name
from loom.journal.entry import PersonEntry

__all__ = ["Retention", "RetentionOverriddenEntry", "check_override"]


class RetentionOverriddenEntry(PersonEntry):
    """A person had journals archived for pruning, or pruned, before their retention was over."""

    kind: ClassVar[str] = "retention_overridden"
    schema_version: ClassVar[int] = 2

    what: Literal["archive", "prune"]
    digest: str
    """Of the archive."""
    kept_until: dict[str, datetime]
    """Until when each journal would have been kept, by its name."""
    by: str
    reason: str


class Retention(NamedTuple):
    """For how many days the journals of an actor type are kept whole after their last entry."""

    keep_days: float
    kinds: Mapping[str, float]
    """By actor type, where it is not `keep_days`."""
    bodies: Mapping[str, float] = MappingProxyType({})
    """For how many days single bodies are kept, by the kind of their entry, or `type:kind` for one actor type."""

    @classmethod
    def of(cls, config: RetentionConfig | None = None) -> Retention:
        """Return what a config says; by default what loom's own says."""
        config = config or RetentionConfig()
        return cls(config.keep_days, dict(config.kinds), dict(config.bodies))

    @property
    def shortest(self) -> timedelta:
        """How long any journal is kept at least."""
        return timedelta(days=min(self.keep_days, *self.kinds.values()) if self.kinds else self.keep_days)

    def kept_until(self, journal: str, last_at: datetime) -> datetime:
        """Return until when a journal is kept whose last entry is of this moment."""
        actor_type, _ = parse_journal_name(journal)
        return last_at + timedelta(days=self.kinds.get(actor_type, self.keep_days))

    def within(self, journals: Mapping[str, datetime], now: datetime) -> dict[str, datetime]:
        """Return those that are kept still, of journals with the moments of their last entries, and until when."""
        kept = {name: self.kept_until(name, last_at) for name, last_at in journals.items()}
        return {name: until for name, until in kept.items() if until > now}


def check_override(reason: str) -> str:
    """Return why retention is overridden; raise `AdmissionError` where nothing is said."""
    if not reason.strip():
        raise AdmissionError("an override of retention has no reason; expected one: say why")
    return reason
