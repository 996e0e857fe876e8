"""The master key of a workspace: it wraps the keys of subjects, and comes from the environment or a file of its own."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loom.errors import ConfigError

__all__ = ["MASTER_KEY", "aead", "master_key"]

MASTER_KEY = "LOOM_MASTER_KEY"
"""The variable that holds the master key: 32 bytes in base64."""


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


def aead() -> Any:
    """Return the class of the cipher, AES-256-GCM; raise `ConfigError` where the package is not there."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ConfigError(
            "sealing needs a package that is not there [cryptography]; expected the extra [crypto]: "
            "pip install 'loom-journal[crypto]'"
        ) from error
    return AESGCM
