"""Keys that sign checkpoints: Ed25519, in a file of its own or behind a command, as one of a key management service.

A key is never in the journal, nor in the directory of the workspace, so that a copy of the data is no copy of the key.
"""

from __future__ import annotations

import base64
import binascii
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from loom.errors import ConfigError
from loom.journal.private import open_private
from loom.proof.errors import SigningKeyError

__all__ = ["CommandSigner", "FileSigner", "Signer", "create_key", "public_key_of", "verifies"]

_MAX_FILE = 16_384
_PUBLIC_BYTES = 32
_SIGNATURE_BYTES = 64
_TIMEOUT_S = 30.0


class Signer(Protocol):
    """Signs with one key."""

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes; it may block. Raises `SigningKeyError`."""
        ...


class FileSigner:
    """Signs with the key in a PEM file (PKCS 8), as `loom keys signing new` and `openssl genpkey` write it."""

    def __init__(self, path: Path) -> None:
        self._key = _private_of(path)
        self.public: bytes = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
        return bytes(self._key.sign(message))


class CommandSigner:
    """Signs by a command that reads the message on stdin and prints the signature: 64 bytes, or their base64."""

    def __init__(self, command: Sequence[str], public: bytes, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._command = tuple(command)
        self.public = public
        self._timeout_s = timeout_s

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message; one that is not of the key is refused."""
        name = self._command[0]
        try:
            done = subprocess.run(  # noqa: S603 - the command of the config, without a shell
                self._command, input=message, capture_output=True, timeout=self._timeout_s, check=False
            )
        except (OSError, subprocess.TimeoutExpired, ValueError) as error:
            raise SigningKeyError(
                f"command [{name}] did not sign [{type(error).__name__}]; expected a signature within "
                f"[{self._timeout_s:g}] s: run it by hand"
            ) from error
        if done.returncode:
            raise SigningKeyError(
                f"command [{name}] ended with [{done.returncode}]; expected a signature: run it by hand, it may say why"
            )
        raw = done.stdout
        if len(raw) != _SIGNATURE_BYTES:
            try:
                raw = base64.b64decode(raw.strip(), validate=True)
            except (binascii.Error, ValueError):
                raw = b""
        if not verifies(self.public, raw, message):
            raise SigningKeyError(
                f"command [{name}] printed no signature of the public key in the config; expected 64 bytes or their "
                "base64: compare the two"
            )
        return raw


def create_key(path: Path) -> bytes:
    """Make a key in a new file for its owner only, and return the public key; raise `ConfigError` if it is there."""
    ed25519, serialization = _cryptography()
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    try:
        descriptor = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.write(descriptor, pem)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except FileExistsError as error:
        raise ConfigError(f"file [{path}] exists; expected none, a key is never overwritten: choose another") from error
    except OSError as error:
        raise ConfigError(f"key cannot be written to [{path}] [{error.strerror}]; expected a place that can") from error
    return bytes(key.public_key().public_bytes_raw())


def public_key_of(text: str) -> bytes:
    """Return the public key that a config writes as base64; raise `ConfigError` for any other text."""
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _PUBLIC_BYTES:
        raise ConfigError(f"public key [{text:.50}] is none; expected 32 bytes of Ed25519 in base64: copy it again")
    return raw


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Tell whether a signature is of this key and message; raise `ConfigError` where the package is not there."""
    ed25519, _ = _cryptography()
    from cryptography.exceptions import InvalidSignature

    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _private_of(path: Path) -> Any:
    ed25519, serialization = _cryptography()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            about = os.fstat(descriptor)
            raw = os.read(descriptor, _MAX_FILE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(
            f"signing key [{path}] cannot be read [{error.strerror}]; expected a file that `loom keys signing new` made"
        ) from error
    if about.st_mode & 0o077:
        raise ConfigError(f"signing key [{path}] may be read by others; expected mode 0600: chmod it")
    try:
        key = serialization.load_pem_private_key(raw, password=None)
    except Exception as error:  # the package raises many kinds
        raise ConfigError(
            f"signing key [{path}] cannot be used [{type(error).__name__}]; expected an Ed25519 key in PEM without a "
            "password: make one with `loom keys signing new`"
        ) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError(f"signing key [{path}] is of another type [{type(key).__name__}]; expected Ed25519")
    return key


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ConfigError(
            "signatures need a package that is not there [cryptography]; expected the extra [crypto]: "
            "pip install 'loom-journal[crypto]'"
        ) from error
    return ed25519, serialization
