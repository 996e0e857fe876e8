"""The options of the SQLite store; the defaults keep every promise."""

from __future__ import annotations

from dataclasses import dataclass

from loom.errors import ConfigError

__all__ = ["SqliteOptions", "WriterOptions"]

_SYNCHRONOUS = {"full": "FULL", "process-crash-only": "NORMAL"}


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """The options of the writer: durability, and when it does its housekeeping.

    With `process-crash-only` a power cut may lose acknowledged entries (reliability: finding 3).
    """

    durability: str = "full"
    busy_timeout_s: float = 10.0
    checkpoint_pages: int = 4_000
    head_every: int = 256
    min_free_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.durability not in _SYNCHRONOUS:
            raise ConfigError(
                f"durability is [{self.durability}]; expected one of [{', '.join(_SYNCHRONOUS)}]: name one of these"
            )

    @property
    def synchronous(self) -> str:
        """SQLite's word for the durability."""
        return _SYNCHRONOUS[self.durability]


@dataclass(frozen=True, slots=True)
class SqliteOptions:
    """The options of a store: its writer's options, and the limits of its queue, its batches and its pages."""

    writer: WriterOptions = WriterOptions()
    max_pending_entries: int = 10_000
    max_pending_bytes: int = 256 * 1024 * 1024
    max_batch_entries: int = 1_000
    page: int = 1_000
    allow_unsupported_filesystem: bool = False
