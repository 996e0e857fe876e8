"""Asking a witness: it says what it has seen, and gets the proof from there."""

from __future__ import annotations

from loom.proof.errors import NoteError, WitnessRefusedError
from loom.proof.exchange import exchange
from loom.proof.notes import Checkpoint, Note
from loom.proof.tree import ProofTree
from loom.proof.witness import request_of

__all__ = ["ask_witness"]

_TRIES = 3


def ask_witness(url: str, note: Note, tree: ProofTree, *, timeout_s: float = 10.0) -> Note:
    """Return the note with the line of the witness at an address of C2SP's tlog-witness, the path included or not.

    Raises `WitnessRefusedError` with what it says, also where it has seen more than the checkpoint, or another root.
    """
    address = url if url.endswith("/add-checkpoint") else f"{url.rstrip('/')}/add-checkpoint"
    size, old = Checkpoint.parse(note.text).size, 0
    for _ in range(_TRIES):
        proof = tree.consistency(old, size)
        answer = exchange("POST", address, request_of(old, proof, note).encode(), timeout_s=timeout_s)
        if answer.status == 200:
            try:
                return note.with_signatures(Note.parse(f"{note.text}\n{answer.text}").signatures)
            except NoteError as error:
                raise WitnessRefusedError(f"witness [{url}] answers with no signature: {error}", status=200) from error
        said = answer.text.strip()
        seen = int(said) if said.isascii() and said.isdigit() and len(said) < 17 else None
        if answer.status == 409 and seen is not None and seen <= size and seen != old:
            old = seen
            continue
        if answer.status == 409 and seen is not None:
            raise WitnessRefusedError(
                f"witness [{url}] has seen a log of [{seen}] entries, and this checkpoint is of [{size}]; expected no "
                "more, and the same root: the journal was cut or forked, or the witness has a newer checkpoint",
                status=409,
                size=seen,
            )
        raise WitnessRefusedError(f"witness [{url}] refuses with [{answer.status}]: {said[:500]}", status=answer.status)
    raise WitnessRefusedError(f"witness [{url}] changes what it has seen; ask again later", status=409)
