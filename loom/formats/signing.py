"""Signatures of formats that ask for one: Ed25519, with a key of the caller's."""

from __future__ import annotations

import base64
import importlib
from typing import Any, Protocol

from loom.errors import ConfigError

__all__ = ["Signer", "base64url", "jwk_of", "key_from_pem"]


class Signer(Protocol):
    """Signs bytes with one Ed25519 key."""

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the signature of data, 64 bytes."""
        ...


class _PemKey:
    """An Ed25519 key as `cryptography` has it."""

    def __init__(self, key: Any) -> None:
        self._key = key

    @property
    def public_key(self) -> bytes:
        found: bytes = self._key.public_key().public_bytes_raw()
        return found

    def sign(self, data: bytes) -> bytes:
        signature: bytes = self._key.sign(data)
        return signature


def key_from_pem(pem: bytes, *, name: str = "the key") -> Signer:
    """Return the key in a PEM file without a password; raise `ConfigError` for any other than Ed25519."""
    try:
        serialization: Any = importlib.import_module("cryptography.hazmat.primitives.serialization")
        ed25519: Any = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ed25519")
    except ImportError as error:
        raise ConfigError(
            "a format is to be signed, and cryptography is not installed; expected the extra: "
            "pip install 'loom-journal[crypto]'"
        ) from error
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"[{name}] holds no private key that can be read; expected an Ed25519 key in PEM without a password: "
            "make one with `openssl genpkey -algorithm ed25519`"
        ) from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError(
            f"[{name}] holds a key of [{type(key).__name__}]; expected [Ed25519]: "
            "make one with `openssl genpkey -algorithm ed25519`"
        )
    return _PemKey(key)


def base64url(data: bytes) -> str:
    """Return bytes in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwk_of(signer: Signer) -> dict[str, str]:
    """Return the public key as a JWK."""
    return {"kty": "OKP", "crv": "Ed25519", "x": base64url(signer.public_key)}
