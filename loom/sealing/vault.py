"""The vault: it seals values with the key of their subject, opens them, and has that key destroyed.

AES-256-GCM. Destroying the key of a subject makes everything sealed with it unreadable, wherever copies lie; the
journal stays as it is, and verifies. Keys have generations: a sealed value names the one that opens it, and an erasure
ends those up to its own. What was sealed before there were generations is of generation 0.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from pydantic import JsonValue

from loom.errors import ErasedError
from loom.sealing.erasures import Erasures
from loom.sealing.keyfile_of_old import about_of_old
from loom.sealing.keystore import KeyStore
from loom.sealing.markers import SealedValue, placeholder_of
from loom.sealing.master import aead
from loom.sealing.naming import check_subject

__all__ = ["CLASSES", "Keys", "LateWrites", "Vault"]

CLASSES = " loom/classes"
"""The name under which the key of classes is kept. `check_subject` refuses it: it is of no subject and never erased."""

LateWrites: TypeAlias = Literal["refuse", "new_generation"]
"""What becomes of a write about a subject that was erased."""

_MOST_KEPT = 10_000
_PLAIN = json.JSONEncoder(ensure_ascii=False).encode
_SORTED = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


class Keys:
    """The keys of one subject, ready to be used without waiting; those that an erasure ended open nothing."""

    def __init__(self, subject: str, keys: Mapping[int, bytes], erasures: Erasures) -> None:
        self.subject = subject
        self.generation = max(keys)
        """Of what is sealed now."""
        self._keys = dict(keys)
        self._erasures = erasures
        self._macs: dict[bytes, hmac.HMAC] = {}
        self._aead = aead()
        self._ciphers = {generation: self._aead(key) for generation, key in keys.items()}

    def check(self) -> None:
        """Raise `ErasedError` where an erasure ended the newest of them."""
        self._erasures.check(self.subject, generation=self.generation)

    def seal(self, value: JsonValue, *, about: str, once: str | None = None) -> JsonValue:
        """Return a value encrypted; `about` says what it is, and it opens as nothing else.

        With `once` the nonce is derived from it, the value and the key: the same three give the same, others another.
        """
        self.check()
        generation = self.generation
        plain = _PLAIN(value).encode()
        if once is None:
            nonce = secrets.token_bytes(12)
        else:
            said = json.dumps([once, about]).encode() + b"\0" + plain
            nonce = self._digest(b"loom/nonce/v1", said)[:12]
        data = self._ciphers[generation].encrypt(nonce, plain, _about(self.subject, generation, about))
        sealed = SealedValue(
            self.subject, generation, about, _text(nonce), _text(data), format=1 if generation == 0 else 2
        )
        return sealed.as_json()

    def open(self, sealed: SealedValue) -> JsonValue:
        """Return what was sealed; raise `ErasedError` where its key is gone, or the value was changed."""
        self._erasures.check(self.subject, generation=sealed.generation)
        cipher = self._ciphers.get(sealed.generation)
        if cipher is None:
            raise _without_key(self.subject)
        try:
            nonce, data = base64.b64decode(sealed.nonce), base64.b64decode(sealed.data)
            plain = cipher.decrypt(nonce, data, _about(self.subject, sealed.generation, sealed.about))
        except Exception as error:
            raise _changed(self.subject) from error
        value: JsonValue = json.loads(plain)
        return value

    def hashed(self, value: JsonValue, *, about: str) -> str:
        """Return a keyed hash: the same for equal values of the subject, and nothing to guess at without its key."""
        self.check()
        said = _SORTED([about, value]).encode()
        return f"hmac-sha256:{self._digest(b'loom/hash/v1', said).hex()}"

    def _digest(self, purpose: bytes, said: bytes) -> bytes:
        """Return an HMAC under the key that is derived for a purpose; that is made ready once."""
        ready = self._macs.get(purpose)
        if ready is None:
            derived = hmac.digest(self._keys[self.generation], purpose, "sha256")
            ready = self._macs[purpose] = hmac.new(derived, digestmod="sha256")
        mac = ready.copy()
        mac.update(said)
        return mac.digest()


class Vault:
    """The keys of all subjects of a workspace; as many as were used last are kept at hand."""

    def __init__(
        self,
        keys: KeyStore,
        erasures: Erasures,
        *,
        late_writes: LateWrites = "refuse",
        before_first: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Take a store of keys; `before_first` is asked before the first key is put into one that is new."""
        self._store = keys
        self._erasures = erasures
        self._late_writes = late_writes
        self._before_first = before_first
        self._kept: OrderedDict[str, Keys] = OrderedDict()
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Open the keys, and read who was erased; keys that came back from a backup are destroyed again."""
        await self._erasures.load()
        await self._store.open()
        for subject, generation in self._erasures.ended_after(self._store.destroyed_until):
            await self._store.destroy(subject, until=generation)
        await self._store.note_destroyed(self._erasures.sequence)

    async def keys(self, subject: str) -> Keys:
        """Return the keys of a subject to seal with, a new one where there is none; it is durable before it is used.

        Raises `ErasedError` for a subject that was erased, unless late writes get a new generation.
        """
        check_subject(subject)
        kept = self._at_hand(subject)
        if kept is not None and not self._erasures.is_ended(subject, kept.generation):
            return kept
        async with self._lock:
            found = await self._store.get(subject)
            newest = max(found, default=None)
            if newest is None or self._erasures.is_ended(subject, newest):
                if self._late_writes == "refuse":
                    self._erasures.check(subject)
                ended = self._erasures.ended(subject)
                newest = 1 if ended is None else ended + 1
                found[newest] = await self._new(subject, newest)
            return self._keep(subject, found)

    async def keys_of_classes(self, *, make: bool = True) -> Keys | None:
        """Return the key of the workspace for keyed classes; None where there is none and none is to be made.

        It belongs to no subject, so no erasure destroys it.
        """
        if not make or self._at_hand(CLASSES) is not None:
            return await self.known(CLASSES)
        async with self._lock:
            found = await self._store.get(CLASSES)
            return self._keep(CLASSES, found or {1: await self._new(CLASSES, 1)})

    async def _new(self, subject: str, generation: int) -> bytes:
        """Return a new key, once it is durable."""
        key = secrets.token_bytes(32)
        if self._before_first is not None and self._store.is_new:
            await self._before_first()
        return await self._store.put(subject, generation, key)

    def check_taken(self, subject: str) -> None:
        """Raise `ErasedError` for a subject of whom nothing is taken any more; `InvalidNameError` for what is none."""
        check_subject(subject)
        if self._late_writes == "refuse":
            self._erasures.check(subject)

    async def known(self, subject: str) -> Keys | None:
        """Return the keys of a subject to open with; None where there are none."""
        kept = self._at_hand(subject)
        if kept is not None:
            return kept
        async with self._lock:
            found = await self._store.get(subject)
            return self._keep(subject, found) if found else None

    async def seal(self, subject: str, value: JsonValue, *, about: str, once: str | None = None) -> JsonValue:
        """Return a value encrypted for a subject; see `Keys.seal`."""
        return (await self.keys(subject)).seal(value, about=about, once=once)

    async def hashed(self, subject: str, value: JsonValue, *, about: str) -> str:
        """Return a keyed hash of a value of a subject; see `Keys.hashed`."""
        return (await self.keys(subject)).hashed(value, about=about)

    async def open(self, sealed: JsonValue, *, subject: str) -> JsonValue:
        """Return what was sealed for a subject; raise `ErasedError` where its key is gone, or the value was changed."""
        value: Any = placeholder_of(sealed)
        if not isinstance(value, SealedValue) or value.subject != subject:
            raise _changed(subject)
        self._erasures.check(subject, generation=value.generation)
        keys = await self.known(subject)
        if keys is None:
            raise _without_key(subject)
        return keys.open(value)

    async def knows(self, subject: str) -> bool:
        """Tell whether there is a key of a subject that no erasure ended."""
        keys = await self.known(subject)
        return keys is not None and not self._erasures.is_ended(subject, keys.generation)

    def is_erased(self, subject: str, generation: int) -> bool:
        """Tell whether an erasure ended a generation of a subject's keys."""
        return self._erasures.is_ended(subject, generation)

    async def next_to_end(self, subject: str) -> int:
        """Return the generation that an erasure of a subject would end now."""
        found = await self._store.get(subject)
        return max([*found, (self._erasures.ended(subject) or 0), 0 if found else 1])

    async def destroy(self, subject: str, *, until: int) -> int:
        """Destroy the keys of a subject up to and with a generation; return how many there were."""
        async with self._lock:
            count = await self._store.destroy(subject, until=until)
            self._kept.pop(subject, None)  # after the write: what is forgotten first is not asked for again
            return count

    async def note_destroyed(self, sequence: int) -> None:
        """Write down up to which sequence of the journal of erasures all keys were destroyed."""
        await self._store.note_destroyed(sequence)

    async def close(self) -> None:
        """Close the store of keys, and forget those at hand."""
        self._kept.clear()
        await self._store.close()

    def _at_hand(self, subject: str) -> Keys | None:
        kept = self._kept.get(subject)
        if kept is not None:
            self._kept.move_to_end(subject)
        return kept

    def _keep(self, subject: str, found: Mapping[int, bytes]) -> Keys:
        keys = self._kept[subject] = Keys(subject, found, self._erasures)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return keys


def _without_key(subject: str) -> ErasedError:
    return ErasedError(f"there is no key of [{subject:.80}]; expected the file of keys: restore it")


def _changed(subject: str) -> ErasedError:
    return ErasedError(f"what was sealed for [{subject:.80}] does not open; it was changed")


@lru_cache(maxsize=4_096)
def _about(subject: str, generation: int, about: str) -> bytes:
    if generation == 0:
        return about_of_old(subject, about)
    return json.dumps(["loom/sealed/v2", subject, generation, about]).encode()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
