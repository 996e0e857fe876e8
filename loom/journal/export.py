"""A journal as lines of JSON, one for each entry, from which anyone can verify the chain.

The body is the last field of its line, byte for byte as it is stored. A JSON reader reads it like any other value. A
verifier takes the text between the first `,"body":` and the closing brace, which is the exact body. This is not
ambiguous, as a quotation mark inside a JSON string never follows a comma without a backslash between. So the line holds
the body once, in a form for people and machines alike. The price: a tool that rewrites the lines (`jq` without `-r`,
for example) makes them unverifiable, and `verify_export` reports that.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from loom.errors import AdmissionError
from loom.journal.admission import parse_json
from loom.journal.chain import SALT_BYTES, Header, entry_hash, genesis
from loom.journal.entry import Recorded
from loom.journal.fields import FIELDS_SCHEME, PLAIN_SCHEME, digest_by
from loom.journal.findings import Finding, Findings, verdict_lines

__all__ = [
    "JOINED",
    "UNREADABLE",
    "ChainCheck",
    "ExportVerification",
    "Readable",
    "export_line",
    "export_lines",
    "parse_line",
    "verify_export",
]

JOINED = "joined"
"""What a line says whose body was filled in: it is not the one that was hashed, and cannot be verified."""

_BODY = ',"body":'
_BASE64 = ',"body_base64":'


class Readable(Protocol):
    """What can be exported: a store, or a reader of one."""

    def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream one journal by sequence."""
        ...

    def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream the workspace by position."""
        ...


async def export_lines(
    source: Readable, *, workspace: str, journal: str | None = None, after: int = 0, until: int | None = None
) -> AsyncIterator[str]:
    """Stream the lines of one journal by sequence, or of all by position; each ends without a line break."""
    entries = (
        source.read_all(after=after, until=until) if journal is None else source.read(journal, after=after, until=until)
    )
    async for recorded in entries:
        yield export_line(recorded, workspace=workspace)


def export_line(recorded: Recorded, *, workspace: str) -> str:
    """Return the line of one entry: its header, its hashes, and its body as it is stored."""
    head = json.dumps(
        {
            "workspace": workspace,
            "position": recorded.position,
            "journal": recorded.journal,
            "sequence": recorded.sequence,
            "kind": recorded.kind,
            "schema_version": recorded.schema_version,
            "command_id": recorded.command_id,
            "epoch": recorded.epoch,
            "recorded_at": _moment(recorded),
            "recorded_at_us": recorded.recorded_at_us,
            "clock_back_us": recorded.clock_back_us,
            "policy_hash": recorded.policy,
            "salt": None if recorded.salt is None else recorded.salt.hex(),
            "body_digest": recorded.body_digest.hex(),
            "entry_hash": recorded.entry_hash.hex(),
            **({"body_scheme": FIELDS_SCHEME} if recorded.hashed_by == FIELDS_SCHEME else {}),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
    return head[:-1] + _spliced(recorded.body) + "}"


def _moment(recorded: Recorded) -> str | None:
    try:
        return recorded.recorded_at.isoformat(timespec="microseconds")
    except (OverflowError, ValueError, OSError):  # a clock may have said anything
        return None


def _spliced(body: bytes | None) -> str:
    if body is None:
        return _BODY + "null"
    try:
        text = body.decode("utf-8")
        parse_json(text)
    except (UnicodeDecodeError, AdmissionError):
        text = "\n"
    if "\n" in text or "\r" in text:  # damaged, or in more lines than one: kept to the byte all the same
        return f'{_BASE64}"{base64.b64encode(body).decode()}"'
    return _BODY + text


@dataclass(frozen=True, slots=True)
class ExportVerification:
    """The result of verifying an export.

    `unlinked` counts entries whose predecessor is not in the export: they are what they were hashed as only if it is.
    """

    entries: int
    journals: int
    pruned: int
    unlinked: int
    findings: tuple[Finding, ...]
    counts: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether there are no findings."""
        return not self.counts

    def lines(self) -> Iterator[str]:
        """Return the verdict, then each finding, as text for people."""
        what = f"{self.entries} entries of {self.journals} journals ({self.pruned} pruned, {self.unlinked} unlinked)"
        return verdict_lines(what, self.findings, self.counts)


def verify_export(lines: Iterable[str]) -> ExportVerification:
    """Verify digests, hashes and order of an export, from its lines alone; blank lines are passed over."""
    run = _Run()
    for number, line in enumerate(lines, start=1):
        if line.strip():
            run.take(number, line.rstrip("\r\n"))
    return run.verdict()


class ChainCheck:
    """Checks entries against their digests, and against the previous entry; of each journal the last one is kept."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.last: dict[tuple[str, str], tuple[int, bytes]] = {}
        """By workspace and journal: the last sequence and its hash."""
        self.pruned = self.unlinked = 0

    def check(self, entry: Recorded, workspace: str, *, whole: bool) -> None:
        """Check an entry; in what is `whole` none can be without the one before it."""
        self._check_body(entry)
        self._check_link(entry, workspace, whole=whole)

    def tell(self, code: str, entry: Recorded, what: str) -> None:
        """Add a finding about an entry."""
        self.findings.add(
            code,
            f"{entry.journal} sequence {entry.sequence} (position {entry.position}) {what}",
            position=entry.position,
            journal=entry.journal,
            sequence=entry.sequence,
        )

    def _check_body(self, entry: Recorded) -> None:
        if entry.is_sealed:
            return  # only a reader with the keys can check it
        if entry.salt is None and entry.body is None:
            self.pruned += 1
        elif entry.salt is None or entry.body is None or len(entry.salt) != SALT_BYTES:
            self.tell("TAMPERED", entry, "has lost its body or its salt")
        elif not _has_digest(entry, entry.salt, entry.body):
            self.tell("TAMPERED", entry, "does not have the digest of its body")

    def _check_link(self, entry: Recorded, workspace: str, *, whole: bool) -> None:
        key = (workspace, entry.journal)
        before = self.last.get(key)
        if before is None and entry.sequence == 1:
            before = (0, genesis(*key))
        if before is None:
            self.unlinked += 1
            if whole:
                self.tell("MISSING", entry, "is the first of its journal here, and no position before it is missing")
        elif entry.sequence <= before[0]:
            self.tell("REORDERED", entry, f"comes after sequence {before[0]}")
            return
        elif entry.sequence > before[0] + 1:
            self.tell("MISSING", entry, f"follows sequence {before[0]}: those between are gone")
        elif (
            entry_hash(_header(entry, workspace), entry.body_digest, before[1], scheme=entry.hashed_by)
            != entry.entry_hash
        ):
            self.tell("TAMPERED", entry, f"does not follow from sequence {before[0]}: one of the two was changed")
        self.last[key] = (entry.sequence, entry.entry_hash)


class _Run:
    """One pass over the lines of an export."""

    def __init__(self) -> None:
        self._findings = Findings()
        self._chains = ChainCheck(self._findings)
        self._position = self._entries = 0
        self._workspace: str | None = None
        self._is_whole = True
        """Whether every position from the first one on was there: then no entry can be without the one before it."""
        self._hole: Recorded | None = None

    def take(self, number: int, line: str) -> None:
        self._entries += 1
        try:
            workspace, entry = parse_line(line)
        except UNREADABLE as error:
            self._findings.add("DAMAGED", f"line {number} is not one of an export: {type(error).__name__}: {error}")
            return
        self._check_place(entry, workspace)
        self._position = max(self._position, entry.position)
        self._chains.check(entry, workspace, whole=self._is_whole)

    def verdict(self) -> ExportVerification:
        chains = self._chains
        if self._hole is not None and len(chains.last) > 1:
            chains.tell(
                "MISSING", self._hole, "does not follow upon the position before it: this is of several journals"
            )
        return ExportVerification(
            entries=self._entries,
            journals=len(chains.last),
            pruned=chains.pruned,
            unlinked=chains.unlinked,
            findings=tuple(self._findings.kept),
            counts=dict(self._findings.counts),
        )

    def _check_place(self, entry: Recorded, workspace: str) -> None:
        """Check an entry against the lines before it: an export is of one workspace, by position."""
        tell = self._chains.tell
        if workspace != (self._workspace or workspace):
            tell("TAMPERED", entry, f"is of workspace {workspace}, the lines before it of {self._workspace}")
        self._workspace = self._workspace or workspace
        if entry.position <= self._position:
            tell("REORDERED", entry, "comes after a later position")
        elif entry.position > self._position + 1:
            self._is_whole = False
            if self._entries > 1 and self._hole is None:
                self._hole = entry


UNREADABLE = (AdmissionError, KeyError, TypeError, ValueError, AttributeError)
"""What `parse_line` raises for a line that is none."""


def parse_line(line: str) -> tuple[str, Recorded]:
    """Return the workspace and the entry of a line that is, to the letter, the one that `export_line` writes for it."""
    said = parse_json(line.encode())
    if not isinstance(said, dict):
        raise TypeError("not an object")
    if said.get(JOINED):
        raise ValueError("it is of a joined export, whose bodies are not those that were hashed: export without it")
    workspace, digest, found = _text(said["workspace"]), _bytes(said["body_digest"]), _bytes(said["entry_hash"])
    if digest is None or found is None:
        raise TypeError("hashes are missing")
    salt = _bytes(said["salt"])
    entry = Recorded(
        position=_number(said["position"]),
        journal=_text(said["journal"]),
        sequence=_number(said["sequence"]),
        kind=_text(said["kind"]),
        schema_version=_number(said["schema_version"]),
        command_id=None if said["command_id"] is None else _text(said["command_id"]),
        epoch=_number(said["epoch"]),
        recorded_at_us=_number(said["recorded_at_us"]),
        clock_back_us=_number(said["clock_back_us"]),
        policy_hash=_bytes(said["policy_hash"]),
        salt=salt,
        body=_body_of(line, said, gone=salt is None),
        body_digest=digest,
        entry_hash=found,
        body_scheme=_number(said.get("body_scheme", PLAIN_SCHEME)),
        workspace=workspace,
    )
    if export_line(entry, workspace=workspace) != line:
        raise ValueError("it differs from the export of this entry: was it rewritten?")
    return workspace, entry


def _body_of(line: str, said: Mapping[str, JsonValue], *, gone: bool) -> bytes | None:
    if "body_base64" in said:
        return base64.b64decode(_text(said["body_base64"]), validate=True)
    if gone and said["body"] is None:
        return None
    _, _, rest = line.partition(_BODY)
    return rest[:-1].encode()


def _has_digest(entry: Recorded, salt: bytes, body: bytes) -> bool:
    try:
        return digest_by(entry.body_scheme, salt, body) == entry.body_digest
    except (ValueError, RecursionError):  # by scheme 2 a body is JSON
        return False


def _header(entry: Recorded, workspace: str) -> Header:
    return Header(
        workspace,
        entry.journal,
        entry.kind,
        entry.command_id,
        entry.policy_hash,
        entry.sequence,
        entry.position,
        entry.schema_version,
        entry.epoch,
        entry.recorded_at_us,
        entry.clock_back_us,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"[{value!r:.40}] is not text")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise TypeError(f"[{value!r:.40}] is not an integer of 63 bits")
    return value


def _bytes(value: object) -> bytes | None:
    return None if value is None else bytes.fromhex(_text(value))
