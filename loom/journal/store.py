"""The contract of a journal store, for every database.

`tests/contracts/journal_store.py` is the suite that every store has to pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

from loom.errors import AdmissionError, AppendUnknownError, LoomError
from loom.identity import random_bytes
from loom.journal.admission import DEFAULT_LIMITS, Limits
from loom.journal.chain import HASH_BYTES, SALT_BYTES, body_digest
from loom.journal.entry import KINDS, Entry, Part, PersonEntry, Recorded
from loom.journal.fields import FIELDS_SCHEME, PLAIN_SCHEME, fields_digest
from loom.journal.lowering import LOWERED, lowered
from loom.journal.serialisation import EntryText, serialise

__all__ = [
    "Append",
    "Draft",
    "FieldsDraft",
    "Head",
    "JournalReader",
    "JournalStore",
    "JournalWriter",
    "Receipt",
    "Submitted",
    "decoded",
    "draft",
    "writes",
]

MAX_NAME = 512
"""How many characters a command id or the name of a journal may have."""


class Draft(NamedTuple):
    """An entry that is ready to be appended: serialised once, and digested as it will be stored."""

    kind: str
    schema_version: int
    command_id: str | None
    policy_hash: bytes | None
    salt: bytes
    body: bytes
    body_digest: bytes

    @property
    def body_scheme(self) -> int:
        """How the body was digested: 1, as a whole."""
        return PLAIN_SCHEME


class FieldsDraft(Draft):
    """A draft of body scheme 2: fields of its body can be left out of a proof."""

    __slots__ = ()

    @property
    def body_scheme(self) -> int:
        """How the body was digested: 2, field by field."""
        return FIELDS_SCHEME


def draft(
    entry: Entry | EntryText,
    *,
    command_id: str | None = None,
    policy_hash: bytes | None = None,
    limits: Limits = DEFAULT_LIMITS,
    new_salt: Callable[[int], bytes] = random_bytes,
    redactable: Collection[str] = (),
) -> Draft:
    """Serialise an entry, check it by admission and digest it; raise `AdmissionError`.

    Kinds in `redactable`, and those that declare it, are digested field by field.
    """
    if command_id is not None and not _is_name(command_id):
        check_name(command_id, what="command id")
    if policy_hash is not None and len(policy_hash) != HASH_BYTES:
        raise AdmissionError(
            f"policy hash has [{len(policy_hash)}] bytes; expected [{HASH_BYTES}], a full SHA-256: do not shorten it"
        )
    if isinstance(entry, PersonEntry) and (who := entry.identity) is not None and who.source is None:
        entry = entry.model_copy(update=who.written(entry.person))  # what nothing established is claimed
    body = serialise(entry, limits=limits)
    salt = new_salt(SALT_BYTES)
    of = entry.cls if isinstance(entry, EntryText) else entry
    schema = of.schema_version
    if LOWERED and of.kind in LOWERED:
        schema = LOWERED[of.kind]
        body = lowered(of, body, schema=schema, limits=limits)
    if of.redactable or of.kind in redactable:
        digest = fields_digest(salt, body)
        return FieldsDraft(of.kind, schema, command_id, policy_hash, salt, body, digest)
    return Draft(of.kind, schema, command_id, policy_hash, salt, body, body_digest(salt, body))


def decoded(ready: Draft) -> Any:
    """Return an entry that was made ready as a reader of the journal gets it."""
    return KINDS.decode(ready.kind, ready.schema_version, ready.body)


def check_name(name: str, *, what: str) -> None:
    """Refuse a name that cannot be in the header of an entry: one that is empty, too long or not printable."""
    if not _is_name(name):
        shown = name if len(name) <= 60 else name[:60] + "…"
        raise AdmissionError(
            f"{what} [{shown!a}] has [{len(name)}] characters; expected [1 to {MAX_NAME}, all of them printable]: "
            "choose another"
        )


@lru_cache(maxsize=8_192)
def _is_name(name: str) -> bool:
    """Tell whether a name may be in a header; those of a turn are asked about with each of its entries."""
    return 0 < len(name) <= MAX_NAME and name.isprintable()


@dataclass(frozen=True, slots=True)
class Append:
    """Entries to be appended to one journal, all of them or none, right after the sequence that the caller has seen."""

    journal: str
    expected: int
    drafts: Sequence[Draft]


class Head(NamedTuple):
    """The last entry of a journal: its sequence, 0 where there is none, and its hash."""

    sequence: int
    entry_hash: bytes
    taken_over: bool = False
    """Of `acquire`: whether another process was the writer of the journal until now."""


class Receipt(NamedTuple):
    """The result of an append once it is durable: the place of its last entry, and its hash."""

    journal: str
    sequence: int
    position: int
    entry_hash: bytes
    recorded_at_us: int


class Submitted(asyncio.Future[Receipt]):
    """The outcome of an append to come. No waiter can cancel it; a task that is cancelled meanwhile hears it first."""

    def cancel(self, msg: object = None) -> bool:
        """Refuse: the append is written or not, no matter who waits for it."""
        return False


class JournalReader(Protocol):
    """What can be read of the journals of one workspace: a store, the reader of a file, or an archive."""

    def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream a journal by sequence: those after `after`, up to and with `until`, page by page."""
        ...

    def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream the workspace by position: those after `after`, up to and with `until`, page by page."""
        ...

    async def find_command(self, journal: str, command_id: str) -> Recorded | None:
        """Return the `CommandReceivedEntry` of a command, or None."""
        ...

    async def at(self, positions: Collection[int]) -> dict[int, Recorded]:
        """Return position → entry, for the positions that have one: rows of views are compared with them."""
        ...

    async def parts(self, positions: Collection[int], paths: Sequence[str]) -> dict[int, Part]:
        """Return position → the values in the body of its entry at two or more paths, of names joined by dots."""
        ...

    async def steps(self, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], Recorded]:
        """Return (journal, sequence) → entry, for those that exist: the steps that decisions refer to."""
        ...

    async def commands(self, turns: Collection[tuple[str, str]], paths: Sequence[str]) -> dict[tuple[str, str], Part]:
        """Return turn → the values in the body of its `CommandReceivedEntry` at two or more paths."""
        ...

    async def marks(self, turns: Collection[tuple[str, str]]) -> list[Recorded]:
        """Return the entries of `MARKS` that turns have, by position; a turn is (journal, command id)."""
        ...

    def unfinished(self, *, asked: bool = False) -> AsyncIterator[Recorded]:
        """Stream the `CommandReceivedEntry` of every turn without an end, by position; or of those that have `asked`.

        A turn has asked that has requested an approval.
        """
        ...

    async def journals(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """Return names and last sequences of journals by name, those after `after`."""
        ...


@runtime_checkable
class JournalWriter(Protocol):
    """What appends to journals.

    An append has three outcomes. A `Receipt`: it is durable. An `AppendRefusedError` (or a `JournalBusyError`,
    `JournalReadOnlyError`, `JournalClosedError`): nothing was appended. An `AppendUnknownError`: ask `resolve`.
    """

    def submit(self, append: Append) -> Submitted:
        """Queue an append and return the future of its outcome; the order of calls is the order of a journal."""
        ...

    def extend(self, submitted: asyncio.Future[Receipt], draft: Draft) -> bool:
        """Add an entry to the last append of a journal while that append is queued; False if that is not possible.

        All entries of an append are written, or none. The receipt is then that of the added entry: those before it
        have the sequences and positions before its own.
        """
        ...

    async def append(self, append: Append) -> Receipt:
        """Append and wait until it is durable. Cancelling the wait does not touch the append."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether `room` would return at once."""
        ...

    async def room(self) -> None:
        """Wait while the queue of the writer is over half full: how a fast producer is slowed down."""
        ...

    async def resolve(self, unknown: AppendUnknownError) -> Receipt | None:
        """Find the outcome of an append for certain: its receipt, or None if nothing was appended."""
        ...


class JournalStore(JournalReader, JournalWriter, Protocol):
    """Append-only journals of one workspace. A store says whether one process writes it at a time, or several.

    Where several do, each journal has one writer at a time. A process `acquire`s a journal before it reads it. Each
    `acquire` takes a new epoch, and every append is checked against the epoch under which its process has acquired the
    journal, before its sequence: after another process has acquired the journal, all that this one still has in its
    pipeline is a `WriterFencedError`. An append to a journal that was never acquired, as that of a registry, is checked
    by its sequence alone: its caller waits for each before it submits the next. Epochs never fall within a journal.
    """

    @property
    def workspace(self) -> str:
        """The workspace whose journals these are."""
        ...

    @property
    def writer(self) -> int:
        """The number of this process among the writers of the workspace: it rises with each that opens the store."""
        ...

    @property
    def shared(self) -> bool:
        """Whether other processes may write the workspace at the same time."""
        ...

    @property
    def acknowledged(self) -> int:
        """The position up to which everything is known here to be durable; see `refresh`."""
        ...

    @property
    def recorded_at_us(self) -> int:
        """The time of the last entry known to be durable; time does not go back behind it."""
        ...

    async def head(self, journal: str) -> Head:
        """Return the head of a journal as far as it is durable."""
        ...

    async def acquire(self, journal: str) -> Head:
        """Become the one writer of a journal, and return its head: to be called before the journal is read.

        What a former writer still has in its pipeline is refused from now on. Raises `WriterFencedError` if this
        process was fenced.
        """
        ...

    async def refresh(self) -> int:
        """Return the position up to which everything is durable, what other processes wrote included."""
        ...

    async def fence(self, writer: int) -> None:
        """Let a process write nothing more, once what it has begun has ended; a process may fence itself.

        It is final, and harmless for a writer that has ended. Raises `AppendRefusedError` for a writer that cannot be
        fenced from here.
        """
        ...

    def on_fenced(self, callback: Callable[[LoomError], None]) -> None:
        """Have `callback` called on the event loop, once, when this process may write nothing more, with the reason.

        It is called at once if that is so already. A turn that waits writes nothing, and would not learn of it.
        """
        ...

    def now(self) -> datetime:
        """Return the time by the clock that entries are stamped with, never earlier than the last entry."""
        ...

    async def prune(self, journal: str, *, until: int) -> None:
        """Remove the bodies of a journal, up to and including a sequence, if a journaled `PrunedEntry` declares it.

        Hashes stay, and the chain verifies. It is all or nothing: `AppendRefusedError` if nothing was declared,
        `SequenceConflictError` if the journal has grown.
        """
        ...

    async def prune_bodies(self, journal: str, ranges: Sequence[tuple[int, int]]) -> None:
        """Remove bodies of a journal by ranges (first, last), if journaled `PrunedEntry`s declare them.

        All or nothing, as `prune`, but the journal may grow meanwhile.
        """
        ...

    async def own_ids(self, ids: Collection[str]) -> dict[str, int]:
        """Return own id → position of the observed decisions that have one of these, the name of its source included.

        A store takes each own id once in a workspace: the append of another is a `DuplicateOwnIdError`.
        """
        ...

    def on_commit(self, callback: Callable[[int], None]) -> None:
        """Have `callback` called on the event loop with each new acknowledged position."""
        ...

    async def close(self) -> None:
        """Write what is queued, then close. Closing twice is harmless."""
        ...


def writes(store: JournalReader) -> TypeGuard[JournalStore]:
    """Tell whether a reader of journals appends to them, too, as a store does.

    It may hand its calls on by `__getattr__`: up to Python 3.11 alone `isinstance` sees what a protocol asks for there.
    """
    return hasattr(store, "submit")
