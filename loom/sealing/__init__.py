"""Sealing: values that are encrypted before they are written, and subjects that can be erased.

- What is declared: `markers` at a field, `declaring` for a whole class, `walking` along it, `pointers` to each place.
- What is written: `protecting` applies a declaration, with the keys of a `vault`; `together` is for several subjects.
- What is opened: `facts`, to judge again; `opening` and `handing_out` for a reader, noted in the journal of `access`.
  `outgoing` is what a model, a critic or a notice gets of it; `wording` says an error without its values; `clear` finds
  what was written before its field was declared.
- Subjects: `naming` them, all entries `concerning` one, `erasures` and holds as they are journaled, and `subjects`,
  which carries them out.
- Keys: `keystore` is the port; `keyfile` and `keydatabase` keep keys, each wrapped (`wrapping`) by the `master` key;
  `choosing` takes the one that the config means. `keyfile_of_old` reads the first format.
"""

from __future__ import annotations

from loom.sealing.access import SealedOpenedEntry, SubjectHandedOutEntry
from loom.sealing.choosing import check_keys
from loom.sealing.concerning import concerning, count_subjects
from loom.sealing.config import SealingConfig
from loom.sealing.declaring import (
    Each,
    Leaf,
    Node,
    Parts,
    declaration_of,
    declaration_of_type,
    declared_by,
    declared_in,
    declared_paths,
    leaves_of,
    merged,
)
from loom.sealing.erasures import Erasures, SubjectErasedEntry
from loom.sealing.facts import OpenedFacts, opened_facts, why_closed
from loom.sealing.handing_out import HandingOut
from loom.sealing.keydatabase import KeyDatabase
from loom.sealing.keyfile import KeyFile
from loom.sealing.keystore import KeyStore
from loom.sealing.markers import (
    Dropped,
    Erased,
    Handling,
    Hashed,
    Masked,
    Sealed,
    SealedValue,
    Withheld,
    is_sealed,
    plain_of,
)
from loom.sealing.master import MASTER_KEY, master_key
from loom.sealing.naming import check_subject
from loom.sealing.opening import Opened, Openings, check_reader
from loom.sealing.outgoing import Outgoing
from loom.sealing.protecting import (
    declared_plain,
    gone_in,
    lost_in,
    open_sealed,
    paths_in,
    proofs,
    protect,
    protect_with,
    redacted,
    subjects_in,
    texts_in,
)
from loom.sealing.subjects import Subjects
from loom.sealing.together import is_together, open_for_all, seal_for_all, subjects_together
from loom.sealing.vault import Keys, Vault

__all__ = [
    "MASTER_KEY",
    "Dropped",
    "Each",
    "Erased",
    "Erasures",
    "HandingOut",
    "Handling",
    "Hashed",
    "KeyDatabase",
    "KeyFile",
    "KeyStore",
    "Keys",
    "Leaf",
    "Masked",
    "Node",
    "Opened",
    "OpenedFacts",
    "Openings",
    "Outgoing",
    "Parts",
    "Sealed",
    "SealedOpenedEntry",
    "SealedValue",
    "SealingConfig",
    "SubjectErasedEntry",
    "SubjectHandedOutEntry",
    "Subjects",
    "Vault",
    "Withheld",
    "check_keys",
    "check_reader",
    "check_subject",
    "concerning",
    "count_subjects",
    "declaration_of",
    "declaration_of_type",
    "declared_by",
    "declared_in",
    "declared_paths",
    "declared_plain",
    "gone_in",
    "is_sealed",
    "is_together",
    "leaves_of",
    "lost_in",
    "master_key",
    "merged",
    "open_for_all",
    "open_sealed",
    "opened_facts",
    "paths_in",
    "plain_of",
    "proofs",
    "protect",
    "protect_with",
    "redacted",
    "seal_for_all",
    "subjects_in",
    "subjects_together",
    "texts_in",
    "why_closed",
]
