"""Seal inactive journals into an archive; the journals themselves are only read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from loom.archive.closed import closed_line, headed_line
from loom.archive.manifest import CONTEXT, ArchivedJournal, Manifest, digest_of
from loom.archive.part import ArchivePart
from loom.archive.retention import Retention
from loom.archive.whose import Whose
from loom.clock import datetime_from_us, us_from_datetime
from loom.identity import check_person, parse_journal_name
from loom.journal.entry import Recorded
from loom.journal.export import Readable, export_line
from loom.journal.kinds import ENDINGS, OWN_IDS, CommandReceivedEntry
from loom.journal.ranges import within
from loom.sealing import Erasures, Vault
from loom.sealing.concerning import sealed_in

__all__ = ["Lines", "Sealed", "Seen", "listed", "look", "seal"]

_RUN_ENDED = "run_ended"


class Sealed(NamedTuple):
    """The manifest, the digest that identifies the archive, and how many journals were left, by reason."""

    manifest: Manifest
    digest: str
    left: Mapping[str, int]


@dataclass(slots=True)
class Seen:
    """Properties of a journal, collected while it is read."""

    entries: int = 0
    first_at_us: int = 0
    last_at_us: int = 0
    head: bytes = b""
    is_an_actors: bool = False
    """Whether it took commands, or holds imported decisions, which are treated in the same way."""
    bodies: int = 0
    """How many entries have their body."""
    unfinished: set[str] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)
    has_commands: bool = False
    """Whether it took commands: then an actor's state is folded from it."""
    sealed_for: set[str] = field(default_factory=set)
    """The subjects for whom something in it is sealed."""
    key: str = ""

    def take(self, recorded: Recorded) -> None:
        """Add the next entry."""
        if not self.entries:
            self.key = parse_journal_name(recorded.journal).key
        self.sealed_for.update(each.subject for each in sealed_in(recorded))
        self.entries += 1
        self.first_at_us = self.first_at_us or recorded.recorded_at_us
        self.last_at_us = recorded.recorded_at_us
        self.head = recorded.entry_hash
        self.bodies += recorded.body is not None
        if recorded.command_id is None:
            return
        if recorded.kind in OWN_IDS:
            self.is_an_actors = True
            if (body := recorded.plain) is not None:
                self.imports.add(body["decision"]["run_id"])
        if recorded.kind == CommandReceivedEntry.kind:
            self.is_an_actors = self.has_commands = True
            self.unfinished.add(recorded.command_id)
        elif recorded.kind in ENDINGS:
            self.unfinished.discard(recorded.command_id)

    @property
    def is_pruned(self) -> bool:
        """Whether any body is gone."""
        return self.bodies < self.entries

    def why_left(
        self,
        before_us: int,
        *,
        is_kept: bool,
        ended: Collection[str],
        held: Collection[str] = (),
        is_encrypted: bool = False,
    ) -> str | None:
        """Return why a journal of an actor is left out, or None; `held` are the subjects on hold.

        An encrypted archive accepts a journal of which single bodies were pruned.
        """
        if self.last_at_us >= before_us:
            return "younger"
        if is_kept:
            return "kept by retention"
        if self.is_pruned and not (is_encrypted and self.bodies):
            return "pruned already"
        if not (self.sealed_for | {self.key}).isdisjoint(held):
            return "of a subject on hold"
        if not self.imports.issubset(ended):
            return "with an import that has not ended"
        return "with a turn that has no end" if self.unfinished else None


async def look(
    source: Readable,
    *,
    until: int,
    whose: Whose | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[dict[str, Seen], set[str]]:
    """Return the properties of every journal by its name, and the runs that ended; `whose` gets every entry."""
    seen: dict[str, Seen] = {}
    ended: set[str] = set()
    async for recorded in source.read_all(until=until):
        seen.setdefault(recorded.journal, Seen()).take(recorded)
        if whose is not None:
            whose.take(recorded)
        if recorded.kind == _RUN_ENDED and recorded.plain is not None:
            ended.add(recorded.plain["run_id"])
        progress(recorded.position)
    return seen, ended


class Lines:
    """The lines of an archive: in clear, or with the bodies that concern subjects sealed for them."""

    def __init__(self, workspace: str, *, vault: Vault | None = None, whose: Whose | None = None) -> None:
        self._workspace = workspace
        self._vault = vault
        self.whose = whose
        """None for an archive in clear; otherwise it must have got all entries before the first line."""
        self.missing: dict[str, set[int]] = {}
        """By journal, the sequences whose bodies were left out."""

    async def of(self, recorded: Recorded, subjects: Mapping[str, int] | None = None) -> str:
        """Return the line of an entry. An encrypted archive leaves out a body that concerns a subject who was erased.

        `subjects` are those whom it concerns, with the generations of their keys, if the caller knows them.
        """
        if recorded.body is None:
            return self.without_body(recorded)
        if subjects is None and self.whose is not None:
            subjects = await self.whose.of(recorded)
        if self.whose is None or self._vault is None or not subjects:
            return export_line(recorded, workspace=self._workspace)
        if self.whose.is_erased(subjects):
            return self.without_body(recorded)
        return await closed_line(recorded, workspace=self._workspace, vault=self._vault, subjects=subjects)

    def without_body(self, recorded: Recorded) -> str:
        """Return the line of an entry whose body is not in the archive."""
        self.missing.setdefault(recorded.journal, set()).add(recorded.sequence)
        return headed_line(recorded, workspace=self._workspace)


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
    vault: Vault | None = None,
    erasures: Erasures | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sealed | None:
    """Seal the journals of actors that end before a moment into a new file; None, and no file, if there are none.

    Journals that `retention` keeps are left out; without `retention`, `Archives.add` asks for an override. Journals of
    subjects who are `held` are left out as well. The journals of loom itself are included whole, as they are needed to
    understand the others. With a `vault` and its `erasures` the archive is encrypted: each body that concerns subjects
    is sealed for them. `until` is the last position to read. The file gets its name once all of it is on the disk; an
    existing file is not overwritten: `ConfigError`.
    """
    check_person(by)
    whose = None if vault is None or erasures is None else Whose(vault, erasures)
    lines = Lines(workspace, vault=vault, whose=whose)
    seen, ended = await look(source, until=until, whose=whose, progress=lambda done: progress(done, 2 * until))
    before_us, encrypted = us_from_datetime(before), whose is not None
    ended_at = {name: datetime_from_us(each.last_at_us) for name, each in seen.items() if each.is_an_actors}
    kept = {} if retention is None else retention.within(ended_at, now)
    actors = {
        name: seen[name].why_left(before_us, is_kept=name in kept, ended=ended, held=held, is_encrypted=encrypted)
        for name in ended_at
    }
    context = {name for name in seen if name.startswith(CONTEXT) and name not in actors}
    chosen = {name for name, why in actors.items() if why is None}
    if not chosen:
        return None
    with ArchivePart(out, is_encrypted=encrypted) as part:
        async for recorded in source.read_all(until=until):
            if recorded.journal in chosen or recorded.journal in context:
                part.line(await lines.of(recorded))
            progress(until + recorded.position, 2 * until)
        manifest = Manifest(
            format="loom.archive/2" if encrypted else "loom.archive/1",
            workspace=workspace,
            before=before,
            sealed_at=now,
            by=by,
            loom=version("loom-journal"),
            entries=part.lines,
            last_position=until,
            entries_sha256=part.sha256.hexdigest(),
            readme_sha256=part.readme_sha256,
            journals=tuple(
                listed(name, seen[name], lines, context=name in context) for name in sorted(chosen | context)
            ),
        )
        raw = manifest.raw()
        part.finish(raw)
    return Sealed(manifest, digest_of(raw), Counter(why for why in actors.values() if why is not None))


def listed(name: str, seen: Seen, lines: Lines, *, context: bool = False) -> ArchivedJournal:
    """Return the description of a journal for a manifest."""
    missing = () if context else tuple(within(lines.missing.get(name, ())))
    return ArchivedJournal(
        journal=name,
        entries=seen.entries,
        head=seen.head.hex(),
        first_at=datetime_from_us(seen.first_at_us),
        last_at=datetime_from_us(seen.last_at_us),
        context=context,
        missing=missing,
    )
