"""How an entry is written into a case: whole, or without the fields that its giver leaves out."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any

from loom.journal.entry import Recorded
from loom.journal.fields import FIELDS_SCHEME, fields_of
from loom.proof.errors import ProofError

__all__ = ["Omissions", "written"]

_PATH = re.compile(r"(?P<which>[0-9]{1,18}|[a-z][a-z0-9_.]*)\.(?P<field>[^.]+)\Z")


class Omissions:
    """The fields that a case leaves out: `KIND.FIELD` of all entries of a kind, or `SEQUENCE.FIELD` of one entry.

    Each path has to meet an entry that has the field and is redactable; `check` raises `ProofError` for one that did
    not.
    """

    def __init__(self, paths: Collection[str] = ()) -> None:
        self._wanted: dict[str, tuple[str, str]] = {}
        self._met: set[str] = set()
        for path in paths:
            found = _PATH.match(path)
            if found is None:
                raise ProofError(
                    f"path [{path:.100}] names no field; expected [KIND.FIELD] or [SEQUENCE.FIELD], such as "
                    "[context_gathered.value]: fields are left out as a whole"
                )
            self._wanted[path] = (found["which"], found["field"])

    def of(self, entry: Recorded) -> frozenset[str]:
        """Return the names of the fields of an entry that are to be left out."""
        names = set()
        for path, (which, field) in self._wanted.items():
            if which in (entry.kind, str(entry.sequence)) and field in (json.loads(entry.body or b"{}") or {}):
                self._met.add(path)
                names.add(field)
        if names and entry.hashed_by != FIELDS_SCHEME:
            raise ProofError(
                f"entry [{entry.journal}#{entry.sequence}] of kind [{entry.kind}] was recorded as a whole; expected a "
                "kind that was redactable at that time: list it at journal.redactable for later entries, or show it"
            )
        return frozenset(names)

    def check(self) -> None:
        """Raise `ProofError` for a path that met no field."""
        if lost := sorted(self._wanted.keys() - self._met):
            raise ProofError(
                f"path [{lost[0]:.100}] is of no field in this case; expected one of its entries: see `loom journal`"
            )


def written(entry: Recorded, *, previous: bytes, path: Sequence[bytes], omissions: Omissions) -> dict[str, Any]:
    """Return an entry as a case says it, with the hash of the entry before it in its journal, and its audit path."""
    try:
        body = _body(entry, omissions.of(entry))
    except (UnicodeDecodeError, ValueError) as error:
        raise ProofError(
            f"entry at position [{entry.position}] has a body that cannot be shown [{error}]; expected what was "
            "recorded: run `loom verify`"
        ) from error
    return {
        "position": entry.position,
        "journal": entry.journal,
        "sequence": entry.sequence,
        "kind": entry.kind,
        "schema_version": entry.schema_version,
        "command_id": entry.command_id,
        "epoch": entry.epoch,
        "recorded_at_us": entry.recorded_at_us,
        "clock_back_us": entry.clock_back_us,
        "policy_hash": entry.policy,
        **body,
        "body_digest": entry.body_digest.hex(),
        "previous": previous.hex(),
        "path": [each.hex() for each in path],
    }


def _body(entry: Recorded, left_out: frozenset[str]) -> dict[str, Any]:
    """Return what a case has of a body; of one whose fields can be left out, each field with its own salt."""
    if entry.hashed_by != FIELDS_SCHEME:
        salt, body = entry.salt, entry.body
        return {"salt": None if salt is None else salt.hex(), "body": None if body is None else body.decode()}
    if entry.body is None or entry.salt is None:
        return {"fields": None}
    return {
        "fields": [
            [each.leaf.hex()] if each.name in left_out else [each.salt.hex(), each.name, each.value.decode()]
            for each in fields_of(entry.salt, entry.body)
        ]
    }
