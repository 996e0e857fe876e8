"""Lines of an encrypted archive: an entry whose body is sealed for the subjects whom it concerns.

Its header, its digest and its hash are in clear, so that the chain can be verified without a key. The salt is sealed
with the body: without the salt, the digest reveals nothing about the body.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace

from pydantic import JsonValue

from loom.errors import ErasedError
from loom.journal.admission import parse_json
from loom.journal.chain import SALT_BYTES
from loom.journal.entry import SEALED_SCHEMES, Recorded
from loom.journal.export import export_line, parse_line
from loom.journal.fields import digest_by
from loom.sealing import Vault, is_together, open_for_all, seal_for_all
from loom.sealing.concerning import sealed_in

__all__ = ["closed_body", "closed_line", "headed_line", "opened", "parse_archived", "with_closed"]

_NO_BODY = ',"body":null}'
_SEALED = ',"sealed":'


def headed_line(recorded: Recorded, *, workspace: str) -> str:
    """Return the line of an entry without its body and its salt."""
    return export_line(replace(recorded, salt=None, body=None, _entry=None), workspace=workspace)


async def closed_line(recorded: Recorded, *, workspace: str, vault: Vault, subjects: Collection[str]) -> str:
    """Return the line of an entry with its salt and its body sealed for all of some subjects."""
    sealed = await closed_body(recorded, vault=vault, subjects=subjects)
    return headed_line(recorded, workspace=workspace).removesuffix(_NO_BODY) + _closing(sealed)


async def closed_body(recorded: Recorded, *, vault: Vault, subjects: Collection[str]) -> JsonValue:
    """Return the salt and the body of an entry sealed for all of some subjects."""
    if recorded.body is None or recorded.salt is None:
        raise ValueError(f"entry {recorded.journal}#{recorded.sequence} has no body; expected one")
    return await seal_for_all(vault, subjects, recorded.salt + recorded.body, _about(recorded))


def with_closed(recorded: Recorded, sealed: JsonValue) -> Recorded:
    """Return an entry without its body, with the sealed body in its place: see `opened`."""
    return replace(recorded, body=_text(sealed).encode(), body_scheme=SEALED_SCHEMES[recorded.hashed_by], _entry=None)


def parse_archived(line: str) -> tuple[str, Recorded]:
    """Return the workspace and the entry of a line of any archive; raises what `parse_line` does.

    A sealed body is returned as the body of the entry, with a scheme of `SEALED_SCHEMES`.
    """
    fields = parse_json(line.encode())
    if not isinstance(fields, dict) or "sealed" not in fields:
        return parse_line(line)
    sealed = fields["sealed"]
    if not is_together(sealed) or not line.endswith(_closing(sealed)):
        raise ValueError("its sealed body was rewritten")
    workspace, entry = parse_line(line.removesuffix(_closing(sealed)) + _NO_BODY)
    return workspace, with_closed(entry, sealed)


async def opened(recorded: Recorded, vault: Vault) -> Recorded:
    """Return a sealed entry with its body and salt, or without both if one of its subjects was erased.

    An entry that is not sealed is returned as it is. Raises `ErasedError` if the body does not open although none of
    its subjects was erased, or if it does not match its digest.
    """
    if not recorded.is_sealed or recorded.body is None:
        return recorded
    sealed: JsonValue = json.loads(recorded.body)
    gone = replace(recorded, salt=None, body=None, body_scheme=recorded.hashed_by, _entry=None)
    if any(vault.is_erased(each.subject, each.generation) for each in sealed_in(recorded)):
        return gone
    plain = await open_for_all(vault, sealed, _about(recorded))
    salt, body = plain[:SALT_BYTES], plain[SALT_BYTES:]
    if digest_by(recorded.hashed_by, salt, body) != recorded.body_digest:
        raise ErasedError(
            f"the body of [{recorded.journal}#{recorded.sequence}] opens, but does not match its digest; it was changed"
        )
    return replace(gone, salt=salt, body=body)


def _about(recorded: Recorded) -> str:
    """Return the text that binds a sealed body to its entry."""
    return f"body {recorded.journal}#{recorded.sequence} {recorded.entry_hash.hex()}"


def _closing(sealed: JsonValue) -> str:
    return f"{_SEALED}{_text(sealed)}}}"


def _text(sealed: JsonValue) -> str:
    return json.dumps(sealed, ensure_ascii=False, separators=(",", ":"))
