"""Sealing: values that are encrypted before they are written, with a key for each subject that can be destroyed.

AES-256-GCM. The data key of a subject is wrapped by a master key that comes from the environment or a file of its own,
and lies, wrapped, in a file beside the journal. Destroying a subject's key makes everything sealed for it unreadable,
wherever copies lie; the journal stays as it is, and verifies.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from loom.errors import ConfigError, ErasedError, KeysNotWrittenError
from loom.identity import By
from loom.journal.private import open_private
from loom.sealing.erasures import Erasures

__all__ = ["MASTER_KEY", "Vault", "master_key"]

MASTER_KEY = "LOOM_MASTER_KEY"
"""The variable that holds the master key: 32 bytes in base64."""

_FORMAT = 1


def master_key(*, file: Path | None = None, environ: Mapping[str, str] = os.environ) -> bytes:
    """Return the master key out of the environment, or of a file that only its owner may read."""
    if text := environ.get(MASTER_KEY):
        source = f"variable {MASTER_KEY}"
    elif file is not None:
        source = f"file {file}"
        try:
            if file.stat().st_mode & 0o077:
                raise ConfigError(f"master key in [{source}] may be read by others; expected mode 0600: chmod it")
            text = file.read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            raise ConfigError(f"master key in [{source}] cannot be read [{error}]; expected base64") from error
    else:
        raise ConfigError(
            f"there is no master key; expected 32 bytes in base64 in [{MASTER_KEY}] "
            "or in a file that the config names: make one with `openssl rand -base64 32`"
        )
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise ConfigError(f"master key in [{source}] is none; expected 32 bytes in base64: `openssl rand -base64 32`")
    return key


class _KeysFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    subjects: dict[str, str]


class Vault:
    """The data keys of a workspace. `path` is where they lie, wrapped; nobody but the owner may read it."""

    def __init__(self, path: Path, master: bytes, erasures: Erasures) -> None:
        self._aead = _aead()
        self._path = path
        self._master = self._aead(master)
        self._keys: dict[str, bytes] = {}
        self._erasures = erasures

    async def load(self) -> None:
        """Read the keys and who was erased; a key that came back from a copy of the file is destroyed again."""
        await self._erasures.load()
        self._keys = {subject: self._unwrap(subject, wrapped) for subject, wrapped in self._read().items()}
        kept = {subject: key for subject, key in self._keys.items() if self._erasures.get(subject) is None}
        if kept != self._keys:
            self._write(kept)
            self._keys = kept

    def seal(self, subject: str, value: JsonValue, *, about: str, once: str | None = None) -> JsonValue:
        """Return a value encrypted for a subject; `about` says what it is, and it opens as nothing else.

        With `once` the nonce is derived from it, the value and the key: the same three give the same, others another.
        Raises `ErasedError` for a subject that was erased: nothing new is kept about it.
        """
        key = self._key(subject)
        plain = json.dumps(value, ensure_ascii=False).encode()
        nonce = secrets.token_bytes(12)
        if once is not None:
            said = json.dumps([once, about]).encode() + b"\0" + plain
            nonce = hmac.digest(hmac.digest(key, b"loom/nonce/v1", "sha256"), said, "sha256")[:12]
        data = self._aead(key).encrypt(nonce, plain, _about(subject, about))
        return {"$sealed": _FORMAT, "subject": subject, "about": about, "nonce": _text(nonce), "data": _text(data)}

    def hashed(self, subject: str, value: JsonValue, *, about: str) -> str:
        """Return a keyed hash: the same for equal values of a subject, and nothing to guess at without its key."""
        said = json.dumps([about, value], sort_keys=True, ensure_ascii=False).encode()
        key = hmac.digest(self._key(subject), b"loom/hash/v1", "sha256")
        return f"hmac-sha256:{hmac.digest(key, said, 'sha256').hex()}"

    def open(self, sealed: JsonValue, *, subject: str) -> JsonValue:
        """Return what was sealed for a subject; raise `ErasedError` where its key is gone, or the value was changed."""
        given: Any = sealed
        self._erasures.check(subject)
        key = self._keys.get(subject)
        if key is None:
            raise ErasedError(f"there is no key of [{subject:.80}]; expected the file of keys: restore it")
        try:
            nonce, data = base64.b64decode(given["nonce"]), base64.b64decode(given["data"])
            plain = self._aead(key).decrypt(nonce, data, _about(subject, given["about"]))
        except Exception as error:
            raise ErasedError(f"what was sealed for [{subject:.80}] does not open; it was changed") from error
        value: JsonValue = json.loads(plain)
        return value

    def knows(self, subject: str) -> bool:
        """Tell whether there is a key of a subject."""
        return subject in self._keys

    async def erase(self, subject: str, *, by: By, reason: str) -> bool:
        """Destroy the key of a subject, in a person's name; False where that was done already. It cannot be taken back.

        It is journaled first: whatever happens in between, the next start destroys the key. Where the file of keys
        cannot be written it is a `KeysNotWrittenError`: nothing opens any more, and asked for again it is done.
        """
        is_new = self._erasures.get(subject) is None
        await self._erasures.add(subject, by=by, reason=reason)
        if subject not in self._keys:
            return is_new
        self._write({each: key for each, key in self._keys.items() if each != subject})
        del self._keys[subject]  # after the write: what is forgotten first is not written again when it is asked for
        return True

    def _key(self, subject: str) -> bytes:
        """Return the key of a subject, a new one where there is none yet; it is on the disk before it is used."""
        self._erasures.check(subject)
        key = self._keys.get(subject)
        if key is None:
            key = secrets.token_bytes(32)
            self._write({**self._keys, subject: key})
            self._keys[subject] = key
        return key

    def _read(self) -> dict[str, str]:
        """Return the keys as they lie there, wrapped."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(f"file of keys [{self._path}] cannot be read [{error.strerror}]: mend it") from error
        try:
            return _KeysFile.model_validate_json(raw).subjects
        except ValidationError as error:
            raise ConfigError(
                f"file of keys [{self._path}] is damaged; expected the one that was written: restore a copy of it"
            ) from error

    def _write(self, keys: Mapping[str, bytes]) -> None:
        """Write the whole file of keys again; what lay there before is overwritten, as far as the disk does that.

        The old file is whole until the new one is durable under its name. Raises `KeysNotWrittenError`.
        """
        subjects = {subject: self._wrap(subject, key) for subject, key in sorted(keys.items())}
        raw = _KeysFile(subjects=subjects).model_dump_json().encode()
        part = self._path.with_suffix(".part")
        try:
            with open(open_private(part, os.O_WRONLY | os.O_TRUNC), "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            self._put_in_place(part)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise KeysNotWrittenError(
                f"file of keys [{self._path}] cannot be written [{error.strerror}]; what was to be done with a key was "
                "not done: make room, or mend the disk, and do it again"
            ) from error

    def _put_in_place(self, part: Path) -> None:
        """Give a durable file the name of the file of keys, then overwrite what had that name before."""
        with contextlib.ExitStack() as stack:
            old = None
            with contextlib.suppress(FileNotFoundError):
                old = stack.enter_context(self._path.open("r+b"))
            os.replace(part, self._path)
            directory = os.open(self._path.parent, os.O_RDONLY)
            stack.callback(os.close, directory)
            os.fsync(directory)
            if old is not None:
                old.write(b"\0" * os.fstat(old.fileno()).st_size)
                old.flush()
                os.fsync(old.fileno())

    def _wrap(self, subject: str, key: bytes) -> str:
        nonce = secrets.token_bytes(12)
        return _text(nonce + self._master.encrypt(nonce, key, _about(subject, "data key")))

    def _unwrap(self, subject: str, wrapped: str) -> bytes:
        try:
            raw = base64.b64decode(wrapped, validate=True)
            key: bytes = self._master.decrypt(raw[:12], raw[12:], _about(subject, "data key"))
        except Exception as error:
            raise ConfigError(
                f"file of keys [{self._path}] does not open with this master key; expected the one it was written with"
            ) from error
        return key


def _aead() -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ConfigError(
            "sealing needs a package that is not there [cryptography]; expected the extra [crypto]: "
            "pip install 'loom-journal[crypto]'"
        ) from error
    return AESGCM


def _about(subject: str, about: str) -> bytes:
    return json.dumps(["loom/sealed/v1", subject, about]).encode()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
