"""The options of the PostgreSQL store; the defaults keep every promise."""

from __future__ import annotations

from dataclasses import dataclass

from loom.errors import ConfigError

__all__ = ["PostgresOptions"]

_DURABLE = ("on", "remote_apply", "remote_write", "local")


@dataclass(frozen=True, slots=True)
class PostgresOptions:
    """The options of a store: the limits of its queue, its batches and its pages, and how long it waits for the server.

    `connect_timeout_s` bounds one attempt to connect, `answer_timeout_s` one answer. `reconnect_timeout_s` is for how
    long appends wait for a server that restarts or fails over; with 0 they fail at once, and the caller resolves. With
    `synchronous_commit` "local" or "remote_write" the loss of a server may lose acknowledged entries that a standby
    does not have.
    """

    max_pending_entries: int = 10_000
    max_pending_bytes: int = 256 * 1024 * 1024
    max_batch_entries: int = 1_000
    page: int = 1_000
    readers: int = 4
    partition_entries: int = 1_000_000
    connect_timeout_s: float = 10.0
    answer_timeout_s: float = 30.0
    lock_timeout_s: float = 10.0
    reconnect_timeout_s: float = 10.0
    poll_s: float = 0.25
    beat_s: float = 1.0
    head_every: int = 256
    synchronous_commit: str = "on"

    def __post_init__(self) -> None:
        if self.synchronous_commit not in _DURABLE:
            raise ConfigError(
                f"synchronous_commit is [{self.synchronous_commit}]; expected one of [{', '.join(_DURABLE)}]: "
                "name one of these"
            )
