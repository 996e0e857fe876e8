"""Archives: inactive journals, sealed into one file that can be verified and replayed without loom's journal file.

An archive is a zip of `manifest.json` and `entries.jsonl`: what `loom export` writes of each journal, by position. The
manifest names these journals, with the length of each and the hash that it ends with.
"""

from __future__ import annotations

from loom.archive.adopting import Adoption, RetentionAdoptedEntry, RetentionWithdrawnEntry
from loom.archive.due import CarriedOut, Due, DueJournal
from loom.archive.manifest import ArchivedJournal, Manifest
from loom.archive.pruning import BodiesPruned, BodyPruning, Checkpointer, bodies_of_kinds, bodies_of_subject
from loom.archive.reading import Archive, ArchiveVerification
from loom.archive.register import ActorBlocker, ArchivedEntry, Archives, Pruned
from loom.archive.retention import Retention, RetentionOverriddenEntry, check_override
from loom.archive.sealing import Sealed, seal

__all__ = [
    "ActorBlocker",
    "Adoption",
    "Archive",
    "ArchiveVerification",
    "ArchivedEntry",
    "ArchivedJournal",
    "Archives",
    "BodiesPruned",
    "BodyPruning",
    "CarriedOut",
    "Checkpointer",
    "Due",
    "DueJournal",
    "Manifest",
    "Pruned",
    "Retention",
    "RetentionAdoptedEntry",
    "RetentionOverriddenEntry",
    "RetentionWithdrawnEntry",
    "Sealed",
    "bodies_of_kinds",
    "bodies_of_subject",
    "check_override",
    "seal",
]
