"""Bytes that are sealed for several subjects at once: all of their keys are needed, and erasing one is enough.

The bytes are encrypted with a key of their own. That key is the XOR of as many random shares as there are subjects, and
each share is sealed for one of them: fewer than all of the shares say nothing of it. What is written grows by one share
for each subject, and names them, so that whatever looks for sealed values finds whose it is.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from loom.errors import AdmissionError, ErasedError
from loom.sealing.markers import SealedValue, placeholder_of
from loom.sealing.master import aead
from loom.sealing.vault import Vault

__all__ = ["is_share", "is_together", "open_for_all", "seal_for_all", "subjects_together"]

_FORMAT = "$sealed_for_all"
_SHARE = "share "
_KEY_BYTES = 32
_NONCE_BYTES = 12


async def seal_for_all(vault: Vault, subjects: Collection[str], plain: bytes, about: str) -> JsonValue:
    """Return bytes encrypted so that the keys of all of some subjects are needed to open them.

    `about` says what they are: they open as nothing else. Raises `AdmissionError` where no subject is named, and
    `ErasedError` where one was erased, unless late writes get a new generation.
    """
    if not subjects:
        raise AdmissionError("bytes are to be sealed for no subject; expected one or more: name whose they are")
    held = [await vault.keys(subject) for subject in sorted(set(subjects))]
    shares = [secrets.token_bytes(_KEY_BYTES) for _ in held]
    sealed = [
        keys.seal(base64.b64encode(share).decode(), about=_of_share(about))
        for keys, share in zip(held, shares, strict=True)
    ]
    nonce = secrets.token_bytes(_NONCE_BYTES)
    said = _said(about, [(keys.subject, keys.generation) for keys in held])
    data = aead()(_joined(shares)).encrypt(nonce, plain, said)
    return {
        _FORMAT: 1,
        "shares": sealed,
        "nonce": base64.b64encode(nonce).decode(),
        "data": base64.b64encode(data).decode(),
    }


async def open_for_all(vault: Vault, sealed: JsonValue, about: str) -> bytes:
    """Return bytes that `seal_for_all` sealed.

    Raises `ErasedError` where one of the subjects was erased, a key is missing, or they were changed, or sealed as
    something else.
    """
    values = _shares_of(sealed)
    if not values or not isinstance(sealed, dict):
        raise _changed(about)
    shares = []
    for value in values:
        if value.about != _of_share(about):
            raise _changed(about)
        share = await vault.open(value.as_json(), subject=value.subject)
        shares.append(_bytes(share, about))
    if any(len(share) != _KEY_BYTES for share in shares):
        raise _changed(about)
    said = _said(about, [(value.subject, value.generation) for value in values])
    nonce, data = _bytes(sealed.get("nonce"), about), _bytes(sealed.get("data"), about)
    try:
        plain: bytes = aead()(_joined(shares)).decrypt(nonce, data, said)
    except Exception as error:
        raise _changed(about) from error
    return plain


def subjects_together(sealed: JsonValue) -> dict[str, int]:
    """Return subject → generation of its key, of bytes that were sealed for several; empty for anything else."""
    return {value.subject: value.generation for value in _shares_of(sealed)}


def is_share(sealed: SealedValue) -> bool:
    """Tell whether a sealed value is a share of a key, and nothing that is known of its subject."""
    return sealed.about.startswith(_SHARE)


def is_together(value: object) -> bool:
    """Tell whether a value is one that `seal_for_all` made."""
    return bool(_shares_of(value))


def _shares_of(value: Any) -> list[SealedValue]:
    if not isinstance(value, Mapping) or value.get(_FORMAT) != 1 or not isinstance(value.get("shares"), list):
        return []
    found = [placeholder_of(each) for each in value["shares"]]
    shares = [each for each in found if isinstance(each, SealedValue)]
    return shares if len(shares) == len(found) else []


def _of_share(about: str) -> str:
    return f"{_SHARE}{about}"


def _said(about: str, whose: Sequence[tuple[str, int]]) -> bytes:
    """Return what is authenticated with the bytes: what they are, and whose."""
    return json.dumps(["loom/together/v1", about, [list(each) for each in whose]]).encode()


def _joined(shares: Sequence[bytes]) -> bytes:
    key = 0
    for share in shares:
        key ^= int.from_bytes(share)
    return key.to_bytes(_KEY_BYTES)


def _bytes(text: JsonValue, about: str) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except ValueError as error:
        raise _changed(about) from error


def _changed(about: str) -> ErasedError:
    return ErasedError(f"what was sealed as [{about:.80}] does not open; it was changed, or sealed as something else")
