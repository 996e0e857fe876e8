"""The result of a verification: findings, each with its place, and a verdict that is never a bare OK."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["CODES", "DECLARED", "Finding", "Findings", "Verification", "verdict_lines"]

CODES = {
    "TAMPERED": "an entry is not what was hashed",
    "MISSING": "entries are gone from the middle",
    "REORDERED": "entries are not at the position where they were written",
    "TRUNCATED": "entries are gone from the end",
    "CUT": "entries are gone that a checkpoint anchored elsewhere covers",
    "FORKED": "a checkpoint that was signed is not of this journal",
    "UNKNOWN_SIGNER": "a checkpoint was signed by a key that is not one of the log's, or not any more",
    "REWRITTEN": "entries are not those whose hashes or roots were written down outside the database",
    "STRAY_REFERENCE": "an entry refers to one that is not there, or is another",
    "EPOCH_FELL": "an entry is of an earlier writer than the entry before it",
    "TIME_FELL": "an entry is older than the entry before it",
    "NEWER_SCHEME": "an entry is hashed in a way that this loom does not know",
    "SCHEMA_CHANGED": "a table, an index or a trigger is not what it was made as",
    "INDEX_DAMAGED": "a read by index would not give what the table holds",
    "DAMAGED": "something cannot be read",
    "PRUNED": "bodies were taken away, and a journaled entry says so",
    "SELF_GRANTED": "a request was granted by the person who had asked",
    "CLOCK_AHEAD": "an entry was written by a clock that was more than ten minutes ahead",
    "HEAD_TORN": "a head was written down in part, as a crash leaves it: it proves nothing",
    "UNANCHORED_TAIL": "entries after the last head that was written down: a cut among them would leave no trace",
}
"""Every code there is, with what it means."""

DECLARED = frozenset({"PRUNED", "CLOCK_AHEAD", "HEAD_TORN", "UNANCHORED_TAIL"})
"""The codes that are reported and are no fault."""

_MOST_PER_CODE = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found, and where: a position, a journal and a sequence, as far as there are such."""

    code: str
    message: str
    position: int | None = None
    journal: str | None = None
    sequence: int | None = None


@dataclass(slots=True)
class Findings:
    """Collects findings; of one code only so many are kept, and the others counted."""

    kept: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        code: str,
        message: str,
        *,
        position: int | None = None,
        journal: str | None = None,
        sequence: int | None = None,
    ) -> None:
        """Add one finding."""
        self.counts[code] += 1
        if self.counts[code] <= _MOST_PER_CODE:
            self.kept.append(Finding(code, message, position, journal, sequence))


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verifying a journal file.

    `size` is the last position that was read; `anchored_through` the last one whose hash, or root, was written down
    outside the database and is still there. `root` is the root of the Merkle tree over all entries, as 64 hex digits;
    None where there is no entry, or not every one.
    """

    path: str
    workspace: str | None
    size: int
    anchored_through: int
    findings: tuple[Finding, ...]
    counts: dict[str, int]
    root: str | None = None

    @property
    def ok(self) -> bool:
        """Whether there are no findings except those that are no fault."""
        return all(code in DECLARED for code in self.counts)

    @property
    def unanchored(self) -> int:
        """How many entries come after the last head in the heads file."""
        return max(0, self.size - self.anchored_through)

    def lines(self) -> Iterator[str]:
        """Yield the verdict, then each finding, as text for people."""
        faults = sum(count for code, count in self.counts.items() if code not in DECLARED)
        if faults:
            noun = "finding" if faults == 1 else "findings"
            yield f"NOT VERIFIED: {faults} {noun} in {self.size} entries (anchored {self.anchored_through})"
        else:
            yield f"VERIFIED through size {self.size} (anchored {self.anchored_through})"
        for finding in self.findings:
            yield f"{_spaced(finding.code)} {finding.message}"
        for code, count in sorted(self.counts.items()):
            if count > _MOST_PER_CODE:
                yield f"{_spaced(code)} and {count - _MOST_PER_CODE} more"


def verdict_lines(what: str, findings: tuple[Finding, ...], counts: dict[str, int]) -> Iterator[str]:
    """Yield the verdict on what was verified, in which every finding is a fault, then each finding."""
    yield f"VERIFIED {what}" if not counts else f"NOT VERIFIED: {sum(counts.values())} findings in {what}"
    for finding in findings:
        yield f"{finding.code} {finding.message}"


def _spaced(code: str) -> str:
    return code.replace("_", " ")
