"""Lines of an encrypted archive: an entry whose body is sealed for the subjects whom it concerns.

Its header, its digest and its hash are in clear, so that the chain is verified without a key. The salt is sealed with
the body: a digest whose salt nobody has says nothing of what was digested.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace

from pydantic import JsonValue

from loom.errors import ErasedError
from loom.journal.admission import parse_json
from loom.journal.chain import SALT_BYTES, body_digest
from loom.journal.entry import SEALED_SCHEME, Recorded
from loom.journal.export import export_line, parse_line
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
    """Return an entry whose body is gone with what is sealed of it: see `opened`."""
    return replace(recorded, body=_text(sealed).encode(), body_scheme=SEALED_SCHEME, _entry=None)


def parse_archived(line: str) -> tuple[str, Recorded]:
    """Return the workspace and the entry of a line of any archive; raises what `parse_line` does.

    What is sealed comes back as its body, of `SEALED_SCHEME`.
    """
    said = parse_json(line.encode())
    if not isinstance(said, dict) or "sealed" not in said:
        return parse_line(line)
    sealed = said["sealed"]
    if not is_together(sealed) or not line.endswith(_closing(sealed)):
        raise ValueError("what is sealed in it was written anew")
    workspace, entry = parse_line(line.removesuffix(_closing(sealed)) + _NO_BODY)
    return workspace, with_closed(entry, sealed)


async def opened(recorded: Recorded, vault: Vault) -> Recorded:
    """Return an entry with its body and salt, where it is sealed; without both, as one erased, where a subject was.

    Raises `ErasedError` where it does not open though none of its subjects was erased, or is not what was digested.
    """
    if recorded.body_scheme != SEALED_SCHEME or recorded.body is None:
        return recorded
    sealed: JsonValue = json.loads(recorded.body)
    gone = replace(recorded, salt=None, body=None, body_scheme=1, _entry=None)
    if any(vault.is_erased(each.subject, each.generation) for each in sealed_in(recorded)):
        return gone
    plain = await open_for_all(vault, sealed, _about(recorded))
    salt, body = plain[:SALT_BYTES], plain[SALT_BYTES:]
    if body_digest(salt, body) != recorded.body_digest:
        raise ErasedError(
            f"the body of [{recorded.journal}#{recorded.sequence}] opens, and is not what was digested; it was changed"
        )
    return replace(gone, salt=salt, body=body)


def _about(recorded: Recorded) -> str:
    """Return as what a body is sealed: that of this very entry."""
    return f"body {recorded.journal}#{recorded.sequence} {recorded.entry_hash.hex()}"


def _closing(sealed: JsonValue) -> str:
    return f"{_SEALED}{_text(sealed)}}}"


def _text(sealed: JsonValue) -> str:
    return json.dumps(sealed, ensure_ascii=False, separators=(",", ":"))
