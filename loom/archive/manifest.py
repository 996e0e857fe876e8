"""The manifest of an archive: the description of its contents."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from loom.absent import is_empty

__all__ = ["CONTEXT", "ENTRIES", "MANIFEST", "README", "ArchivedJournal", "Manifest", "digest_of"]

MANIFEST = "manifest.json"
ENTRIES = "entries.jsonl"
README = "README.txt"
CONTEXT = "loom/"
"""The prefix of the names of journals that an archive holds as context."""

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArchivedJournal(_Said):
    """A journal of an archive: whole, from its first entry to the entry whose hash is its `head`."""

    journal: str
    entries: int = Field(ge=1)
    head: Hash
    first_at: AwareDatetime
    last_at: AwareDatetime
    context: bool = False
    """Whether it is included so that the others can be understood: policies, rules, runs. Context is never pruned."""
    partial: bool = Field(default=False, exclude_if=is_empty)
    """Whether only some of its bodies were chosen: the journal keeps the rest of them."""
    missing: tuple[tuple[int, int], ...] = Field(default=(), exclude_if=is_empty)
    """The sequences, as ranges (first, last), whose bodies are not in the archive: bodies that stay in the journal,
    bodies that were pruned before, and bodies that concern a subject who was erased. Only an encrypted archive leaves
    bodies out."""


class Manifest(_Said):
    """Which journals an archive holds, of which workspace, sealed when and by whom."""

    format: Literal["loom.archive/1", "loom.archive/2"] = "loom.archive/1"
    """2 is an encrypted archive: bodies that concern subjects are sealed for them, and some may be missing."""
    workspace: str
    before: AwareDatetime
    """Every journal that is not context ends before this moment."""
    sealed_at: AwareDatetime
    by: str
    loom: str
    """The version of loom that sealed it."""
    entries: int = Field(ge=0)
    last_position: int = Field(ge=0)
    entries_sha256: Hash
    """Of the bytes of `entries.jsonl`."""
    readme_sha256: Hash
    journals: tuple[ArchivedJournal, ...]

    @property
    def is_encrypted(self) -> bool:
        """Whether bodies that concern subjects are sealed in it."""
        return self.format == "loom.archive/2"

    def raw(self) -> bytes:
        """Return its bytes, as an archive holds them."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def digest_of(raw: bytes) -> str:
    """Return the SHA-256 of the bytes of a manifest: it identifies the archive and all its contents."""
    return hashlib.sha256(raw).hexdigest()
