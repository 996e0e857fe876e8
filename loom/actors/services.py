"""The services that the actors of a loom share: the journal, the registries and the indexes."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pydantic import JsonValue

from loom.actors.eligibility import Directory, Eligibility
from loom.actors.ownership import ALL_MINE, Ownership
from loom.actors.progress import Watchers
from loom.actors.requests import OpenRequests
from loom.actors.timer import Timer
from loom.clock import Clock, SystemClock, datetime_from_us
from loom.decisions.decision import Decision
from loom.decisions.entries import ApprovalRequestedEntry, PrecedentFound
from loom.identity import new_id, random_bytes
from loom.journal.admission import Limits
from loom.journal.store import JournalStore
from loom.policies.registry import PolicyRegistry
from loom.precedents.answered import EarlierAnswers
from loom.precedents.registry import EquivalenceRegistry
from loom.sealing import Subjects, Vault
from loom.spend.config import ModelsConfig
from loom.spend.models import ModelSpend
from loom.telemetry import get_logger

__all__ = ["ActorOptions", "Approver", "KeptSnapshot", "PrecedentIndex", "Services", "Snapshots", "Sources"]


_log = get_logger("loom.actors")


class Approver(Protocol):
    """Delivers requests for approval to people, by any channel. It cannot grant anything."""

    async def deliver(self, request: ApprovalRequestedEntry, *, journal: str) -> None:
        """Tell the approver that a request waits. May be called again for the same request after a restart."""
        ...


class PrecedentIndex(Protocol):
    """Finds earlier decisions."""

    async def position(self) -> int:
        """Return the position up to which, at least, a search from now on covers the journal."""
        ...

    async def find(
        self,
        *,
        situation: str | None = None,
        facets: Mapping[str, JsonValue] | None = None,
        text: str | None = None,
        decision_type: str | None = None,
        exclude_turn: tuple[str, str] | None = None,
        similar_to: str | None = None,
        min_similarity: float | None = None,
        limit: int = 5,
    ) -> tuple[PrecedentFound, ...]:
        """Return earlier decisions, newest first; those near to a text, if there is one, nearest first."""
        ...

    async def answers(self, situation: str, *, exclude_turn: tuple[str, str] | None = None) -> EarlierAnswers:
        """Return how people answered in earlier decisions of a situation."""
        ...


class KeptSnapshot(Protocol):
    """A snapshot as it was read: the state after one entry, which is named by sequence and hash."""

    @property
    def journal(self) -> str:
        """The journal that was folded."""
        ...

    @property
    def actor_type(self) -> str:
        """The type of the actor."""
        ...

    @property
    def state_version(self) -> int:
        """The version of its state."""
        ...

    @property
    def sequence(self) -> int:
        """The last entry that was folded."""
        ...

    @property
    def entry_hash(self) -> bytes:
        """The hash of that entry."""
        ...

    @property
    def body(self) -> bytes:
        """The state, and the turns without an end."""
        ...


class Snapshots(Protocol):
    """Stores the folded state of actors: an optimisation, which may be lost at any time."""

    async def get(self, journal: str) -> KeptSnapshot | None:
        """Return the snapshot of a journal, or None."""
        ...

    async def put(
        self,
        journal: str,
        *,
        actor_type: str,
        state_version: int,
        sequence: int,
        entry_hash: bytes,
        body: bytes,
        subjects: Collection[str] = (),
    ) -> None:
        """Keep a snapshot in place of an earlier one; `subjects` are those that it was sealed for."""
        ...

    async def forget(self, subject: str) -> None:
        """Drop the snapshots that were sealed for a subject."""
        ...

    async def delete(self, journal: str) -> None:
        """Delete the snapshot of a journal."""
        ...


@dataclass(frozen=True, slots=True)
class ActorOptions:
    """Limits and timeouts. Times are in seconds; `snapshot_every` counts entries, 0 is never."""

    mailbox_size: int = 1_000
    idle_after_s: float = 60.0
    park_keep_s: float = 60.0
    remind_every_s: float | None = None
    reminders: int = 3
    max_failures: int = 5
    failure_window_s: float = 60.0
    backoff_min_s: float = 1.0
    backoff_max_s: float = 300.0
    resume_attempts: int = 3
    divergence_timeout_s: float = 30.0
    shutdown_grace_s: float = 5.0
    snapshot_every: int = 500
    lookup_timeout_s: float | None = 30.0
    resume_concurrency: int = 64


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of time, ids, salts and random numbers; tests replace them."""

    clock: Clock = field(default_factory=SystemClock)
    new_id: Callable[[], str] = new_id
    new_salt: Callable[[int], bytes] = random_bytes
    random: Callable[[], float] = random.SystemRandom().random


@dataclass(slots=True)
class Services:
    """Everything that a turn uses outside its own actor."""

    store: JournalStore
    policies: PolicyRegistry
    rules: EquivalenceRegistry
    precedents: PrecedentIndex
    snapshots: Snapshots | None = None
    """None where actors are folded from their first entry, as in a replay."""
    options: ActorOptions = field(default_factory=ActorOptions)
    limits: Limits = field(default_factory=Limits)
    redactable: Collection[str] = ()
    """Kinds of entries of which proofs may leave out fields, as well as those that declare it."""
    sources: Sources = field(default_factory=Sources)
    approver: Approver | None = None
    hold_reply: Callable[[Sequence[str]], Awaitable[None]] | None = None
    """Awaited with the decisions of a turn before its reply is released, when all of it is durable."""
    subjects: Subjects | None = None
    """Seals and opens declared fields; None where nothing is opened, as when another process runs the loom."""
    find_decision: Callable[[str], Awaitable[Decision | None]] | None = None
    """Returns the decision with an id, or whose id alone begins so; None where there is none."""
    models: ModelsConfig = field(default_factory=ModelsConfig)
    """The bounds of calls of models, and what is kept of them."""
    spend: ModelSpend | None = None
    """The budget of calls of models; None where nothing is called."""
    watchers: Watchers = field(default_factory=Watchers)
    """Who watches the progress of which turn."""
    find_directory: Callable[[], Directory | None] = lambda: None
    """Returns the directory of persons, which says who may answer requests; None where there is none."""
    ownership: Ownership = ALL_MINE
    """Says which actors this process wakes."""
    eligibility: Eligibility = field(init=False)
    """Asks the directory who may answer a request."""
    requests: OpenRequests = field(init=False)
    """The pending requests for approval, and their deadlines."""
    timer: Timer = field(init=False)
    """When the waits of turns end by themselves."""

    def __post_init__(self) -> None:
        self.timer = Timer(self.sources.clock)
        self.requests = OpenRequests(self.store, self.sources.clock, lambda journal: self.ownership.mine(journal))
        self.eligibility = Eligibility(lambda: self.find_directory(), self.now)

    @property
    def vault(self) -> Vault | None:
        """The keys that declared fields are sealed with; None where there is no vault."""
        return None if self.subjects is None else self.subjects.vault

    async def deliver(self, request: ApprovalRequestedEntry, *, journal: str) -> None:
        """Have a request delivered to its approver; if the messenger fails, the request stays pending."""
        if self.approver is None:
            return
        try:
            await self.approver.deliver(request, journal=journal)
        except Exception as error:
            _log.warning("approval_not_delivered", journal=journal, approval=request.approval_id, error=repr(error))

    def now(self) -> datetime:
        """Return the time of day by the clock, which may be wrong: deadlines run on elapsed time."""
        return datetime_from_us(self.sources.clock.now_us())
