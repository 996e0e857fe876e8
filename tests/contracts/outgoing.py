"""What every way out of loom has to pass, whether a critic, a model or a notice is at its end.

Derive a class from `OutgoingContract`, named `Test…`, and have `left` send what is given by that way.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from loom import Loom, LoomConfig
from loom.sealing import MASTER_KEY, SealedOpenedEntry, SealingConfig

__all__ = ["EMAIL", "SUBJECT", "OutgoingContract"]

SUBJECT, EMAIL, PHONE, PLAN = "c-7", "ada@example.org", "+44 20 7946", "the plan of the house"


class OutgoingContract:
    """A way out: sealed values leave sealed, named ones opened once that is journaled, erased ones never."""

    def config(self, path: Path, named: Sequence[str]) -> LoomConfig:
        """Return a config in which this way may show the named fields."""
        raise NotImplementedError

    def open(self, config: LoomConfig) -> Loom:
        """Return the loom from which something leaves."""
        raise NotImplementedError

    def place(self, field: str) -> str:
        """Return the path by which the config names a field of what is sent."""
        raise NotImplementedError

    async def prepare(self, loom: Loom, fields: dict[str, JsonValue]) -> Any:
        """Have the fields be kept, `email` and `phone` sealed for the subject; return what `left` needs."""
        raise NotImplementedError

    async def left(self, loom: Loom, prepared: Any) -> str:
        """Have it leave, and return every character that left."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _master(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())

    @asynccontextmanager
    async def _opened(self, path: Path, *named: str) -> AsyncIterator[Loom]:
        config = self.config(path, [self.place(each) for each in named])
        config = config.model_copy(update={"sections": {**config.sections, "sealing": SealingConfig(enabled=True)}})
        async with self.open(config) as loom:
            yield loom

    async def test_what_is_sealed_leaves_sealed(self, tmp_path: Path) -> None:
        async with self._opened(tmp_path) as loom:
            text = await self.left(loom, await self.prepare(loom, {"email": EMAIL, "phone": PHONE, "plan": PLAN}))
            assert PLAN in text
            assert "sealed" in text
            assert not [each for each in (EMAIL, PHONE, "$sealed", "nonce") if each in text]
            assert await _openings(loom) == []

    async def test_what_the_config_names_leaves_opened_once_that_is_journaled(self, tmp_path: Path) -> None:
        async with self._opened(tmp_path, "email") as loom:
            text = await self.left(loom, await self.prepare(loom, {"email": EMAIL, "phone": PHONE, "plan": PLAN}))
            assert EMAIL in text
            assert not [each for each in (PHONE, "$sealed", "nonce") if each in text]
            [entry] = await _openings(loom)
            assert (entry.subjects, entry.identity_source) == ((SUBJECT,), "system")
            assert entry.what["fields"] == [self.place("email")]

    async def test_what_is_erased_never_leaves(self, tmp_path: Path) -> None:
        async with self._opened(tmp_path, "email", "phone") as loom:
            prepared = await self.prepare(loom, {"email": EMAIL, "phone": PHONE, "plan": PLAN})
            await loom.subjects.erase(SUBJECT, by="vera", reason="she asked for it")
            text = await self.left(loom, prepared)
            assert "erased" in text
            assert not [each for each in (EMAIL, PHONE, "$sealed", "nonce") if each in text]
            assert await _openings(loom) == []


async def _openings(loom: Loom) -> list[SealedOpenedEntry]:
    return [each.entry async for each in loom.store.read("loom/access") if isinstance(each.entry, SealedOpenedEntry)]
