"""How a batch is made ready: everything that the journal assigns is assigned here, before the transaction begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from loom.errors import AppendUnknownError, LoomError, SequenceConflictError
from loom.journal.chain import SCHEME_2, hash_after, journal_fields, turn_fields
from loom.journal.fields import FIELDS_SCHEME, PLAIN_SCHEME
from loom.journal.store import Append, FieldsDraft, Head, Receipt

__all__ = ["Outcome", "Staged", "Tail", "for_each", "lost", "stage", "unanswered"]

Outcome = Receipt | LoomError
"""The outcome of one append of a batch."""


class Tail(NamedTuple):
    """The last entry of the workspace: position 0 and an empty hash where there is none."""

    position: int
    entry_hash: bytes
    recorded_at_us: int


@dataclass(slots=True)
class Staged:
    """A batch with everything assigned: the rows to insert, and the tail and the heads after they are inserted."""

    tail: Tail
    heads: dict[str, Head] = field(default_factory=dict)
    rows: list[tuple[object, ...]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


def stage(
    batch: Sequence[Append], *, workspace: str, epoch: int, now_us: int, tail: Tail, head_of: Callable[[str], Head]
) -> Staged:
    """Assign positions, times and hashes in order; an append that is out of date is refused right here.

    Time does not go back behind the last entry: the entry also records how far the clock was behind.
    """
    staged = Staged(tail)
    position, previous, at = tail.position, tail.entry_hash, max(tail.recorded_at_us, now_us)
    for append in batch:
        head = staged.heads.get(append.journal) or head_of(append.journal)
        if append.expected != head.sequence:
            staged.outcomes.append(
                SequenceConflictError(journal=append.journal, at=head.sequence, expected=append.expected)
            )
            continue
        sequence, previous = head.sequence, head.entry_hash
        journal, of_journal, back = append.journal, journal_fields(workspace, append.journal), at - now_us
        of_fields = b""
        for draft in append.drafts:
            kind, schema, command_id, policy, salt, body, digest = draft
            bound, prefix, scheme = digest, of_journal, PLAIN_SCHEME
            if type(draft) is FieldsDraft:
                of_fields = of_fields or journal_fields(workspace, journal, scheme=FIELDS_SCHEME)
                bound, prefix, scheme = SCHEME_2 + digest, of_fields, FIELDS_SCHEME
            sequence += 1
            position += 1
            numbers = (sequence, position, schema, epoch, at, back)
            previous = hash_after(prefix, kind, turn_fields(command_id, policy), numbers, bound, previous)
            staged.rows.append(
                (
                    position,
                    journal,
                    sequence,
                    kind,
                    schema,
                    command_id,
                    epoch,
                    at,
                    back,
                    policy,
                    salt,
                    body,
                    digest,
                    previous,
                    scheme,
                )
            )
        staged.heads[append.journal] = Head(sequence, previous)
        staged.outcomes.append(Receipt(append.journal, sequence, position, previous, at))
        staged.tail = Tail(position, previous, at)
    return staged


def lost(append: Append, failure: BaseException) -> Outcome:
    """Return the error for an append whose outcome is unknown; a store that is opened again finds it by reading."""
    return AppendUnknownError(
        f"journal [{append.journal}] may or may not have gone on from sequence [{append.expected}] [{failure!r}]; "
        "expected a sound writer: open the journal again and look",
        journal=append.journal,
        sequence=append.expected + len(append.drafts),
        entry_hash=b"",
    )


def for_each(error: LoomError, count: int) -> list[Outcome]:
    """Return an error for each of several callers: they raise it in tasks of their own, and tracebacks would mix."""
    return [type(error)(*error.args) for _ in range(count)]


def unanswered(receipt: Receipt, why: object) -> AppendUnknownError:
    """Return what is said of an append whose COMMIT had no answer."""
    return AppendUnknownError(
        f"journal [{receipt.journal}] may or may not hold sequence [{receipt.sequence}] [{why}]; "
        "expected an answer to COMMIT: resolve it before anything else",
        journal=receipt.journal,
        sequence=receipt.sequence,
        entry_hash=receipt.entry_hash,
    )
