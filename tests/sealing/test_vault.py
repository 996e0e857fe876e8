"""The vault: what it seals opens with its key alone, and for what it was sealed; what is erased stays erased."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from loom.errors import ConfigError, ErasedError, InvalidNameError
from loom.sealing import MASTER_KEY, SealingConfig, check_subject, is_sealed, master_key
from tests.sealing.support import MASTER, keys_file, opening, vault

VALUES: tuple[Any, ...] = (None, False, 0, -(2**53), "", "ü\u2028𝄞", [], [None, {"a": []}], {"": 1, "é": ["x"]})


# --- sealing ---------------------------------------------------------------------------------------


async def test_what_is_sealed_opens_again_also_after_a_restart(tmp_path: Path) -> None:
    async with vault(tmp_path) as opened:
        for value in VALUES:
            sealed = await opened.seal("ada", value, about="email")
            assert is_sealed(sealed)
            assert await opened.open(sealed, subject="ada") == value
        kept = await opened.seal("ada", {"at": "ada@example.org"}, about="email")
        assert "example" not in json.dumps(kept)
    async with vault(tmp_path) as opened:
        assert await opened.open(kept, subject="ada") == {"at": "ada@example.org"}


async def test_a_value_opens_as_nothing_but_what_it_was_sealed_as(tmp_path: Path) -> None:
    async with vault(tmp_path) as opened:
        sealed: Any = await opened.seal("ada", "x", about="email")
        await opened.seal("bob", "x", about="email")
        data = bytearray(base64.b64decode(sealed["data"]))
        data[0] ^= 1
        changed = (
            {"about": "name"},
            {"data": base64.b64encode(data).decode()},
            {"data": ""},
            {"nonce": base64.b64encode(bytes(12)).decode()},
            {"nonce": "no base64!"},
        )
        with pytest.raises(ErasedError, match="it was changed"):
            await opened.open(sealed, subject="bob")
        for each in changed:
            with pytest.raises(ErasedError, match="it was changed"):
                await opened.open({**sealed, **each}, subject="ada")


async def test_sealed_values_differ_each_time_but_for_the_same_request(tmp_path: Path) -> None:
    async with vault(tmp_path) as opened:
        assert await opened.seal("ada", "x", about="email") != await opened.seal("ada", "x", about="email")
        same = await opened.seal("ada", "x", about="email", once="e-1 1")
        assert same == await opened.seal("ada", "x", about="email", once="e-1 1")
        others = [
            await opened.seal(subject, value, about=about, once=once)
            for subject, value, about, once in (
                ("ada", "y", "email", "e-1 1"),
                ("ada", "x", "name", "e-1 1"),
                ("ada", "x", "email", "e-1 2"),
                ("bob", "x", "email", "e-1 1"),
            )
        ]
        nonces = {each["nonce"] for each in [same, *others]}  # type: ignore[index, call-overload]
        assert len(nonces) == 5, "a nonce that comes twice with one key would give both away"
    async with vault(tmp_path) as opened:
        assert same == await opened.seal("ada", "x", about="email", once="e-1 1"), "also after a restart"


async def test_the_file_of_keys_is_its_owners_and_holds_nothing_that_opens_without_the_master_key(
    tmp_path: Path,
) -> None:
    async with vault(tmp_path) as opened:
        sealed = await opened.seal("ada", "x", about="email")
    file = keys_file(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(file.parent.glob("*.part"))
    with pytest.raises(ConfigError, match="does not open with this master key"):
        async with vault(tmp_path, bytes(32)):
            pass
    async with vault(tmp_path) as opened:
        assert await opened.open(sealed, subject="ada") == "x"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"subjects": []}', '{"subjects": {"ada": 3}}', '{"subjects": {"ada": "!"}}', "\x00\xff"]
)
async def test_a_file_of_keys_that_is_damaged_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    async with vault(tmp_path):
        pass
    keys_file(tmp_path).write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError, match=r"file of keys"):
        async with vault(tmp_path):
            pass
    assert keys_file(tmp_path).read_text(encoding="latin-1") == text


async def test_without_the_key_of_a_subject_nothing_of_it_opens(tmp_path: Path) -> None:
    async with vault(tmp_path) as opened:
        sealed = await opened.seal("ada", "x", about="email")
    keys_file(tmp_path).unlink()
    async with vault(tmp_path) as opened:
        with pytest.raises(ErasedError, match="restore it"):
            await opened.open(sealed, subject="ada")


async def test_a_value_of_another_generation_opens_with_its_own_key_alone(tmp_path: Path) -> None:
    async with opening(tmp_path, late="new_generation") as subjects:
        assert subjects.vault is not None
        first: Any = await subjects.vault.seal("ada", "x", about="email")
        await subjects.erase("ada", by="vera", reason="she asked for it")
        second: Any = await subjects.vault.seal("ada", "y", about="email")
        assert (first["generation"], second["generation"]) == (1, 2)
        assert await subjects.vault.open(second, subject="ada") == "y"
        with pytest.raises(ErasedError, match="was erased"):
            await subjects.vault.open(first, subject="ada")
        with pytest.raises(ErasedError, match="it was changed"):
            await subjects.vault.open({**first, "generation": 2}, subject="ada")
        assert subjects.erasures.shown([first, second]) == ["erased", "sealed"]
    async with opening(tmp_path) as subjects:
        assert subjects.vault is not None
        assert await subjects.vault.open(second, subject="ada") == "y", "what was erased ends with its generation"


@pytest.mark.parametrize("subject", ["", "a" * 201, "a" * 10_240, " a", "a\n", "e\u0301", "a\u200b", 7, None])
async def test_what_is_no_name_of_a_subject_gets_no_key(tmp_path: Path, subject: Any) -> None:
    with pytest.raises(InvalidNameError, match="subject"):
        check_subject(subject)
    async with vault(tmp_path) as opened:
        with pytest.raises(InvalidNameError):
            await opened.seal(subject, "x", about="email")
    assert not keys_file(tmp_path).exists()
    assert check_subject("é" * 200) == "é" * 200


# --- the master key --------------------------------------------------------------------------------


def test_the_master_key_comes_from_the_environment_or_a_file_that_nobody_else_reads(tmp_path: Path) -> None:
    text = base64.b64encode(MASTER).decode()
    file = tmp_path / "master"
    file.write_text(text + "\n")
    file.chmod(0o600)
    assert master_key(environ={MASTER_KEY: text}) == MASTER
    assert master_key(file=file, environ={}) == MASTER
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="may be read by others"):
        master_key(file=file, environ={})
    with pytest.raises(ConfigError, match="cannot be read"):
        master_key(file=tmp_path / "none", environ={})
    with pytest.raises(ConfigError, match="there is no master key"):
        master_key(environ={})


@pytest.mark.parametrize("text", ["x", "AAAA", "é", base64.b64encode(bytes(31)).decode(), "=" * 44])
def test_what_is_no_key_of_32_bytes_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ConfigError, match="expected 32 bytes in base64") as caught:
        master_key(environ={MASTER_KEY: text})
    assert text not in str(caught.value).replace("expected", "") or len(text) < 2


def test_the_section_has_no_place_for_a_key() -> None:
    assert set(SealingConfig.model_fields) == {
        "enabled",
        "core_circuits",
        "key_file",
        "key_store",
        "keys_url",
        "late_writes",
        "readers",
        "keys_lost",
    }
