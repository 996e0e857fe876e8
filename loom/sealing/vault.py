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
from typing import Any, ClassVar

from pydantic import JsonValue

from loom.errors import ConfigError, ErasedError
from loom.identity import check_person
from loom.journal.entry import Entry
from loom.journal.folded import FoldedJournal
from loom.journal.store import JournalStore, draft

__all__ = ["MASTER_KEY", "SubjectErasedEntry", "Vault", "is_sealed", "master_key"]

MASTER_KEY = "LOOM_MASTER_KEY"
"""The variable that holds the master key: 32 bytes in base64."""

ERASURES_JOURNAL = "loom/erasures"

_MARK = "$sealed"
_FORMAT = 1


class SubjectErasedEntry(Entry):
    """The key of a subject was destroyed, in a person's name: what was sealed for it can be read by nobody."""

    kind: ClassVar[str] = "subject_erased"

    subject: str
    by: str
    reason: str


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


def is_sealed(value: object) -> bool:
    """Tell whether a value is one that was sealed."""
    return isinstance(value, Mapping) and value.get(_MARK) == _FORMAT and isinstance(value.get("subject"), str)


class Vault:
    """The data keys of a workspace. `path` is where they lie, wrapped; nobody but the owner may read it."""

    def __init__(self, path: Path, master: bytes, store: JournalStore, *, make_draft: Any = draft) -> None:
        self._aead = _aead()
        self._path = path
        self._master = self._aead(master)
        self._keys: dict[str, bytes] = {}
        self._journal = FoldedJournal(store, ERASURES_JOURNAL, self._fold, make_draft=make_draft)
        self._erased: dict[str, SubjectErasedEntry] = {}

    async def load(self) -> None:
        """Read the keys and what was erased; a key that came back from a copy of the file is destroyed again."""
        await self._journal.load()
        with contextlib.suppress(FileNotFoundError):
            written = json.loads(self._path.read_text(encoding="utf-8"))
            for subject, wrapped in written["subjects"].items():
                self._keys[subject] = self._unwrap(subject, wrapped)
        returned = [subject for subject in self._keys if subject in self._erased]
        for subject in returned:
            del self._keys[subject]
        if returned:
            self._write()

    def seal(self, subject: str, value: JsonValue, *, about: str, once: str | None = None) -> JsonValue:
        """Return a value encrypted for a subject; `about` says what it is, and it opens as nothing else.

        With `once` the nonce is derived from it, the value and the key: the same three give the same, others another.
        Raises `ErasedError` for a subject that was erased: nothing new is kept about it.
        """
        self._check(subject)
        key = self._keys.get(subject)
        if key is None:
            key = self._keys[subject] = secrets.token_bytes(32)
            self._write()
        plain = json.dumps(value, ensure_ascii=False).encode()
        nonce = secrets.token_bytes(12)
        if once is not None:
            said = json.dumps([once, about]).encode() + b"\0" + plain
            nonce = hmac.digest(hmac.digest(key, b"loom/nonce/v1", "sha256"), said, "sha256")[:12]
        data = self._aead(key).encrypt(nonce, plain, _about(subject, about))
        return {_MARK: _FORMAT, "subject": subject, "about": about, "nonce": _text(nonce), "data": _text(data)}

    def open(self, sealed: JsonValue) -> JsonValue:
        """Return what was sealed; raise `ErasedError` where the key was destroyed, or the value was changed."""
        given: Any = sealed
        self._check(given["subject"])
        key = self._keys.get(given["subject"])
        if key is None:
            raise ErasedError(f"there is no key of [{given['subject']:.80}]; expected the file of keys: restore it")
        try:
            nonce, data = base64.b64decode(given["nonce"]), base64.b64decode(given["data"])
            plain = self._aead(key).decrypt(nonce, data, _about(given["subject"], given["about"]))
        except Exception as error:
            raise ErasedError(f"what was sealed for [{given['subject']:.80}] does not open; it was changed") from error
        value: JsonValue = json.loads(plain)
        return value

    def erased(self, subject: str) -> SubjectErasedEntry | None:
        """Return who erased a subject and why; None where nobody did."""
        return self._erased.get(subject)

    def shown(self, value: JsonValue) -> JsonValue:
        """Return a value as it may be shown to anybody: what is sealed says so, or says that it is erased."""
        if is_sealed(value):
            given: Any = value
            return "erased" if given["subject"] in self._erased else "sealed"
        if isinstance(value, Mapping):
            return {name: self.shown(each) for name, each in value.items()}
        return [self.shown(each) for each in value] if isinstance(value, list) else value

    async def erase(self, subject: str, *, by: str, reason: str) -> None:
        """Destroy the key of a subject, in a person's name. It cannot be taken back.

        It is journaled first: whatever happens in between, the next start destroys the key.
        """
        entry = SubjectErasedEntry(subject=subject, by=check_person(by), reason=reason)
        await self._journal.append_if_missing(lambda: None if subject in self._erased else entry)
        if self._keys.pop(subject, None) is not None:
            self._write()

    def _check(self, subject: str) -> None:
        erased = self._erased.get(subject)
        if erased is not None:
            raise ErasedError(f"subject [{subject:.80}] was erased by [{erased.by}]: {erased.reason}")

    def _write(self) -> None:
        """Write the keys anew, whole or not at all; what lay there before is overwritten before it is let go."""
        subjects = {subject: self._wrap(subject, key) for subject, key in sorted(self._keys.items())}
        raw = json.dumps({"format": _FORMAT, "subjects": subjects}).encode()
        part = self._path.with_suffix(".part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError), self._path.open("r+b") as old:
            old.write(b"\0" * self._path.stat().st_size)
            old.flush()
            os.fsync(old.fileno())
        os.replace(part, self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _wrap(self, subject: str, key: bytes) -> str:
        nonce = secrets.token_bytes(12)
        return _text(nonce + self._master.encrypt(nonce, key, _about(subject, "data key")))

    def _unwrap(self, subject: str, wrapped: str) -> bytes:
        raw = base64.b64decode(wrapped)
        try:
            key: bytes = self._master.decrypt(raw[:12], raw[12:], _about(subject, "data key"))
        except Exception as error:
            raise ConfigError(
                f"file of keys [{self._path}] does not open with this master key; expected the one it was written with"
            ) from error
        return key

    def _fold(self, recorded: Any) -> None:
        if isinstance(recorded.entry, SubjectErasedEntry):
            self._erased[recorded.entry.subject] = recorded.entry


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
