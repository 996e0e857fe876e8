"""The pass over all entries of a table, in the order of their positions: digests, chains, order, and what was pruned.

Memory is bounded by the number of journals: of each, the last sequence and hash are kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from loom.clock import AHEAD_US
from loom.journal.chain import HASH_BYTES, SALT_BYTES, Header, entry_hash, genesis
from loom.journal.entry import BODY_SCHEMES
from loom.journal.fields import PLAIN_SCHEME, digest_by
from loom.journal.findings import Findings
from loom.journal.grants import Grants
from loom.journal.kinds import MARKS, OWN_IDS
from loom.journal.stray import StrayReferences

__all__ = ["Scan"]

_MOST_SUSPECTS = 32
_MOST_SHIFT = 16
_MOST_GAPS = 1_000


class _Suspect(NamedTuple):
    """An entry whose hash does not follow from what it says and the entry before it."""

    header: Header
    digest: bytes
    previous: bytes
    found: bytes
    scheme: int


class _Hole(NamedTuple):
    """A run of entries of one journal that have no body, up to a position."""

    first: int
    last: int
    position: int


class _Last(NamedTuple):
    """The last entry of a journal in its order."""

    sequence: int
    entry_hash: bytes
    epoch: int = 0


class _Said(NamedTuple):
    """The latest time of day that a clock gave, in microseconds, and the position of that entry."""

    position: int
    us: int


class Scan:
    """Takes the rows of the table one after the other; `finish` says what only the whole can tell."""

    def __init__(self, workspace: str, *, findings: Findings, now_us: int) -> None:
        self.workspace = workspace
        self.per_journal = False
        """Whether epochs never fall within a journal, as from format 3 on, or over all positions."""
        self.watched: dict[int, bytes] = {}
        """The hashes found at the positions that the caller asked for."""
        self.size = 0
        self.count = 0
        self.epoch = 0
        self.complete = False
        """Whether the table was read to its end: only then can an index be held against it."""
        self.by_sequence = (0, 0)
        self.by_command = (0, 0)
        self.by_pruned = (0, 0)
        self.by_turn = (0, 0)
        self.by_own_id = (0, 0)
        self._findings = findings
        self._now_us = now_us
        self._latest = _Said(0, 0)
        self._ahead: dict[int, int] = {}
        self._grants = Grants(findings)
        self._references = StrayReferences(findings)
        self._time = 0
        self._last: dict[str, _Last] = {}
        self._suspects: list[_Suspect] = []
        self._gaps: list[tuple[str, int, int, int]] = []
        self._late: set[tuple[str, int]] = set()
        self._holes: dict[str, list[_Hole]] = {}
        self._declared: dict[str, list[tuple[int, int]]] = {}

    @property
    def last(self) -> Mapping[str, _Last]:
        """The last entry of each journal."""
        return self._last

    def take(self, row: tuple[Any, ...]) -> None:
        """Check one entry against itself and what came before."""
        self.count += 1
        position = row[0]
        try:
            self._order_of_all(position, epoch=row[6], at=row[7])
            self._clock(position, row[7] - row[8])
            self._index(row)
            self._check(row)
        except Exception as error:  # columns of a damaged row are of any type and size
            self._findings.add(
                "DAMAGED",
                f"entry at position {position} does not have the shape of one: {type(error).__name__}: {error}",
                position=position if isinstance(position, int) else None,
            )

    def finish(self) -> None:
        """Say what only the whole can tell: which entries are missing or moved, whether holes are declared."""
        self._tell_gaps()
        self._tell_suspects()
        self._tell_clocks()
        for journal, holes in self._holes.items():
            for hole in holes:
                self._tell_hole(journal, hole)

    def _order_of_all(self, position: int, *, epoch: int, at: int) -> None:
        if position > self.size + 1:
            gone = f"{self.size + 1}..{position - 1}" if position > self.size + 2 else f"{self.size + 1}"
            self._findings.add("MISSING", f"position {gone}: there is no entry", position=self.size + 1)
        self.size = position
        if epoch < self.epoch and not self.per_journal:
            self._findings.add(
                "EPOCH_FELL", f"position {position} is of epoch {epoch}, after {self.epoch}", position=position
            )
        if at < self._time:
            self._findings.add("TIME_FELL", f"position {position} is older than the entry before it", position=position)
        self.epoch, self._time = max(epoch, self.epoch), max(at, self._time)

    def _clock(self, position: int, said_us: int) -> None:
        """Look whether what the clock said of an earlier entry was ahead: time is held back to it, the clock is not."""
        if said_us >= self._latest.us:
            self._latest = _Said(position, said_us)
        elif self._latest.us - said_us > AHEAD_US:
            by_us = self._latest.us - said_us
            self._ahead[self._latest.position] = max(by_us, self._ahead.get(self._latest.position, 0))

    def _index(self, row: tuple[Any, ...]) -> None:
        position, journal, sequence, kind, _, command_id = row[:6]
        self.by_sequence = _added(self.by_sequence, (journal, sequence, position))
        if kind == "command_received":
            self.by_command = _added(self.by_command, (journal, command_id, position))
        if kind == "pruned":
            self.by_pruned = _added(self.by_pruned, (position,))
        if kind in MARKS:
            self.by_turn = _added(self.by_turn, (journal, command_id, position))
        if kind in OWN_IDS:
            self.by_own_id = _added(self.by_own_id, (command_id, position))

    def _check(self, row: tuple[Any, ...]) -> None:
        position, journal, sequence, kind, schema, command_id, epoch, at, back, policy, salt, body, digest, found = row[
            :14
        ]
        if position in self.watched:
            self.watched[position] = found
        header = Header(self.workspace, journal, kind, command_id, policy, sequence, position, schema, epoch, at, back)
        if len(digest) != HASH_BYTES or len(found) != HASH_BYTES:
            raise ValueError(f"hashes of {len(digest)} and {len(found)} bytes")
        scheme = row[14] if len(row) > 14 else PLAIN_SCHEME
        known = self._check_scheme(header, scheme)
        sound = known and self._check_body(header, salt, body, digest, scheme)
        last = self._last.get(journal) or _Last(0, genesis(self.workspace, journal))
        if self.per_journal and epoch < last.epoch:
            self._findings.add(
                "EPOCH_FELL",
                f"{_name(header)} is of epoch {epoch}, after {last.epoch} in its journal",
                position=position,
                journal=journal,
                sequence=sequence,
            )
        if sequence <= last.sequence:
            self._late.add((journal, sequence))
            self._findings.add(
                "REORDERED",
                f"{_name(header)} comes after sequence {last.sequence} of its journal",
                position=position,
                journal=journal,
                sequence=sequence,
            )
            return
        if sequence > last.sequence + 1:
            self._gaps.append((journal, last.sequence + 1, sequence - 1, position))
        elif known and entry_hash(header, digest, last.entry_hash, scheme=scheme) != found:
            self._suspects.append(_Suspect(header, digest, last.entry_hash, found, scheme))
        elif sound and kind == "pruned":
            self._declare(body)
        elif sound:
            self._grants.take(header, body)
        self._references.take(header, body if sound else None, digest)
        self._last[journal] = _Last(sequence, found, max(epoch, last.epoch))

    def _check_scheme(self, header: Header, scheme: Any) -> bool:
        if scheme in BODY_SCHEMES:
            return True
        self._findings.add(
            "NEWER_SCHEME",
            f"{_name(header)} is hashed by scheme {scheme}, which this loom does not know: read it with a newer one",
            position=header.position,
            journal=header.journal,
            sequence=header.sequence,
        )
        return False

    def _check_body(self, header: Header, salt: Any, body: Any, digest: bytes, scheme: int) -> bool:
        if body is None and salt is None:
            holes = self._holes.setdefault(header.journal, [])
            if holes and holes[-1].last + 1 == header.sequence:
                holes[-1] = _Hole(holes[-1].first, header.sequence, header.position)
            else:
                holes.append(_Hole(header.sequence, header.sequence, header.position))
            return False
        if isinstance(salt, bytes) and isinstance(body, bytes) and len(salt) == SALT_BYTES:
            if _has_digest(digest, scheme, salt, body):
                return True
            what = "does not have the digest of its body"
        else:
            what = "has lost its body or its salt, or has one of another form"
        self._findings.add(
            "TAMPERED",
            f"{_name(header)} {what}",
            position=header.position,
            journal=header.journal,
            sequence=header.sequence,
        )
        return False

    def _declare(self, body: bytes) -> None:
        """Take note of what may be gone: of the range that is named, what stands before the entry that names it."""
        said = json.loads(body)
        journal, first, last = str(said["journal"]), int(said["first_sequence"]), int(said["last_sequence"])
        before = self._last.get(journal)
        if before is not None:
            self._declared.setdefault(journal, []).append((first, min(last, before.sequence)))

    def _tell_gaps(self) -> None:
        for journal, first, last, position in self._gaps:
            gone = [s for s in range(first, min(last, first + _MOST_GAPS) + 1) if (journal, s) not in self._late]
            if not gone:
                continue
            which = f"{first}" if first == last else f"{first}..{last}"
            self._findings.add(
                "MISSING",
                f"{journal} sequence {which}: there is no entry between its neighbours",
                position=position,
                journal=journal,
                sequence=gone[0],
            )

    def _tell_suspects(self) -> None:
        origins = _origins(self._suspects[:_MOST_SUSPECTS])
        for suspect in self._suspects:
            header = suspect.header
            origin = origins.get(header.position)
            if origin is None:
                code, what = "TAMPERED", "does not have the hash of what it says"
                if header.sequence > 1:
                    before = f"sequence {header.sequence - 1}"
                    what = f"does not follow from {before}: what it says was changed, or {before} was, with its hash"
            elif origins.get(origin) == header.position:
                code, what = "REORDERED", f"has changed places with position {origin}"
            elif origin > header.position:
                gone = origin - header.position
                code, what = "MISSING", f"stood at position {origin} when it was written: {gone} before it are gone"
            else:
                code, what = "REORDERED", f"stood at position {origin} when it was written"
            self._findings.add(
                code,
                f"{_name(header)} {what}",
                position=header.position,
                journal=header.journal,
                sequence=header.sequence,
            )

    def _tell_clocks(self) -> None:
        self._clock(0, self._now_us)  # what is ahead of now was written by a clock that was ahead
        for position, by_us in sorted(self._ahead.items()):
            self._findings.add(
                "CLOCK_AHEAD",
                f"position {position} was written by a clock that was ahead by {by_us // 1_000_000} s: no deadline "
                "waits for it",
                position=position,
            )

    def _tell_hole(self, journal: str, hole: _Hole) -> None:
        place = f"{journal} sequence {hole.first}..{hole.last}"
        next_open = hole.first
        for first, last in sorted(self._declared.get(journal, [])):
            if first <= next_open <= last:
                next_open = last + 1
        if next_open > hole.last:
            self._findings.add("PRUNED", f"{place} (declared)", journal=journal, sequence=hole.first)
        else:
            self._findings.add(
                "TAMPERED",
                f"{place}: bodies are gone from sequence {next_open} on, and no entry declares it",
                position=hole.position,
                journal=journal,
                sequence=next_open,
            )


def _origins(suspects: list[_Suspect]) -> dict[int, int]:
    """Return position → position at which an entry was hashed, for those whose hash gives it away."""
    origins: dict[int, int] = {}
    for one in suspects:
        swapped = next((other for other in suspects if one is not other and _belongs(one, other)), None)
        if swapped is not None:
            origins[one.header.position] = swapped.header.position
            continue
        for shift in range(1, _MOST_SHIFT + 1):
            header = one.header._replace(position=one.header.position + shift)
            if entry_hash(header, one.digest, one.previous, scheme=one.scheme) == one.found:
                origins[one.header.position] = header.position
                break
    return origins


def _belongs(one: _Suspect, other: _Suspect) -> bool:
    """Tell whether an entry has the right hash, once it is given the position, or all of the place, of another."""
    moved = one.header._replace(position=other.header.position)
    places = (moved, moved._replace(sequence=other.header.sequence))
    return any(
        entry_hash(header, one.digest, previous, scheme=one.scheme) == one.found
        for header in places
        for previous in (one.previous, other.previous, other.found)
    )


def _has_digest(digest: bytes, scheme: int, salt: bytes, body: bytes) -> bool:
    try:
        return digest_by(scheme, salt, body) == digest
    except (ValueError, RecursionError):  # by scheme 2 a body is JSON
        return False


def _name(header: Header) -> str:
    return f"{header.journal} sequence {header.sequence} (position {header.position}, {header.kind})"


def _added(fingerprint: tuple[int, int], row: tuple[Any, ...]) -> tuple[int, int]:
    return fingerprint[0] + 1, fingerprint[1] + hash(row)
