"""How long journals are kept whole: nothing younger is pruned, or archived for that, unless a person overrides it."""

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
    """A person overrode retention: journals were archived for pruning, or pruned, before their retention was over."""

    kind: ClassVar[str] = "retention_overridden"
    schema_version: ClassVar[int] = 2

    what: Literal["archive", "prune"]
    digest: str
    """Of the archive."""
    kept_until: dict[str, datetime]
    """By the name of a journal, until when retention would have kept it."""
    by: str
    reason: str


class Retention(NamedTuple):
    """The number of days for which the journals of an actor type are kept whole after their last entry."""

    keep_days: float
    kinds: Mapping[str, float]
    """By actor type, if it is not `keep_days`."""
    bodies: Mapping[str, float] = MappingProxyType({})
    """The number of days for which single bodies are kept, by kind of entry, or `type:kind` for one actor type."""

    @classmethod
    def of(cls, config: RetentionConfig | None = None) -> Retention:
        """Return the retention of a config; by default that of loom's own config."""
        config = config or RetentionConfig()
        return cls(config.keep_days, dict(config.kinds), dict(config.bodies))

    @property
    def shortest(self) -> timedelta:
        """The shortest time for which a journal is kept."""
        return timedelta(days=min(self.keep_days, *self.kinds.values()) if self.kinds else self.keep_days)

    def kept_until(self, journal: str, last_at: datetime) -> datetime:
        """Return until when a journal is kept whose last entry was recorded at `last_at`."""
        actor_type, _ = parse_journal_name(journal)
        return last_at + timedelta(days=self.kinds.get(actor_type, self.keep_days))

    def within(self, journals: Mapping[str, datetime], now: datetime) -> dict[str, datetime]:
        """Return which of some journals, given with the times of their last entries, are still kept, and until when."""
        kept = {name: self.kept_until(name, last_at) for name, last_at in journals.items()}
        return {name: until for name, until in kept.items() if until > now}


def check_override(reason: str) -> str:
    """Return the reason for overriding retention; raise `AdmissionError` if it is empty."""
    if not reason.strip():
        raise AdmissionError("an override of retention has no reason; expected one: say why")
    return reason
