"""Sealing journals that have come to rest into an archive; nothing is changed where they lie."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, NamedTuple

from loom.archive.durable import sync_name
from loom.archive.manifest import CONTEXT, ENTRIES, MANIFEST, README, ArchivedJournal, Manifest, digest_of
from loom.archive.retention import Retention
from loom.clock import datetime_from_us, us_from_datetime
from loom.errors import ConfigError
from loom.identity import check_person, parse_journal_name
from loom.journal.entry import Recorded
from loom.journal.export import Readable, export_line
from loom.journal.kinds import ENDINGS, OWN_IDS, CommandReceivedEntry
from loom.journal.private import open_private
from loom.sealing.concerning import sealed_in

__all__ = ["Sealed", "Seen", "look", "seal"]

_RUN_ENDED = "run_ended"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # a zip says when its files were made; the manifest says it better
_ABOUT = """This is an archive of loom: journals of decisions that had come to rest, sealed into one file.

manifest.json   which journals, how long each is, with which hash each ends, and the SHA-256 of entries.jsonl
entries.jsonl   every entry as one line of JSON, by position; a line ends with the body to the byte as it was stored

`loom archive verify FILE` verifies every hash and every chain, and `loom archive show FILE` reads it. Without loom: the
hash of an entry is SHA-256 over its header, the digest of its body and the hash of the entry before it in its journal;
docs/journal-format.md of loom says how to the byte.
"""


class Sealed(NamedTuple):
    """What was sealed: the manifest, the digest that names the archive, and how many journals were left, by why."""

    manifest: Manifest
    digest: str
    left: Mapping[str, int]


@dataclass(slots=True)
class Seen:
    """What is known of a journal once all of it was read."""

    entries: int = 0
    first_at_us: int = 0
    last_at_us: int = 0
    head: bytes = b""
    is_an_actors: bool = False
    """Whether it took commands, or holds what was imported, which is dealt with in the same way."""
    is_pruned: bool = False
    unfinished: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)
    """For whom something in it is sealed, and whose name is its key."""

    def take(self, recorded: Recorded) -> None:
        """Take the next entry in."""
        if not self.entries:
            self.subjects.add(parse_journal_name(recorded.journal).key)
        self.subjects.update(each.subject for each in sealed_in(recorded))
        self.entries += 1
        self.first_at_us = self.first_at_us or recorded.recorded_at_us
        self.last_at_us = recorded.recorded_at_us
        self.head = recorded.entry_hash
        self.is_pruned = self.is_pruned or recorded.body is None
        if recorded.command_id is None:
            return
        if recorded.kind in OWN_IDS:
            self.is_an_actors = True
            if (said := recorded.plain) is not None:
                self.imports.add(said["decision"]["run_id"])
        if recorded.kind == CommandReceivedEntry.kind:
            self.is_an_actors = True
            self.unfinished.add(recorded.command_id)
        elif recorded.kind in ENDINGS:
            self.unfinished.discard(recorded.command_id)

    def why_left(
        self, before_us: int, *, is_kept: bool, ended: Collection[str], held: Collection[str] = ()
    ) -> str | None:
        """Return why a journal of an actor stays out, or None; `held` are subjects that nothing is pruned of."""
        if self.last_at_us >= before_us:
            return "younger"
        if is_kept:
            return "kept by retention"
        if self.is_pruned:
            return "pruned already"
        if not self.subjects.isdisjoint(held):
            return "of a subject on hold"
        if not self.imports.issubset(ended):
            return "with an import that has not ended"
        return "with a turn that has no end" if self.unfinished else None


async def look(
    source: Readable, *, until: int, progress: Callable[[int], None] = lambda done: None
) -> tuple[dict[str, Seen], set[str]]:
    """Return what is known of every journal by its name, and which runs have ended."""
    seen: dict[str, Seen] = {}
    ended: set[str] = set()
    async for recorded in source.read_all(until=until):
        seen.setdefault(recorded.journal, Seen()).take(recorded)
        if recorded.kind == _RUN_ENDED and recorded.plain is not None:
            ended.add(recorded.plain["run_id"])
        progress(recorded.position)
    return seen, ended


async def seal(
    source: Readable,
    out: Path,
    *,
    workspace: str,
    until: int,
    before: datetime,
    by: str,
    now: datetime,
    retention: Retention | None = None,
    held: Collection[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sealed | None:
    """Seal the journals of actors that end before a moment into a new file; None, and no file, where there are none.

    Those that `retention` keeps stay out; without one, `Archives.add` asks for an override. Those of subjects who are
    `held` stay out as well. What they need to be
    understood comes with them whole: the journals of loom itself. `until` is the last position to be looked at. The
    file takes its name when all of it is on the disk, and is never overwritten: `ConfigError`.
    """
    check_person(by)
    seen, ended = await look(source, until=until, progress=lambda done: progress(done, 2 * until))
    before_us = us_from_datetime(before)
    ended_at = {name: datetime_from_us(each.last_at_us) for name, each in seen.items() if each.is_an_actors}
    kept = {} if retention is None else retention.within(ended_at, now)
    actors = {name: seen[name].why_left(before_us, is_kept=name in kept, ended=ended, held=held) for name in ended_at}
    context = {name for name in seen if name.startswith(CONTEXT) and name not in actors}
    chosen = {name for name, why in actors.items() if why is None}
    if not chosen:
        return None
    with _Part(out) as part:
        async for recorded in source.read_all(until=until):
            if recorded.journal in chosen or recorded.journal in context:
                part.line(export_line(recorded, workspace=workspace))
            progress(until + recorded.position, 2 * until)
        manifest = Manifest(
            workspace=workspace, before=before, sealed_at=now, by=by, loom=version("loom-journal"),
            entries=part.lines, last_position=until, entries_sha256=part.sha256.hexdigest(),
            readme_sha256=hashlib.sha256(_ABOUT.encode()).hexdigest(),
            journals=tuple(
                _listed(name, seen[name], context=name in context) for name in sorted(chosen | context)
            ),
        )  # fmt: skip
        raw = manifest.raw()
        part.finish(raw)
    return Sealed(manifest, digest_of(raw), Counter(why for why in actors.values() if why is not None))


def _listed(name: str, seen: Seen, *, context: bool) -> ArchivedJournal:
    return ArchivedJournal(
        journal=name, entries=seen.entries, head=seen.head.hex(), first_at=datetime_from_us(seen.first_at_us),
        last_at=datetime_from_us(seen.last_at_us), context=context,
    )  # fmt: skip


class _Part:
    """An archive in the making: a file beside the one that it becomes, for its owner only."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._path = out.with_name(f"{out.name}.part")
        self.lines = 0
        self.sha256 = hashlib.sha256()

    def __enter__(self) -> _Part:
        if self._out.exists():
            raise ConfigError(f"file [{self._out}] is there already; expected a new name: name one with --out")
        try:
            descriptor = open_private(self._path, os.O_WRONLY | os.O_TRUNC)
        except OSError as error:
            raise ConfigError(f"file [{self._out}] cannot be made [{error.strerror}]: choose another") from error
        self._file = open(descriptor, "wb")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED)
        self._entries: IO[bytes] = self._zip.open(_info(ENTRIES), "w", force_zip64=True)
        return self

    def line(self, text: str) -> None:
        """Write a line."""
        raw = text.encode() + b"\n"
        self._entries.write(raw)
        self.sha256.update(raw)
        self.lines += 1

    def finish(self, manifest: bytes) -> None:
        """Write the manifest; give the file its name once all of it is on the disk, and sync the name as well."""
        self._entries.close()
        self._zip.writestr(_info(MANIFEST), manifest)
        self._zip.writestr(_info(README), _ABOUT)
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        os.link(self._path, self._out)
        sync_name(self._out)

    def __exit__(self, *_: object) -> None:
        if not self._entries.closed:
            self._entries.close()
        self._zip.close()
        self._file.close()
        self._path.unlink(missing_ok=True)


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _LONG_AGO)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o600 << 16
    return info
