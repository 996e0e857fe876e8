"""What keeps the keys of subjects: a port. A file or a database does it, or what a config names, as a key service."""

from __future__ import annotations

from typing import Protocol

__all__ = ["KeyStore"]


class KeyStore(Protocol):
    """Keeps keys of 32 bytes by subject and generation. What it costs does not depend on how many there are.

    No call waits on the event loop. A call that returns is durable; one that raises `KeysNotWrittenError` did nothing
    that counts: a key that could not be written is not given out, one that could not be destroyed is there as before.
    """

    async def open(self) -> None:
        """Look whether the keys are there and open with what wraps them; raise `ConfigError`."""
        ...

    async def get(self, subject: str) -> dict[int, bytes]:
        """Return generation → key of a subject; empty where there is none."""
        ...

    async def put(self, subject: str, generation: int, key: bytes) -> bytes:
        """Keep a new key, and return the one that is kept.

        Where several processes share the keys, another one may have put one first: then that one counts. Raises
        `ErasedError` where keys of that generation were destroyed before.
        """
        ...

    async def destroy(self, subject: str, *, until: int) -> int:
        """Destroy the keys of a subject up to and with a generation; return how many there were."""
        ...

    @property
    def is_new(self) -> bool:
        """Whether no key was ever put into it: it is made with the first."""
        ...

    @property
    def destroyed_until(self) -> int:
        """The sequence in the journal of erasures up to which these keys had all been destroyed.

        A store that came back from a backup says an earlier one, so that what was erased since is destroyed again.
        """
        ...

    async def note_destroyed(self, sequence: int) -> None:
        """Write down another one: a later one, or an earlier one where the journal itself came back from a backup."""
        ...

    async def close(self) -> None:
        """Close it. Closing twice is harmless."""
        ...
