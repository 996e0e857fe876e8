"""The file of keys: one slot for each key, whole or not there; as cheap for a million subjects as for ten."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from loom.errors import ConfigError, KeysNotWrittenError
from loom.sealing import KeyFile
from loom.sealing.keyfile import _FREE, _SLOT
from tests.sealing.powercut import disk_under

MASTER = bytes(range(32))
GOLDEN = Path(__file__).parents[1] / "golden" / "sealed" / "journal.keys"


async def opened(path: Path, master: bytes = MASTER, *, workspace: str = "w") -> KeyFile:
    file = KeyFile(path, master, workspace=workspace)
    await file.open()
    return file


async def keys_in(path: Path, *subjects: str) -> dict[str, dict[int, bytes]]:
    file = await opened(path)
    try:
        return {each: found for each in subjects if (found := await file.get(each))}
    finally:
        await file.close()


def key(number: int) -> bytes:
    return b"\x07" + number.to_bytes(31)


async def test_keys_are_what_was_put_and_was_not_destroyed_whatever_the_order(tmp_path: Path) -> None:
    path, draw = tmp_path / "a.keys", random.Random(17)
    expected: dict[str, dict[int, bytes]] = {}
    file = await opened(path)
    for number in range(400):
        subject = f"s-{draw.randint(0, 40)}"
        mine = expected.setdefault(subject, {})
        if mine and draw.random() < 0.4:
            until = draw.choice(sorted(mine))
            gone = [each for each in mine if each <= until]
            assert await file.destroy(subject, until=until) == len(gone)
            for each in gone:
                del mine[each]
        else:
            generation = max(mine, default=draw.randint(0, 3)) + 1
            await file.put(subject, generation, key(number))
            mine[generation] = key(number)
        assert await file.get(subject) == mine
    await file.close()
    assert await keys_in(path, *expected) == {name: each for name, each in expected.items() if each}
    raw = path.read_bytes()
    assert not any(each in raw for mine in expected.values() for each in mine.values()), "a key lies there in clear"
    assert b"s-1" not in raw


async def test_pages_that_are_full_lead_to_the_next_level_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loom.sealing.keyfile._FIRST_LEVEL", 1)
    file = await opened(tmp_path / "a.keys")
    for number in range(200):
        await file.put(f"s-{number}", 1, key(number))
    assert file._levels >= 3
    for number in range(0, 200, 2):
        assert await file.destroy(f"s-{number}", until=1) == 1
    await file.close()
    there = await keys_in(tmp_path / "a.keys", *(f"s-{number}" for number in range(200)))
    assert there == {f"s-{number}": {1: key(number)} for number in range(1, 200, 2)}


async def test_a_slot_is_one_write_and_one_sync_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, int]] = []
    file = await opened(tmp_path / "a.keys")
    await file.put("first", 1, key(1))
    real: dict[str, Any] = {"pwrite": os.pwrite, "fsync": os.fsync}

    def write(*given: Any) -> Any:
        calls.append(("write", len(given[1])))
        return real["pwrite"](*given)

    def sync(*given: Any) -> Any:
        calls.append(("sync", 0))
        return real["fsync"](*given)

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "fsync", sync)
    for count in (1, 100):
        for number in range(count):
            await file.put(f"{count}-{number}", 1, key(number))
        calls.clear()
        await file.put(f"{count}-one", 1, key(2))
        await file.destroy(f"{count}-one", until=1)
        assert calls == [("write", _SLOT), ("sync", 0), ("write", _SLOT), ("sync", 0)]
    await file.close()


async def test_a_kill_at_any_byte_of_a_slot_leaves_the_old_key_or_the_new_and_no_other_is_touched(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.keys"
    file = await opened(path)
    await file.put("bob", 1, key(1))
    before = path.read_bytes()
    await file.put("ada", 1, key(2))
    after = path.read_bytes()
    await file.close()
    [place] = [
        at
        for at in range(0, len(after), _SLOT)
        if after[at : at + _SLOT] != before[at : at + _SLOT].ljust(_SLOT, b"\0")
    ]
    for old, new in ((_FREE, after[place : place + _SLOT]), (after[place : place + _SLOT], _FREE)):
        for cut in range(0, _SLOT + 1, 8):
            path.write_bytes(after[:place] + new[:cut] + old[cut:] + after[place + _SLOT :])
            found = await keys_in(path, "ada", "bob")
            assert found.pop("bob") == {1: key(1)}
            assert found in ({}, {"ada": {1: key(2)}}), cut
            again = await opened(path)
            if not found:
                await again.put("ada", 1, key(3))
                assert await again.get("ada") == {1: key(3)}
            assert await again.destroy("ada", until=1) == 1
            await again.close()
            assert path.read_bytes()[place : place + _SLOT] == _FREE, "what was torn is overwritten, too"


async def test_a_key_that_was_destroyed_is_overwritten_where_it_lay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.keys"
    file = await opened(path)
    await file.put("ada", 1, key(1))
    [place] = [at for at in range(4_096, path.stat().st_size, _SLOT) if path.read_bytes()[at] == 1]
    with disk_under(tmp_path, monkeypatch) as disk:
        await file.destroy("ada", until=1)
        [left] = {state["a.keys"][place : place + _SLOT] for state in disk.states()}
        assert left == _FREE, "and not in memory only"
    await file.close()


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
async def test_a_key_that_cannot_be_written_is_not_given_out_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    file = await opened(tmp_path / "a.keys")
    await file.put("bob", 1, key(1))
    real: Any = getattr(os, call)
    fails = [True]

    def full(*given: Any) -> Any:
        if fails and (call == "fsync" or given[1] != _FREE):
            fails.pop()
            raise OSError(28, "No space left on device")
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(KeysNotWrittenError, match="No space"):
            await file.put("ada", 1, key(2))
    assert await file.get("ada") == {}
    await file.put("ada", 1, key(3))
    assert await file.get("ada") == {1: key(3)}
    await file.close()


async def test_a_file_that_cannot_be_made_leaves_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    file = await opened(tmp_path / "a.keys")
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(KeysNotWrittenError):
            await file.put("ada", 1, key(1))
    assert not list(tmp_path.iterdir())
    await file.put("ada", 1, key(2))
    await file.close()
    assert await keys_in(tmp_path / "a.keys", "ada") == {"ada": {1: key(2)}}


async def test_a_power_cut_at_any_moment_leaves_what_was_there_and_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "live" / "a.keys"
    path.parent.mkdir()
    file = await opened(path)
    await file.put("ada", 1, key(1))
    with disk_under(path.parent, monkeypatch) as disk:
        await file.put("bob", 1, key(2))
        after_put = disk.states()
        await file.destroy("bob", until=1)
        after_all = disk.states()
        await file.put("cara", 1, key(3))
    await file.close()
    cut = tmp_path / "cut.keys"
    for state, expected in (
        *((each, None) for each in disk.seen),
        *((each, {1: key(2)}) for each in after_put),
        *((each, {}) for each in after_all),
    ):
        cut.write_bytes(state["a.keys"])
        found = await keys_in(cut, "ada", "bob")
        assert found["ada"] == {1: key(1)}
        assert expected is None or found.get("bob", {}) == expected


async def test_a_file_of_another_master_key_or_workspace_or_a_damaged_one_is_refused_and_left_alone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.keys"
    file = await opened(path)
    await file.put("ada", 1, key(1))
    await file.close()
    raw = path.read_bytes()
    with pytest.raises(ConfigError, match="does not open with this master key"):
        await opened(path, bytes(32))
    with pytest.raises(ConfigError, match=r"is of workspace \[w\]"):
        await opened(path, workspace="other")
    assert path.read_bytes() == raw
    for damaged in (raw[:100], raw[:20] + b"\x00\xff" + raw[22:], b'{"format":"loom.keys/3"}\n'.ljust(4_096, b"\0")):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match="is damaged"):
            await opened(path)
        assert path.read_bytes() == damaged


async def test_a_file_of_the_first_format_is_replaced_and_overwritten_and_its_keys_are_generation_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.keys"
    shutil.copy(GOLDEN, path)
    before = path.read_bytes()
    await KeyFile(path, MASTER, workspace="w").check()
    with pytest.raises(ConfigError, match="does not open"):
        await KeyFile(path, bytes(32), workspace="w").check()
    assert path.read_bytes() == before, "a look changes nothing"
    with path.open("rb") as old, disk_under(tmp_path, monkeypatch) as disk:
        file = await opened(path, MASTER)
        assert old.read() == bytes(len(before)), "what had the name before is overwritten"
    [found] = (await file.get("ada")).items()
    assert found[0] == 0
    assert await file.get("bob") == {}, "he was erased by the loom that wrote it"
    assert file.destroyed_until == 0
    await file.close()
    assert not list(tmp_path.glob("*.part"))
    for state in disk.seen:
        cut = tmp_path / "cut.keys"
        cut.write_bytes(state["a.keys"])
        again = await opened(cut, MASTER)
        assert (await again.get("ada"))[0] == found[1], "old or new, whenever the power is cut"
        await again.close()


async def test_calls_at_once_do_not_lose_each_others_keys(tmp_path: Path) -> None:
    file = await opened(tmp_path / "a.keys")
    await asyncio.gather(*(file.put(f"s-{number}", 1, key(number)) for number in range(50)))
    found = await asyncio.gather(*(file.get(f"s-{number}") for number in range(50)))
    await file.close()
    assert found == [{1: key(number)} for number in range(50)]
