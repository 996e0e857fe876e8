"""One decision as a file: the entries of its turn as stored, their proofs, a checkpoint, and a copy of the verifier."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

from loom.errors import ConfigError
from loom.journal.chain import genesis
from loom.journal.entry import Recorded
from loom.journal.kinds import TurnAbandonedEntry, TurnCompletedEntry
from loom.journal.private import open_private
from loom.proof import verify
from loom.proof.errors import ProofError
from loom.proof.keys import verifies
from loom.proof.log import CheckpointLog
from loom.proof.notes import Checkpoint, Note, origin_of
from loom.proof.redaction import Omissions, written
from loom.proof.tree import ProofTree
from loom.proof.verify import FORMAT, LARGEST, CaseError, canonical, note_of, pack

__all__ = [
    "Case",
    "CaseReader",
    "Place",
    "case_of",
    "checkpoint_for",
    "signer_of",
    "verifier",
    "verifier_sha256",
    "write_case",
]

_POLICIES = "loom/policies"
_PLACE = re.compile(r"([^/]+/.+)#([1-9][0-9]{0,17})\Z")
_DECISIONS = frozenset({"decision", "decision_observed"})
_NO_INSTANCE = "00000000-0000-0000-0000-000000000000"
_REGISTERED = "policy_registered"
_FOR_GOOD = frozenset({TurnCompletedEntry.kind, TurnAbandonedEntry.kind})
"""The endings of a turn after which it has no more entries; one that failed may be tried again."""


class CaseReader(Protocol):
    """What a case is read from: a store, or a reader of one."""

    async def find_command(self, journal: str, command_id: str) -> Recorded | None:
        """Return the entry that received a command; None if there is none."""
        ...

    def read(self, journal: str, *, after: int = 0, until: int | None = None) -> AsyncIterator[Recorded]:
        """Stream one journal by sequence."""
        ...


@dataclass(frozen=True)
class Place:
    """Where a decision is: its id, or the place again where that is not known, and the place of its entry."""

    decision_id: str
    journal: str
    sequence: int

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """Return the place that a text `TYPE/KEY#SEQUENCE` names; None for any other text."""
        found = _PLACE.match(text)
        return None if found is None else cls(text, found[1], int(found[2]))


@dataclass(frozen=True)
class Case:
    """A case in the making: what a stranger gets, and what there is to say about it."""

    raw: bytes
    entries: int
    erased: int
    """How many of the entries have no body any more: they are proven all the same."""
    without_policy: bool
    """Whether the version in force is not in the file, though the decision names one."""
    signed: bool
    """Whether the checkpoint has signatures."""


def verifier() -> bytes:
    """Return the verifier for strangers, one file of Python."""
    return (files("loom.proof") / "verify.py").read_bytes()


def verifier_sha256() -> str:
    """Return the digest of the verifier, which is published with each release."""
    return hashlib.sha256(verifier()).hexdigest()


async def case_of(
    reader: CaseReader,
    tree: ProofTree,
    place: Place,
    *,
    workspace: str,
    checkpoint: bytes,
    key: str | None = None,
    without: Collection[str] = (),
) -> Case:
    """Return the case of a decision, under a checkpoint that covers the whole of its turn.

    `checkpoint` is a signed note, or the text of one that no one has signed. `key` is the public key of its signer.
    `without` names fields to leave out: see `Omissions`. Raises `ProofError` for a checkpoint that does not cover the
    turn or has another root than the journal, and for a field that cannot be left out.
    """
    omissions = Omissions(without)
    note = _note(checkpoint)
    turn = await _turn(reader, place, workspace)
    decided = next(each for each, _ in turn if each.sequence == place.sequence)
    identity = place.decision_id if decided.plain is None else decided.plain["decision"]["decision_id"]
    registered = await _registered(reader, decided.policy, workspace)
    chosen = sorted([*([] if registered is None else [registered]), *turn], key=lambda each: each[0].position)
    last = chosen[-1][0].position
    if last > note.size:
        raise ProofError(
            f"checkpoint covers [{note.size}] entries, the decision goes up to position [{last}]; expected one that "
            "covers it: make a newer checkpoint"
        )
    paths = await asyncio.to_thread(_paths, tree, note, [each.position for each, _ in chosen])
    said = [written(each, previous=link, path=paths[each.position], omissions=omissions) for each, link in chosen]
    omissions.check()
    whole: dict[str, Any] = {
        "format": FORMAT,
        "workspace": workspace,
        "decision": {"id": identity, "journal": place.journal, "command_id": decided.command_id},
        "entries": said,
    }
    found = {"case.json": canonical(whole), "checkpoint.txt": checkpoint}
    found |= {} if key is None else {"key.txt": f"{key}\n".encode()}
    raw = pack({**found, "verify.py": verifier()})
    if len(raw) > LARGEST:
        raise ProofError(f"case would have [{len(raw)}] bytes; expected at most [{LARGEST}]: its turn is too long")
    return Case(
        raw,
        entries=len(said),
        erased=sum(each.body is None for each, _ in chosen),
        without_policy=decided.policy_hash is not None and registered is None,
        signed=bool(note.by),
    )


async def checkpoint_for(log: CheckpointLog, reader: CaseReader, tree: ProofTree, place: Place) -> bytes:
    """Return the newest checkpoint of the journal that covers a decision's turn, as a note.

    A log without a signing key gives the text of one over all entries, which says what and not who. Raises
    `ProofError` where the log signs, and has not signed that turn yet.
    """
    if log.origin is None:
        size = await asyncio.to_thread(tree.extend)
        return str(Checkpoint(origin_of(_NO_INSTANCE, log.workspace), size, tree.root(size))).encode()
    last = (await _turn(reader, place, log.workspace))[-1][0].position
    found = log.covering(last)
    if found is None:
        raise ProofError(
            f"no checkpoint covers position [{last}] yet; expected one that covers the turn of the decision: "
            "`loom checkpoint sign` makes it"
        )
    return str(found.note).encode()


def signer_of(log: CheckpointLog, checkpoint: bytes) -> str | None:
    """Return the public key of the log that signed a checkpoint, as notes write it; None where none of them did."""
    try:
        note = Note.parse(checkpoint.decode())
        origin = Checkpoint.parse(note.text).origin
    except (ProofError, UnicodeDecodeError):
        return None
    keys = [log.key(each, origin=origin) for each in log.keys]
    return next((str(each) for each in reversed(keys) if each.signature_of(note, verifies)), None)


def write_case(path: Path, raw: bytes) -> None:
    """Write a case into a new file, for its owner only, which gets its name once it is complete."""
    part = path.with_name(f"{path.name}.part")
    try:
        with open(open_private(part, os.O_WRONLY | os.O_TRUNC), "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(part, path)
    except FileExistsError as error:
        raise ConfigError(
            f"file [{path}] is there already; expected a new name: choose another, or remove it"
        ) from error
    except OSError as error:
        raise ConfigError(f"file [{path}] cannot be written [{error}]; expected a place for it: choose one") from error
    finally:
        part.unlink(missing_ok=True)


def _note(checkpoint: bytes) -> verify.Note:
    try:
        return note_of(checkpoint)
    except (CaseError, ValueError) as error:
        raise ProofError(
            f"checkpoint is not written as one [{error}]; expected a signed note of three lines and signatures: "
            "name another file"
        ) from error


def _paths(tree: ProofTree, note: verify.Note, positions: list[int]) -> dict[int, tuple[bytes, ...]]:
    """Return position → audit path under a checkpoint; raise `ProofError` where the journal has another root."""
    if tree.extend() < note.size or tree.root(note.size) != note.root:
        raise ProofError(
            f"checkpoint of [{note.size}] entries has another root than this journal; expected one of this journal: "
            "run `loom verify`"
        )
    return {position: tree.inclusion(position, note.size).path for position in positions}


async def _turn(reader: CaseReader, place: Place, workspace: str) -> list[tuple[Recorded, bytes]]:
    """Return the entries of the turn that decided, each with the hash of the entry before it in its journal."""
    decided = None
    async for each in reader.read(place.journal, after=place.sequence - 1, until=place.sequence):
        decided = each
    if decided is None or decided.kind not in _DECISIONS:
        raise ProofError(
            f"journal [{place.journal}] has no decision at sequence [{place.sequence}]; expected the entry of one: "
            "see `loom decisions`"
        )
    first = decided.sequence
    if decided.command_id is not None:
        received = await reader.find_command(place.journal, decided.command_id)
        first = first if received is None else min(first, received.sequence)
    found: list[tuple[Recorded, bytes]] = []
    before = genesis(workspace, place.journal)
    async for each in reader.read(place.journal, after=max(0, first - 2)):
        if each.sequence >= first and (each.command_id == decided.command_id or each.sequence == decided.sequence):
            found.append((each, before))
            if each.kind in _FOR_GOOD and each.sequence > decided.sequence:
                break
        if decided.command_id is None and each.sequence == decided.sequence:
            break
        before = each.entry_hash
    return found


async def _registered(reader: CaseReader, policy: str | None, workspace: str) -> tuple[Recorded, bytes] | None:
    """Return the entry that registered a policy version, with the hash before it; None where there is none."""
    before = genesis(workspace, _POLICIES)
    if policy is not None:
        async for each in reader.read(_POLICIES):
            if each.kind == _REGISTERED and (each.plain or {}).get("hash") == policy:
                return each, before
            before = each.entry_hash
    return None
