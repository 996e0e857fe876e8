"""How keys of subjects are wrapped by the master key: each is bound to its workspace, subject and generation."""

from __future__ import annotations

import hashlib
import json
import secrets

from loom.sealing.master import aead

__all__ = ["Wrapping", "digest_of_subject"]

_NONCE_BYTES = 12


class Wrapping:
    """Wraps and unwraps keys of one workspace."""

    def __init__(self, master: bytes, *, workspace: str) -> None:
        self._master = aead()(master)
        self._workspace = workspace

    def wrap(self, subject: str, generation: int, key: bytes) -> bytes:
        """Return a key wrapped, with its nonce in front."""
        return self._sealed(key, self._about(subject, generation))

    def unwrap(self, subject: str, generation: int, wrapped: bytes) -> bytes:
        """Return a key; whatever the cipher raises where it was wrapped with another master key, or changed."""
        return self.opened(wrapped, self._about(subject, generation))

    def token(self, about: str) -> bytes:
        """Return something that opens with this master key alone."""
        return self._sealed(b"loom", json.dumps([about, self._workspace]).encode())

    def check(self, token: bytes, about: str) -> bool:
        """Tell whether a token was made with this master key."""
        try:
            return self.opened(token, json.dumps([about, self._workspace]).encode()) == b"loom"
        except Exception:
            return False

    def opened(self, sealed: bytes, about: bytes) -> bytes:
        """Return what was sealed about something; whatever the cipher raises where it was not, or not with this key."""
        plain: bytes = self._master.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about)
        return plain

    def _sealed(self, plain: bytes, about: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed: bytes = self._master.encrypt(nonce, plain, about)
        return nonce + sealed

    def _about(self, subject: str, generation: int) -> bytes:
        return json.dumps(["loom/key/v2", self._workspace, subject, generation]).encode()


def digest_of_subject(subject: str) -> bytes:
    """Return what is kept of the name of a subject: a store of keys does not list people."""
    return hashlib.sha256(b"loom/subject/v1\n" + subject.encode()).digest()
