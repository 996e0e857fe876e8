"""Bytes that are sealed for several subjects: all keys are needed, and erasing any one of them is enough."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from loom.errors import AdmissionError, ErasedError
from loom.sealing import is_together, open_for_all, seal_for_all, subjects_together
from loom.sealing.concerning import sealed_in
from tests.sealing.support import opening, vault, vault_of

PLAIN = b'{"name": "Ada", "age": 42}'


async def test_what_is_sealed_for_several_opens_until_any_one_of_them_is_erased(tmp_path: Path) -> None:
    for erased in ("ada", "bob", "cy"):
        async with opening(tmp_path / erased) as subjects:
            opened = vault_of(subjects)
            sealed = await seal_for_all(opened, ["cy", "ada", "bob", "ada"], PLAIN, "state of x/1 at 5")
            assert is_together(sealed)
            assert subjects_together(sealed) == {"ada": 1, "bob": 1, "cy": 1}
            assert await open_for_all(opened, sealed, "state of x/1 at 5") == PLAIN
            await subjects.erase(erased, by="vera", reason="asked for it")
            with pytest.raises(ErasedError, match=erased):
                await open_for_all(opened, sealed, "state of x/1 at 5")


async def test_it_is_found_among_sealed_values_as_that_of_each_of_them(tmp_path: Path) -> None:
    class Found:
        def __init__(self, body: bytes) -> None:
            self.body = body

        def body_json(self) -> Any:
            return json.loads(self.body)

    async with vault(tmp_path) as opened:
        sealed = await seal_for_all(opened, ["ada", "bob"], PLAIN, "x")
        recorded: Any = Found(json.dumps({"state": sealed}).encode())
        assert {each.subject for each in sealed_in(recorded)} == {"ada", "bob"}


async def test_it_opens_as_nothing_but_what_it_was_sealed_as_and_not_once_it_was_changed(tmp_path: Path) -> None:
    async with vault(tmp_path) as opened:
        sealed: Any = await seal_for_all(opened, ["ada", "bob"], PLAIN, "one")
        other: Any = await seal_for_all(opened, ["ada", "bob"], PLAIN, "one")
        alone: Any = await seal_for_all(opened, ["ada"], PLAIN, "one")
        assert sealed["data"] != other["data"]
        with pytest.raises(ErasedError, match="two"):
            await open_for_all(opened, sealed, "two")
        changed: tuple[Any, ...] = (
            {**sealed, "data": other["data"]},
            {**sealed, "nonce": other["nonce"]},
            {**sealed, "data": "no base64!"},
            {**sealed, "data": None},
            {**sealed, "shares": sealed["shares"][:1]},
            {**sealed, "shares": sealed["shares"][::-1]},
            {**sealed, "shares": alone["shares"]},
            {**sealed, "shares": [*sealed["shares"], {}]},
            {**sealed, "shares": []},
            {},
            None,
            "x",
        )
        for each in changed:
            with pytest.raises(ErasedError, match="it was changed"):
                await open_for_all(opened, each, "one")
        assert await open_for_all(opened, sealed, "one") == PLAIN


async def test_bytes_for_nobody_and_for_a_subject_who_was_erased_are_refused(tmp_path: Path) -> None:
    async with opening(tmp_path) as subjects:
        opened = vault_of(subjects)
        with pytest.raises(AdmissionError, match="for no subject"):
            await seal_for_all(opened, [], PLAIN, "x")
        await seal_for_all(opened, ["ada"], PLAIN, "x")
        await subjects.erase("ada", by="vera", reason="asked for it")
        with pytest.raises(ErasedError):
            await seal_for_all(opened, ["bob", "ada"], PLAIN, "x")


async def test_a_share_less_than_all_says_nothing_and_many_subjects_cost_one_share_each(tmp_path: Path) -> None:
    names = [f"s-{number}" for number in range(40)]
    async with vault(tmp_path) as opened:
        few = len(json.dumps(await seal_for_all(opened, names[:20], PLAIN, "x")))
        sealed: Any = await seal_for_all(opened, names, PLAIN, "x")
        assert len(json.dumps(sealed)) < 2.1 * few
        del sealed["shares"][random.randrange(40)]
        with pytest.raises(ErasedError):
            await open_for_all(opened, sealed, "x")
