"""The errors of proofs, checkpoints and anchors."""

from __future__ import annotations

from loom.errors import AnswerKind, LoomError

__all__ = [
    "AnchorError",
    "CutError",
    "ForkError",
    "NoteError",
    "ProofError",
    "SigningKeyError",
    "TreeIncompleteError",
    "WitnessRefusedError",
]


class ProofError(LoomError):
    """Something that was to prove something does not: a note, a key, a signature, a tree.

    To do: read what does not fit in the message; trust nothing that depends on it until it is explained.
    """

    kind: AnswerKind = "invalid"


class NoteError(ProofError):
    """A text is no note, no checkpoint, or no key.

    To do: look whether the text was copied whole, with its last line break.
    """


class TreeIncompleteError(ProofError):
    """The journal has a hole, or cannot be read: there is no tree over all of its entries.

    To do: run `loom verify`, which says where; restore a backup.
    """

    kind: AnswerKind = "fault"


class ForkError(ProofError):
    """The journal does not begin with what was signed or anchored earlier: it is never signed.

    To do: stop, and run `loom verify`: restore a journal that begins with what was signed, and keep this one for
    the auditor.
    """

    kind: AnswerKind = "fault"


class CutError(ProofError):
    """The journal ends before a checkpoint that is anchored elsewhere: entries are gone.

    To do: stop, and restore a backup that reaches at least as far as the anchor; keep this journal for the auditor.
    """

    kind: AnswerKind = "fault"


class SigningKeyError(ProofError):
    """There is no key to sign with, or it is not one of the log's any more.

    To do: name the file of the key that the log has now.
    """

    kind: AnswerKind = "refused"


class AnchorError(ProofError):
    """An anchor cannot be written or read.

    To do: look at the place of the anchor, its disk and its permissions, and try again.
    """

    kind: AnswerKind = "busy"


class WitnessRefusedError(ProofError):
    """A witness does not sign this: `status` is that of its answer over HTTP, `size` what it has seen.

    To do: compare `size` with the journal: where the witness has seen more, entries are gone here.
    """

    kind: AnswerKind = "refused"

    def __init__(self, message: str, *, status: int, size: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.size = size
