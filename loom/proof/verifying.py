"""What `loom verify` holds a journal against: checkpoints that were anchored, and those that it has itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from loom.config import LoomConfig
from loom.errors import ConfigError
from loom.journal.findings import Finding, Verification
from loom.journal.roots import Root
from loom.journal.sqlite import JournalFiles
from loom.journal.store import JournalReader
from loom.proof.anchors import Anchor, Anchored, anchors_of
from loom.proof.config import TimeStampsConfig
from loom.proof.errors import AnchorError
from loom.proof.log import CheckpointLog, Judgement
from loom.proof.notes import Checkpoint, Note
from loom.proof.opening import anchors_in, trusted_in
from loom.proof.stamps import certificates_in, read_stamp

__all__ = ["AnchorSeen", "Evidence", "evidence_of", "with_evidence"]


class AnchorSeen(NamedTuple):
    """What an anchor holds: the size of its largest checkpoint of this log, when it was written down, what is wrong."""

    name: str
    size: int = 0
    at: datetime | None = None
    problem: str | None = None


@dataclass
class Evidence:
    """Roots by what vouches for them, findings that need no tree, and what the anchors hold."""

    anchored: list[Root] = field(default_factory=list)
    signed: list[Root] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    anchors: list[AnchorSeen] = field(default_factory=list)
    origin: str | None = None
    newest: int = 0
    """The size of the newest checkpoint in the journal that a known key has signed."""

    @property
    def anchored_at(self) -> datetime | None:
        """When the largest checkpoint was written down elsewhere; None where no anchor says."""
        return max((each for each in self.anchors if each.at is not None), default=AnchorSeen(""), key=_size).at


async def evidence_of(reader: JournalReader, workspace: str, files: JournalFiles, config: LoomConfig) -> Evidence:
    """Collect what there is about the checkpoints of a workspace; what cannot be read is a finding."""
    found = Evidence()
    trusted = await asyncio.to_thread(trusted_in, config, files)
    log = CheckpointLog(reader, workspace)
    try:
        await log.load()
    except Exception as error:  # a damaged journal raises whatever it likes
        found.findings.append(Finding("DAMAGED", f"checkpoints of the journal cannot be read: {type(error).__name__}"))
    found.origin = log.origin
    if log.keys and trusted and not set(trusted) & set(log.keys):
        found.findings.append(
            Finding("UNKNOWN_SIGNER", "the key in the config is not one of the log's: the journal may be another's")
        )
    for position in log.unreadable:
        found.findings.append(Finding("DAMAGED", "checkpoint is none", position=position))
    for each in log.checkpoints:
        judged = _take(log, each.note, trusted, found.signed)
        if not judged.holds:
            found.findings.append(Finding(_CODES[judged.answer], f"checkpoint: {judged.words}", position=each.position))
        else:
            found.newest = max(found.newest, each.size if each.checkpoint.origin == log.origin else 0)
    for authority in anchors_in(config).timestamps:
        await asyncio.to_thread(_look_at_stamp, authority, log, found)
    for anchor in anchors_of(anchors_in(config), workspace):
        await asyncio.to_thread(_look, anchor, log, trusted, found)
    return found


def with_evidence(result: Verification, found: Evidence) -> Verification:
    """Return the result of a verification with the findings about checkpoints."""
    if not found.findings:
        return result
    counts = dict(result.counts)
    for each in found.findings:
        counts[each.code] = counts.get(each.code, 0) + 1
    return replace(result, findings=(*result.findings, *found.findings), counts=counts)


_FOREVER = 2**63 - 1
_CODES = {
    "UNKNOWN_KEY": "UNKNOWN_SIGNER",
    "KEY_RETIRED": "UNKNOWN_SIGNER",
    "OTHER_LOG": "FORKED",
    "CUT": "CUT",
    "FORKED": "FORKED",
}


def _take(log: CheckpointLog, note: Note, trusted: tuple[bytes, ...], roots: list[Root]) -> Judgement:
    """Judge who signed a checkpoint, and of which log; its root is compared by the scan of the table."""
    said = Checkpoint.parse(note.text)
    judged = log.judge(note, lambda _: said.root, _FOREVER, trusted=trusted)
    if judged.holds and said.size > 0 and said.size <= log.earlier.get(said.origin, _FOREVER):
        roots.append(said.seen)
    return judged


def _look(anchor: Anchor, log: CheckpointLog, trusted: tuple[bytes, ...], found: Evidence) -> None:
    largest: Anchored | None = None
    try:
        for each in anchor.all():
            judged = _take(log, each.note, trusted, found.anchored)
            if not judged.holds:
                found.findings.append(Finding(_CODES[judged.answer], f"anchor [{anchor.name}]: {judged.words}"))
            elif largest is None or each.checkpoint.size > largest.checkpoint.size:
                largest = each
    except AnchorError as error:
        found.anchors.append(AnchorSeen(anchor.name, problem=str(error)))
        return
    problem = None if largest is not None else "it has no checkpoint of this log"
    size, at = (0, None) if largest is None else (largest.checkpoint.size, largest.at)
    found.anchors.append(AnchorSeen(anchor.name, size, at, problem))


def _look_at_stamp(authority: TimeStampsConfig, log: CheckpointLog, found: Evidence) -> None:
    """Check the last time stamp of an authority, its signature only where the config says whom to trust."""
    last = log.stamps.get(authority.url)
    if last is None:
        found.anchors.append(AnchorSeen(authority.url, problem="it has stamped no checkpoint of this log"))
        return
    try:
        roots = () if authority.certificates is None else certificates_in(authority.certificates.expanduser())
        stamp = read_stamp(last.token, last.note.encode(), certificates=roots)
    except ConfigError as error:
        found.anchors.append(AnchorSeen(authority.url, last.size, problem=str(error)))
        return
    except AnchorError as error:
        found.findings.append(Finding("UNKNOWN_SIGNER", f"time stamp of [{authority.url}]: {error}"))
        return
    problem = None if roots else f"stamped {stamp.at.isoformat()}; its signature was not checked: no certificates"
    found.anchors.append(AnchorSeen(authority.url, last.size, stamp.at, problem))


def _size(seen: AnchorSeen) -> int:
    return seen.size
