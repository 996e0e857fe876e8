"""Which store of keys a config means: the file of the workspace, a database, or one that a user brings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeAlias, TypeGuard

from loom.config import function_named
from loom.journal.postgres.url import PostgresUrl
from loom.sealing.config import SealingConfig
from loom.sealing.keydatabase import KeyDatabase, keys_url
from loom.sealing.keyfile import KeyFile
from loom.sealing.keystore import KeyStore
from loom.sealing.master import master_key

__all__ = ["MakeKeyStore", "check_keys", "key_store_of"]

MakeKeyStore: TypeAlias = Callable[[str], KeyStore]
"""Returns the store of keys of a workspace, as one in front of a key service."""


class _Checks(Protocol):
    def check(self) -> Awaitable[None]: ...


def _checks(store: KeyStore) -> TypeGuard[_Checks]:
    return hasattr(store, "check")


def key_store_of(
    config: SealingConfig, keys: Path, *, workspace: str, journal: PostgresUrl | None = None
) -> tuple[KeyStore, str]:
    """Return the store of keys of a workspace, not opened yet, and where it is in words.

    Raises `ConfigError` where the master key that it needs is missing, or its database is the journal's.
    """
    if config.key_store is not None:
        that = "takes the name of a workspace and returns a KeyStore"
        make: MakeKeyStore = function_named(config.key_store, key="sealing.key_store", that=that)
        return make(workspace), f"what [{config.key_store}] makes"
    master = master_key(file=config.key_file)
    if config.keys_url is not None:
        url = keys_url(config.keys_url.get_secret_value(), workspace=workspace, journal=journal)
        return KeyDatabase(url, master, workspace=workspace), f"schema [{url.schema}] of [{url}]"
    return KeyFile(keys, master, workspace=workspace), f"file of keys [{keys}]"


async def check_keys(config: SealingConfig, keys: Path, *, workspace: str, journal: PostgresUrl | None = None) -> None:
    """Raise where the keys that are there do not open; nothing is written."""
    store, _ = key_store_of(config, keys, workspace=workspace, journal=journal)
    try:
        if _checks(store):
            await store.check()
    finally:
        await store.close()
