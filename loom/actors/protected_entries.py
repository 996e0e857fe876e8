"""Entries of a user's own kinds with declared fields: protected before they are journaled, opened before `apply`.

`apply` gets sealed values opened, and `Erased()` in place of values that were erased since: live, resumed and after a
restart alike. For a value that was masked, hashed or dropped it gets the replacement, also while the turn is live, so
that a state is the same whenever it is folded. It gets entries of loom's own kinds, commands included, as they are
journaled. Projections, reactors and other readers of the journal get every entry as it is journaled.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any, NamedTuple

from pydantic import JsonValue

from loom.actors.ports import Seen
from loom.actors.protected import named_subject
from loom.actors.services import Services
from loom.errors import ActorStoppedError
from loom.journal.entry import KINDS, Entry, Recorded
from loom.sealing import Vault, declaration_of, declared_plain, gone_in, open_sealed, protect
from loom.sealing.concerning import sealed_values
from loom.sealing.declaring import Parts

__all__ = ["KeptEntry", "declared_entry", "gone_in_entry", "kept_entry", "seen_by_apply"]

_OF_LOOM = "loom."
_NOTHING = Parts({})


class KeptEntry(NamedTuple):
    """An entry with declared fields: as it is journaled, as `apply` sees it, and its declared values in clear."""

    written: Entry
    seen: Seen
    plain: JsonValue
    subject: str | None


def declared_entry(cls: type[Entry] | None) -> Parts:
    """Return the declarations of a class of entries; none for loom's own, whose values are protected already."""
    if cls is None or cls.__module__.startswith(_OF_LOOM):
        return _NOTHING
    return declaration_of(cls)


async def kept_entry(
    entry: Entry, declared: Parts, *, vault: Vault | None, subject: str | None, once: str, names: tuple[str, ...]
) -> KeptEntry:
    """Return an entry as it may be journaled and as `apply` sees it; the result is the same for the same `once`.

    `subject` is that of the command; the class of the entry may name its own. Raises what `loom.sealing.protect` does.
    """
    plain: Any = declared_plain(entry, declared)
    own = named_subject(type(entry).subject_field, plain, what=f"entry of kind [{entry.kind}]")
    whose = own or subject
    kept = await protect(plain, declared, vault=vault, subject=whose, once=once, names=names)
    opened = await open_sealed(kept, declared, vault=vault, as_named=True)
    return KeptEntry(_read(type(entry), kept), Seen(partial(_read, type(entry), opened), _subjects(kept)), plain, whose)


async def seen_by_apply(services: Services, recorded: Recorded) -> Seen:
    """Return a recorded entry as `apply` sees it.

    Raises `ActorStoppedError` for a value that does not open although it was not erased. Where no vault is used, as
    when another process runs the loom, sealed values stay sealed.
    """
    as_it_is = partial(getattr, recorded, "entry")
    cls = KINDS.get(recorded.kind)
    declared = declared_entry(cls)
    if not declared or cls is None or services.subjects is None or (plain := recorded.plain) is None:
        return Seen(as_it_is)
    vault = services.subjects.vault
    try:
        if vault is None and not _subjects(plain):
            return Seen(as_it_is)
        opened = await open_sealed(plain, declared, vault=services.subjects.opened_vault(), as_named=True)
    except Exception as error:
        raise ActorStoppedError(
            f"sequence [{recorded.sequence}] of [{recorded.journal}] has values that do not open [{error}]; expected "
            "values that open, for the state of its actor: open the loom with the keys that sealed them"
        ) from error
    subjects = _subjects(plain, vault)
    return Seen(partial(_read, cls, opened), subjects, has_erased=subjects != _subjects(plain))


def gone_in_entry(vault: Vault | None, recorded: Recorded) -> str | None:
    """Return why an entry of a turn cannot be opened: `erased`, or `sealed` without a vault; None where it can."""
    declared = declared_entry(KINDS.get(recorded.kind))
    if not declared or recorded.plain is None:
        return None
    return gone_in(recorded.plain, declared, vault=vault, also_withheld=False)


def _subjects(value: JsonValue, vault: Vault | None = None) -> frozenset[str]:
    """Return the subjects of sealed values in JSON; with a vault, only those whose values open."""
    return frozenset(
        each.subject
        for each in sealed_values(value)
        if vault is None or not vault.is_erased(each.subject, each.generation)
    )


def _read(cls: type[Entry], plain: JsonValue) -> Entry:
    return KINDS.decode(cls.kind, cls.schema_version, json.dumps(plain).encode())
