"""What pages show of checkpoints: how far the last one reaches, and the proof that an entry is under it."""

from __future__ import annotations

from datetime import datetime

from loom.errors import LoomError
from loom.explorer.cases import Shape
from loom.explorer.visits import Visitor
from loom.proof import Checkpoints
from loom.telemetry import get_logger

__all__ = ["Proven", "proven", "say_checkpoints"]

_log = get_logger("loom.explorer")


class Proven(Shape):
    """The checkpoint that covers an entry, and the proof that it does."""

    size: int
    at: datetime
    origin: str
    signatures: int
    leaf: str
    path: tuple[str, ...]
    """The hashes from the leaf up to the root."""
    root: str


async def proven(visit: Visitor, position: int) -> Proven | None:
    """Return the proof that the entry at a position is under the last checkpoint; None where there is none yet."""
    part = visit.loom.parts.get("proof")
    if not isinstance(part, Checkpoints):
        return None
    try:
        found = await part.inclusion(position)
    except LoomError as error:  # the page says what it knows; `loom verify` says the rest
        _log.error("no_proof", position=position, error=str(error))
        return None
    if found is None:
        return None
    signed, proof = found
    return Proven(
        size=signed.size,
        at=signed.at,
        origin=signed.checkpoint.origin,
        signatures=len(signed.note.signatures),
        leaf=proof.leaf.hex(),
        path=tuple(each.hex() for each in proof.path),
        root=proof.root.hex(),
    )


def say_checkpoints(visit: Visitor) -> tuple[tuple[bool, str, str], ...]:
    """Return what there is to say of checkpoints and anchors: whether it is well, the text, and advice."""
    part = visit.loom.parts.get("proof")
    if not isinstance(part, Checkpoints) or not (part.signs or part.log.newest):
        return ()
    last, pending = part.log.newest, part.pending
    if last is None:
        return ((False, "none has been signed yet", "`loom checkpoint sign` signs the first."),)
    text = f"the last one covers {last.size:,} entries; {pending:,} came since"
    said = [(True, text, "") if part.signs else (False, f"{text}, and there is no key", "Name one in the config.")]
    for each in part.anchors.values():
        if each.problem is None:
            said.append((True, f"{each.name} has the checkpoint of {each.size:,} entries", ""))
        else:
            said.append((False, f"{each.name} was not written: {each.problem}", "The next checkpoint tries again."))
    return tuple(said)
