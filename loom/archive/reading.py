"""Read an archive: verify it from its own bytes alone, and read it like the journal that it came from."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from loom.archive.closed import opened, parse_archived
from loom.archive.manifest import CONTEXT, ENTRIES, MANIFEST, README, Manifest, digest_of
from loom.clock import us_from_datetime
from loom.errors import ErasedError, JournalCorruptError, JournalNotFoundError
from loom.identity import check_limit
from loom.journal.entry import Part, Recorded
from loom.journal.export import UNREADABLE, ChainCheck, Readable
from loom.journal.findings import Finding, Findings, verdict_lines
from loom.journal.kinds import ENDINGS, MARKS, CommandReceivedEntry
from loom.sealing import Vault

__all__ = ["Archive", "ArchiveVerification"]

_NO_END = 2**63
_MOST_MANIFEST_BYTES = 268_435_456
_MOST_LINE_BYTES = 268_435_456
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, UnicodeDecodeError, ValueError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class ArchiveVerification:
    """The result of verifying an archive."""

    digest: str
    entries: int
    journals: int
    findings: tuple[Finding, ...]
    counts: dict[str, int]
    closed: int = 0
    """How many bodies are sealed: they are present, but their contents were not verified."""

    @property
    def ok(self) -> bool:
        """Whether there are no findings."""
        return not self.counts

    def lines(self) -> Iterator[str]:
        """Return the verdict, then each finding, as text for people."""
        sealed = f" ({self.closed} sealed)" if self.closed else ""
        what = f"{self.entries} entries of {self.journals} journals{sealed}"
        return verdict_lines(what, self.findings, self.counts)


class Archive:
    """An archive that is open for reading. Each query reads it from the beginning: it is cold storage.

    With a `vault`, the bodies of an encrypted archive are opened as they are read; bodies of subjects who were erased
    are missing, like pruned ones. Without a vault, sealed bodies are returned as `UnknownEntry`, `sealed`.
    """

    def __init__(self, path: Path, *, vault: Vault | None = None) -> None:
        self.path = path
        self._vault = vault
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError as error:
            raise JournalNotFoundError(f"there is no file at [{path}]; expected an archive: name another") from error
        except _DAMAGED as error:
            raise self._damaged(error) from error
        try:
            _check_members(self._zip)
            with self._zip.open(MANIFEST) as file:
                raw = file.read(_MOST_MANIFEST_BYTES)
            self.manifest = Manifest.model_validate_json(raw)
        except (KeyError, ValidationError, RuntimeError, *_DAMAGED) as error:
            self._zip.close()
            raise self._damaged(error) from error
        self.digest = digest_of(raw)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the entries; raise `JournalCorruptError` if they cannot be read."""
        for raw in self._raw_lines():
            yield raw.decode().rstrip("\n")

    def verify(self) -> ArchiveVerification:
        """Verify all of it from its own bytes: digests, hashes, chains, order, and the manifest."""
        findings = Findings()
        chains = ChainCheck(findings)
        times: dict[str, tuple[int, int]] = {}
        left_out = _LeftOut(self.manifest)
        sha256 = hashlib.sha256()
        count = position = closed = 0
        try:
            for number, raw in enumerate(self._raw_lines(), start=1):
                count = number
                sha256.update(raw)
                try:
                    workspace, entry = parse_archived(raw.decode().rstrip("\n"))
                except UNREADABLE as error:
                    findings.add("DAMAGED", f"line {number} is not one of an archive: {type(error).__name__}: {error}")
                    continue
                if workspace != self.manifest.workspace:
                    findings.add("TAMPERED", f"line {number} is of workspace {workspace}")
                if entry.position <= position:
                    findings.add("REORDERED", f"line {number} comes after a later position", position=entry.position)
                position = max(position, entry.position)
                times[entry.journal] = (times.get(entry.journal, (entry.recorded_at_us, 0))[0], entry.recorded_at_us)
                if left_out.is_wrong(entry):
                    chains.tell("TAMPERED", entry, "has no body although the manifest lists it, or the other way round")
                closed += entry.is_sealed
                chains.check(entry, workspace, whole=True)
        except (JournalCorruptError, *_DAMAGED) as error:
            findings.add("DAMAGED", f"the entries end after line {count}: {error}")
        if sha256.hexdigest() != self.manifest.entries_sha256:
            findings.add("TAMPERED", "the entries are not those that the manifest was made for")
        self._hold_against_manifest(chains, count, findings)
        self._check_manifest(times, position, findings)
        if closed and not self.manifest.is_encrypted:
            findings.add("TAMPERED", "bodies are sealed, and the manifest says that it is not encrypted")
        return ArchiveVerification(
            self.digest, count, len(chains.last), tuple(findings.kept), dict(findings.counts), closed
        )

    async def verify_closed(self, vault: Vault) -> list[Finding]:
        """Return what is wrong with sealed bodies: each must open and match its digest, unless a subject was erased.

        `verify` checks everything that can be checked without keys.
        """
        findings = Findings()
        for line in self.lines():
            entry = self._entry(line)
            try:
                await opened(entry, vault)
            except ErasedError as error:
                findings.add(
                    "DAMAGED",
                    f"{entry.journal} sequence {entry.sequence} does not open: {error}",
                    position=entry.position,
                    journal=entry.journal,
                    sequence=entry.sequence,
                )
        return findings.kept

    async def compare(self, source: Readable) -> list[Finding]:
        """Return the differences from the journal that it came from. Equal heads mean that all entries are equal."""
        findings = Findings()
        for listed in self.manifest.journals:
            there = [e async for e in source.read(listed.journal, after=listed.entries - 1, until=listed.entries)]
            if not there:
                findings.add(
                    "TRUNCATED", f"{listed.journal} has fewer than {listed.entries} entries now", journal=listed.journal
                )
            elif there[0].entry_hash.hex() != listed.head:
                findings.add(
                    "REWRITTEN",
                    f"{listed.journal} is not the journal that was sealed",
                    journal=listed.journal,
                    sequence=listed.entries,
                    position=there[0].position,
                )
        return findings.kept

    def __enter__(self) -> Self:
        """Return the archive, which is closed at the end of the block."""
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    # --- read like a journal --------------------------------------------------------------------

    @property
    def workspace(self) -> str:
        """The workspace whose journals these are."""
        return self.manifest.workspace

    async def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream one journal by sequence."""
        marked = f'"journal":{json.dumps(journal, ensure_ascii=False)},'  # lines of other journals are not parsed
        for line in self.lines():
            if marked not in line:
                continue
            entry = self._entry(line)
            if entry.journal == journal and entry.sequence > after:
                if until is not None and entry.sequence > until:
                    return
                yield await self._opened(entry)

    async def read_all(self, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream all of it by position."""
        for line in self.lines():
            entry = self._entry(line)
            if until is not None and entry.position > until:
                return
            if entry.position > after:
                yield await self._opened(entry)

    async def find_command(self, journal: str, command_id: str) -> Recorded | None:
        """Return the entry with which a command was received, or None."""
        async for entry in self.read(journal):
            if entry.kind == CommandReceivedEntry.kind and entry.command_id == command_id:
                return entry
        return None

    async def at(self, positions: Collection[int]) -> dict[int, Recorded]:
        """Return position → entry, for the positions that have one."""
        wanted = frozenset(positions)
        return {entry.position: entry async for entry in self.read_all() if entry.position in wanted}

    async def parts(self, positions: Collection[int], paths: Sequence[str]) -> dict[int, Part]:
        """Return position → the values in the body of its entry at two or more paths, of names joined by dots."""
        return {at: Part.of(entry, paths) for at, entry in (await self.at(positions)).items()}

    async def steps(self, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], Recorded]:
        """Return (journal, sequence) → entry, for those that exist: the steps that decisions refer to."""
        asked = frozenset(wanted)
        return {
            (entry.journal, entry.sequence): entry
            async for entry in self.read_all()
            if (entry.journal, entry.sequence) in asked
        }

    async def commands(self, turns: Collection[tuple[str, str]], paths: Sequence[str]) -> dict[tuple[str, str], Part]:
        """Return turn → the values in the body of its `CommandReceivedEntry` at two or more paths."""
        found = {turn: await self.find_command(*turn) for turn in turns}
        return {turn: Part.of(entry, paths) for turn, entry in found.items() if entry is not None}

    async def marks(self, turns: Collection[tuple[str, str]]) -> list[Recorded]:
        """Return the entries of `MARKS` of some turns, by position; a turn is (journal, command id)."""
        wanted = frozenset(turns)
        return [
            entry
            async for entry in self.read_all()
            if entry.kind in MARKS and (entry.journal, entry.command_id) in wanted
        ]

    async def unfinished(self, *, asked: bool = False) -> AsyncIterator[Recorded]:
        """Stream the `CommandReceivedEntry` of every turn without an end; with `asked`, only if it awaits a person."""
        received: dict[tuple[str, str | None], Recorded] = {}
        asking: set[tuple[str, str | None]] = set()
        async for entry in self.read_all():
            turn = (entry.journal, entry.command_id)
            if entry.kind == CommandReceivedEntry.kind:
                received[turn] = entry
            elif entry.kind in ENDINGS:
                received.pop(turn, None)
            elif entry.kind == "approval_requested":
                asking.add(turn)
        for turn, entry in received.items():
            if turn in asking or not asked:
                yield entry

    async def journals(self, *, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        """Return names and last sequences of journals by name."""
        return [(each.journal, each.entries) for each in self.manifest.journals if each.journal > after][
            : check_limit(limit)
        ]

    def _raw_lines(self) -> Iterator[bytes]:
        try:
            with self._zip.open(ENTRIES) as file:
                while raw := file.readline(_MOST_LINE_BYTES):
                    yield raw
        except (KeyError, RuntimeError, *_DAMAGED) as error:
            raise self._damaged(error) from error

    def _entry(self, line: str) -> Recorded:
        try:
            return parse_archived(line)[1]
        except UNREADABLE as error:
            raise self._damaged(error) from error

    async def _opened(self, entry: Recorded) -> Recorded:
        return entry if self._vault is None else await opened(entry, self._vault)

    def _hold_against_manifest(self, chains: ChainCheck, count: int, findings: Findings) -> None:
        manifested = {each.journal: each for each in self.manifest.journals}
        for name in sorted({name for _, name in chains.last} - set(manifested)):
            findings.add("TAMPERED", f"{name} is not in the manifest", journal=name)
        for name, listed in manifested.items():
            sequence, head = chains.last.get((self.workspace, name), (0, b""))
            if (sequence, head.hex()) != (listed.entries, listed.head):
                findings.add(
                    "TRUNCATED" if sequence < listed.entries else "TAMPERED",
                    f"{name} ends at sequence {sequence}, and not with the head in the manifest",
                    journal=name,
                )
        if count != self.manifest.entries:
            findings.add("TAMPERED", f"there are {count} entries where the manifest says {self.manifest.entries}")

    def _check_manifest(self, times: Mapping[str, tuple[int, int]], position: int, findings: Findings) -> None:
        """Compare the times, positions and context in the manifest with the entries."""
        manifest, lies = self.manifest, []
        try:
            readme = hashlib.sha256(self._zip.read(README)).hexdigest()
        except (RuntimeError, *_DAMAGED):
            readme = ""
        if readme != manifest.readme_sha256:
            lies.append("has the hash of another README.txt")
        if any(each.last_at > manifest.sealed_at for each in manifest.journals):
            lies.append("has a sealing time before its last entry")
        names = [each.journal for each in manifest.journals]
        if len(set(names)) != len(names):
            lies.append("names a journal twice")
        if position > manifest.last_position:
            lies.append("ends before its last entry")
        for each in manifest.journals:
            first, last = times.get(each.journal, (0, 0))
            claimed = us_from_datetime(each.first_at), us_from_datetime(each.last_at)
            if each.journal in times and claimed != (first, last):
                lies.append(f"has other times for the first and last entry of {each.journal}")
            if each.context and not each.journal.startswith(CONTEXT):
                lies.append(f"calls {each.journal} context")
            if not each.context and each.last_at >= manifest.before:
                lies.append(f"has {each.journal}, which does not end before {manifest.before.isoformat()}")
        for lie in lies:
            findings.add("TAMPERED", f"the manifest {lie}")

    def _damaged(self, error: Exception) -> JournalCorruptError:
        return JournalCorruptError(
            f"archive [{self.path}] cannot be read [{type(error).__name__}: {str(error)[:200]}]; expected one that "
            "`loom archive` has written: use another copy of it"
        )


class _LeftOut:
    """The bodies that are not in an archive, by its manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self._missing = {each.journal: sorted(each.missing) for each in manifest.journals if not each.context}
        self._is_encrypted = manifest.is_encrypted

    def is_wrong(self, entry: Recorded) -> bool:
        """Tell whether an entry has no body although it should have one, or the other way round."""
        ranges = self._missing.get(entry.journal)
        if ranges is None:
            return False
        at = bisect_right(ranges, (entry.sequence, _NO_END))  # the ranges are sorted
        left_out = self._is_encrypted and at > 0 and entry.sequence <= ranges[at - 1][1]
        return left_out != (entry.body is None)


def _check_members(archive: zipfile.ZipFile) -> None:
    """Refuse a file that another reader could read differently: each member once, and no bytes before or after."""
    names = [each.filename for each in archive.infolist()]
    begins = min((each.header_offset for each in archive.infolist()), default=-1)
    if sorted(names) != sorted((ENTRIES, MANIFEST, README)) or begins != 0 or archive.comment:
        raise ValueError(f"it holds {', '.join(map(repr, names))[:200]}; an archive has other members")
