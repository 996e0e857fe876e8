"""The vault: what it seals opens with its key alone, and for what it was sealed; what is erased stays erased."""

from __future__ import annotations

import base64
import json
import os
import secrets
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom import Loom, LoomConfig
from loom.errors import AdmissionError, ConfigError, ErasedError, InvalidNameError, KeysNotWrittenError
from loom.sealing import MASTER_KEY, Erasures, Fields, SealingConfig, SubjectErasedEntry, Vault, is_sealed, master_key
from tests.sealing.powercut import disk_under

MASTER = bytes(range(32))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@asynccontextmanager
async def vault(path: Path, master: bytes = MASTER) -> AsyncIterator[Vault]:
    async with Loom.open(LoomConfig(data=path), by="mira") as loom:
        opened = Vault(loom.files.keys, master, Erasures(loom.store))
        await opened.load()
        yield opened


def keys_file(path: Path) -> Path:
    return path / "default" / "journal.keys"


# --- sealing ---------------------------------------------------------------------------------------


async def test_what_is_sealed_opens_again_also_after_a_restart(tmp_path: Path) -> None:
    @settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(json_values)
    def always_opens(value: Any) -> None:
        sealed = opened.seal("ada", value, about="email")
        assert is_sealed(sealed)
        assert opened.open(sealed, subject="ada") == value

    async with vault(tmp_path) as opened:
        always_opens()
        kept = opened.seal("ada", {"at": "ada@example.org"}, about="email")
        assert "example" not in json.dumps(kept)
    async with vault(tmp_path) as opened:
        assert opened.open(kept, subject="ada") == {"at": "ada@example.org"}


async def test_a_value_opens_as_nothing_but_what_it_was_sealed_as(tmp_path: Path) -> None:
    async with vault(tmp_path) as opened:
        sealed: Any = opened.seal("ada", "x", about="email")
        opened.seal("bob", "x", about="email")
        data = bytearray(base64.b64decode(sealed["data"]))
        data[0] ^= 1
        changed = (
            {"about": "name"}, {"data": base64.b64encode(data).decode()}, {"data": ""},
            {"nonce": base64.b64encode(bytes(12)).decode()}, {"nonce": "no base64!"},
        )  # fmt: skip
        with pytest.raises(ErasedError, match="it was changed"):
            opened.open(sealed, subject="bob")
        for each in changed:
            with pytest.raises(ErasedError, match="it was changed"):
                opened.open({**sealed, **each}, subject="ada")


async def test_sealed_values_differ_each_time_but_for_the_same_request(tmp_path: Path) -> None:
    async with vault(tmp_path) as opened:
        assert opened.seal("ada", "x", about="email") != opened.seal("ada", "x", about="email")
        same = opened.seal("ada", "x", about="email", once="e-1 1")
        assert same == opened.seal("ada", "x", about="email", once="e-1 1")
        others = [
            opened.seal("ada", "y", about="email", once="e-1 1"), opened.seal("ada", "x", about="name", once="e-1 1"),
            opened.seal("ada", "x", about="email", once="e-1 2"), opened.seal("bob", "x", about="email", once="e-1 1"),
        ]  # fmt: skip
        nonces = {each["nonce"] for each in [same, *others]}  # type: ignore[index, call-overload]
        assert len(nonces) == 5, "a nonce that comes twice with one key would give both away"
    async with vault(tmp_path) as opened:
        assert same == opened.seal("ada", "x", about="email", once="e-1 1"), "also after a restart"


async def test_the_file_of_keys_is_its_owners_and_holds_nothing_that_opens_without_the_master_key(
    tmp_path: Path,
) -> None:
    async with vault(tmp_path) as opened:
        sealed = opened.seal("ada", "x", about="email")
    file = keys_file(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(file.parent.glob("*.part"))
    with pytest.raises(ConfigError, match="does not open with this master key"):
        async with vault(tmp_path, secrets.token_bytes(32)):
            pass
    async with vault(tmp_path) as opened:
        assert opened.open(sealed, subject="ada") == "x"


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
        sealed = opened.seal("ada", "x", about="email")
    keys_file(tmp_path).unlink()
    async with vault(tmp_path) as opened:
        with pytest.raises(ErasedError, match="restore it"):
            opened.open(sealed, subject="ada")


# --- erasing ---------------------------------------------------------------------------------------


async def test_what_is_erased_opens_for_nobody_and_nothing_new_is_sealed(tmp_path: Path) -> None:
    async with vault(tmp_path) as opened:
        sealed = opened.seal("ada", "x", about="email")
        other = opened.seal("bob", "y", about="email")
        await opened.erase("ada", by="vera", reason="she asked for it")
        await opened.erase("ada", by="vera", reason="once more")
        said = r"subject \[ada\] was erased by \[vera \(claimed, via python\)\]: she asked for it"
        with pytest.raises(ErasedError, match=said):
            opened.open(sealed, subject="ada")
        with pytest.raises(ErasedError, match=said):
            opened.seal("ada", "z", about="email")
        assert opened.open(other, subject="bob") == "y"
        assert opened._erasures.shown({"a": sealed, "b": [other]}) == {"a": "erased", "b": ["sealed"]}
        with pytest.raises(InvalidNameError):
            await opened.erase("bob", by="", reason="nobody says so")
    assert "ada" not in keys_file(tmp_path).read_text()


async def test_a_key_that_comes_back_with_an_old_copy_of_the_file_is_destroyed_again(tmp_path: Path) -> None:
    async with vault(tmp_path) as opened:
        sealed = opened.seal("ada", "x", about="email")
        copy = keys_file(tmp_path).read_bytes()
        await opened.erase("ada", by="vera", reason="she asked for it")
    keys_file(tmp_path).write_bytes(copy)
    async with vault(tmp_path) as opened:
        with pytest.raises(ErasedError):
            opened.open(sealed, subject="ada")
    assert "ada" not in keys_file(tmp_path).read_text()


async def test_an_erasure_that_was_journaled_and_not_carried_out_is_carried_out_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    async with vault(tmp_path) as opened:
        opened.seal("ada", "x", about="email")
        with monkeypatch.context() as patched:
            patched.setattr(Vault, "_write", killed)
            with pytest.raises(KeyboardInterrupt):
                await opened.erase("ada", by="vera", reason="she asked for it")
    assert "ada" in keys_file(tmp_path).read_text()
    async with vault(tmp_path) as opened:
        said = opened._erasures.get("ada")
        assert isinstance(said, SubjectErasedEntry)
        assert (said.subject, said.by, said.reason) == ("ada", "vera", "she asked for it")
    assert "ada" not in keys_file(tmp_path).read_text()


async def test_a_key_that_cannot_be_written_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    async with vault(tmp_path) as opened:
        with monkeypatch.context() as patched:
            patched.setattr("os.replace", full)
            with pytest.raises(KeysNotWrittenError, match="No space"):
                opened.seal("ada", "x", about="email")
        assert not list((tmp_path / "default").glob("*.part")), "what could not be written is not left there either"
        sealed = opened.seal("ada", "x", about="email")
    async with vault(tmp_path) as opened:
        assert opened.open(sealed, subject="ada") == "x"


@pytest.mark.parametrize("call", ["os.replace", "os.fsync", "os.open"])
async def test_an_erasure_whose_key_file_cannot_be_written_is_carried_out_when_it_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    calls: dict[str, Any] = {"os.replace": os.replace, "os.fsync": os.fsync, "os.open": os.open}
    real = calls[call]

    def full(*given: Any, **named: Any) -> Any:
        if threading.current_thread() is threading.main_thread():  # the journal is written by a thread of its own
            raise OSError(28, "No space left on device")
        return real(*given, **named)

    async with vault(tmp_path) as opened:
        sealed = opened.seal("ada", "x", about="email")
        with monkeypatch.context() as patched:
            patched.setattr(call, full)
            for _ in range(2):
                with pytest.raises(KeysNotWrittenError, match="do it again"):
                    await opened.erase("ada", by="vera", reason="she asked for it")
        assert "ada" in keys_file(tmp_path).read_text()
        with pytest.raises(ErasedError):
            opened.open(sealed, subject="ada")
        assert await opened.erase("ada", by="vera", reason="she asked for it"), "this is what destroyed the key"
        assert "ada" not in keys_file(tmp_path).read_text()
        assert not await opened.erase("ada", by="vera", reason="she asked for it"), "this was not"


# --- the disk --------------------------------------------------------------------------------------


async def test_a_power_cut_at_any_moment_leaves_the_old_keys_or_the_new_ones_and_what_was_sealed_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with vault(tmp_path / "live") as opened:
        first = opened.seal("ada", "x", about="email")
        with disk_under(keys_file(tmp_path / "live").parent, monkeypatch) as disk:
            second = opened.seal("bob", "y", about="email")
            done = disk.states()
            await opened.erase("cara", by="vera", reason="nobody knows her")
            opened.seal("dora", "z", about="email")
            await opened.erase("dora", by="vera", reason="she asked for it")
        assert len(disk.moments) > 10
        assert all("journal.keys" in state for state in disk.seen)
        for number, state in enumerate([*disk.seen, *done]):
            again = Vault(tmp_path / f"cut-{number}.keys", MASTER, opened._erasures)
            again._path.write_bytes(state["journal.keys"])
            await again.load()
            assert again.open(first, subject="ada") == "x"
            if number >= len(disk.seen):
                assert again.open(second, subject="bob") == "y", "it was sealed, so its key is on the disk"


async def test_a_key_that_was_destroyed_is_overwritten_where_it_lay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with vault(tmp_path) as opened:
        opened.seal("ada", "x", about="email")
        file = keys_file(tmp_path)
        inode, size = file.stat().st_ino, file.stat().st_size
        with file.open("rb") as old, disk_under(file.parent, monkeypatch) as disk:
            await opened.erase("ada", by="vera", reason="she asked for it")
            assert old.read() == bytes(size), "the file that had the name before"
            assert disk.left_of(inode) == bytes(size), "and not in memory only"


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
    assert set(SealingConfig.model_fields) == {"enabled", "core_circuits", "key_file"}


# --- fields ----------------------------------------------------------------------------------------


async def test_every_field_becomes_what_is_said_of_it_and_what_changed_is_told(tmp_path: Path) -> None:
    values: dict[str, Any] = {"a": 1, "b": "b@example.org", "c": "c@example.org", "d": "d", "e": {"secret": True}}
    handling: Any = {"b": "mask", "c": "hash", "d": "drop", "e": "seal"}
    async with vault(tmp_path) as opened:
        fields = Fields(opened._erasures, opened)
        written, changed = fields.protect(values, handling, subject="ada")
        assert changed == ("b", "c", "d", "e")
        assert (written["a"], written["b"]) == (1, "***")
        assert "d" not in written
        assert is_sealed(written["e"])
        assert fields.reveal(written, subject="ada")["e"] == {"secret": True}
        with pytest.raises(AdmissionError, match="looks like a sealed value"):
            fields.protect({"a": written["e"]}, {}, subject="ada")
        with pytest.raises(ErasedError):
            fields.reveal(written, subject="bob")
        again = fields.protect(values, handling, subject="ada").values
        assert written["c"] == again["c"], "equal values can be told by their hash"
        assert written["c"] != fields.protect(values, handling, subject="bob").values["c"]
        assert str(written["c"]).startswith("hmac-sha256:")
        plain_fields = Fields(opened._erasures)
    plain = plain_fields.protect({"c": "c"}, {"c": "hash"}, subject="ada").values["c"]
    assert str(plain).startswith("sha256:")
    with pytest.raises(ConfigError, match="there is no vault"):
        plain_fields.protect({"e": 1}, {"e": "seal"}, subject="ada")
