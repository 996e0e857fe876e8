"""How a batch is made ready once its transaction holds the tail: what the journal assigns is assigned here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from loom.errors import AppendRefusedError, LoomError, SequenceConflictError, WriterFencedError
from loom.journal.chain import SCHEME_2, hash_after, journal_fields, turn_fields
from loom.journal.fields import FIELDS_SCHEME
from loom.journal.sqlite.staging import Outcome, Tail
from loom.journal.store import Append, Head, Receipt

__all__ = ["Begun", "HeadRow", "Staged", "Wanted", "begun", "not_accepted", "stage"]


class Wanted(NamedTuple):
    """An append, and the epoch under which its caller had acquired the journal; None for one who had not."""

    append: Append
    claim: int | None


class HeadRow(NamedTuple):
    """The head of a journal, and who acquired it last, under which epoch."""

    sequence: int
    entry_hash: bytes
    writer: int
    epoch: int


@dataclass(slots=True)
class Begun:
    """What a transaction found when it had locked the tail; `fresh` is an epoch for journals that are taken over."""

    tail: Tail
    fresh: int
    heads: dict[str, HeadRow]


@dataclass(slots=True)
class Staged:
    """A batch with everything assigned: the rows to insert, and the tail after they are inserted."""

    tail: Tail
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


def begun(rows: Iterable[Sequence[Any]]) -> Begun:
    """Return what `begin_append` found, from its rows: the tail first, then heads."""
    (_, position, digest, at_us, _, fresh), *heads = rows
    found = {journal: HeadRow(at, entry_hash, writer, epoch) for journal, at, entry_hash, _, writer, epoch in heads}
    return Begun(Tail(position, digest, at_us), fresh, found)


def stage(batch: Sequence[Wanted], found: Begun, *, workspace: str, writer: int, now_us: int) -> Staged:
    """Assign positions, times and hashes in order; an append that is out of date or was fenced is refused right here.

    Time does not go back behind the last entry: the entry also records how far the clock was behind.
    """
    staged = Staged(found.tail)
    at = max(found.tail.recorded_at_us, now_us)
    for append, claim in batch:
        head = found.heads[append.journal]
        epoch = _epoch(head, claim, writer=writer, fresh=found.fresh)
        refusal: LoomError | None = None
        if epoch is None:
            refusal = fenced(append.journal, head, claim)
        elif append.expected != head.sequence:
            refusal = SequenceConflictError(journal=append.journal, at=head.sequence, expected=append.expected)
        if refusal is not None or epoch is None:
            staged.outcomes.append(refusal or fenced(append.journal, head, claim))
            continue
        try:
            rows, last = _rows(
                append, head, staged.tail.position, workspace=workspace, epoch=epoch, at=at, now_us=now_us
            )
        except Exception as error:  # a draft that `draft` did not make may hold anything
            staged.outcomes.append(not_accepted(append, error))
            continue
        staged.rows += rows
        found.heads[append.journal] = HeadRow(last.sequence, last.entry_hash, writer, epoch)
        staged.tail = Tail(staged.tail.position + len(rows), last.entry_hash, at)
        staged.outcomes.append(Receipt(append.journal, last.sequence, staged.tail.position, last.entry_hash, at))
    return staged


def _epoch(head: HeadRow, claim: int | None, *, writer: int, fresh: int) -> int | None:
    """Return the epoch under which entries are appended; None where another process acquired the journal since.

    Who did not acquire a journal takes it over with the append itself. A claim above the head's own epoch, while the
    head still names this writer, was lost by the server with what it had not yet made durable: it holds all the same.
    """
    if claim is None:
        return head.epoch if head.writer == writer else fresh
    return claim if head.writer == writer and head.epoch <= claim else None


def fenced(journal: str, head: HeadRow, claim: int | None) -> WriterFencedError:
    """Return the refusal of an append to a journal that another process has acquired."""
    return WriterFencedError(
        f"journal [{journal}] is at epoch [{head.epoch}], of writer [{head.writer}]; expected [{claim}]: another "
        "process acquired it; leave it to that one"
    )


def not_accepted(append: Append, error: BaseException) -> AppendRefusedError:
    """Return the refusal of an append that cannot be written as it is."""
    return AppendRefusedError(
        f"journal [{append.journal}] did not accept [{len(append.drafts)}] entries [{type(error).__name__}]; expected "
        "drafts made by `draft` that its schema allows: see the log (nothing was written)"
    )


def _rows(
    append: Append, head: HeadRow, position: int, *, workspace: str, epoch: int, at: int, now_us: int
) -> tuple[list[tuple[Any, ...]], Head]:
    journal, back = append.journal, at - now_us
    begins: dict[int, bytes] = {}
    sequence, previous = head.sequence, head.entry_hash
    rows: list[tuple[Any, ...]] = []
    for draft in append.drafts:
        kind, schema, command_id, policy, salt, body, digest = draft
        scheme = draft.body_scheme
        begin = begins.get(scheme)
        if begin is None:
            begin = begins[scheme] = journal_fields(workspace, journal, scheme=scheme)
        bound = SCHEME_2 + digest if scheme == FIELDS_SCHEME else digest
        sequence, position = sequence + 1, position + 1
        numbers = (sequence, position, schema, epoch, at, back)
        previous = hash_after(begin, kind, turn_fields(command_id, policy), numbers, bound, previous)
        header = (position, journal, sequence, kind, schema, command_id, epoch, at, back, policy)
        rows.append((*header, salt, body, digest, previous, scheme))
    return rows, Head(sequence, previous)
