"""Erasing and holding subjects: what is erased stays erased, what is held is kept, whenever the process is killed."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from loom.errors import (
    AdmissionError,
    ErasedError,
    InvalidNameError,
    KeysNotWrittenError,
    SubjectHeldError,
    SubjectNotFoundError,
)
from loom.journal.sqlite.verify import verify
from loom.sealing import KeyFile, SubjectErasedEntry, Vault
from loom.sealing.erasures import ERASURES_JOURNAL, Erasures
from tests.sealing.support import keys_file, opening, vault, vault_of

WHY: dict[str, str] = {"by": "vera", "reason": "she asked for it"}


class Killed(BaseException):
    """As much of a kill as one process can go through."""


async def kinds(path: Path) -> list[str]:
    async with opening(path) as subjects:
        store: Any = subjects.erasures._journal._store
        return [each.kind async for each in store.read(ERASURES_JOURNAL)]


async def wrapped(path: Path, subject: str) -> list[int]:
    """Return the generations of a subject's keys that lie in the file, whatever the journal says."""
    file = KeyFile(path, bytes(range(32)), workspace="default")
    await file.open()
    try:
        return sorted(await file.get(subject))
    finally:
        await file.close()


async def test_what_is_erased_opens_for_nobody_and_nothing_new_is_sealed(tmp_path: Path) -> None:
    async with opening(tmp_path) as subjects:
        opened = subjects.vault
        assert opened is not None
        sealed = await opened.seal("ada", "x", about="email")
        other = await opened.seal("bob", "y", about="email")
        at_hand = await opened.keys("ada")
        assert await subjects.erase("ada", **WHY)
        assert not await subjects.erase("ada", by="vera", reason="once more")
        said = r"subject \[ada\] was erased by \[vera \(claimed, via python\)\]: she asked for it"
        with pytest.raises(ErasedError, match=said):
            await opened.open(sealed, subject="ada")
        with pytest.raises(ErasedError, match=said):
            await opened.seal("ada", "z", about="email")
        with pytest.raises(ErasedError, match=said):
            at_hand.seal("z", about="email")
        assert await opened.open(other, subject="bob") == "y"
        assert subjects.erasures.shown({"a": sealed, "b": [other]}) == {"a": "erased", "b": ["sealed"]}
        with pytest.raises(InvalidNameError):
            await subjects.erase("bob", by="", reason="nobody says so")
        with pytest.raises(AdmissionError, match="no reason"):
            await subjects.erase("bob", by="vera", reason=" ")
    assert await kinds(tmp_path) == ["subject_erasure_begun", "subject_erased"]
    assert await wrapped(keys_file(tmp_path), "ada") == []


async def test_somebody_unknown_is_not_erased_but_for_whom_a_part_of_loom_knows(tmp_path: Path) -> None:
    async def knows(subject: str) -> bool:
        return subject == "cara"

    async with opening(tmp_path) as subjects:
        subjects.add(knows=knows)
        with pytest.raises(SubjectNotFoundError, match="nothing was erased"):
            await subjects.erase("adda", **WHY)
        assert await subjects.erase("cara", **WHY)
        with pytest.raises(ErasedError):
            await vault_of(subjects).seal("cara", "x", about="email")
    assert await kinds(tmp_path) == ["subject_erasure_begun", "subject_erased"]


async def test_a_key_that_comes_back_with_an_old_copy_of_the_file_is_destroyed_again_and_no_later_one(
    tmp_path: Path,
) -> None:
    async with opening(tmp_path, late="new_generation") as subjects:
        opened = vault_of(subjects)
        sealed = await opened.seal("ada", "x", about="email")
        await opened.seal("bob", "x", about="email")
        first = keys_file(tmp_path).read_bytes()
        await subjects.erase("ada", **WHY)
        later = await opened.seal("ada", "y", about="email")
        second = keys_file(tmp_path).read_bytes()
    for copy, left in ((first, []), (second, [2])):
        keys_file(tmp_path).write_bytes(copy)
        async with vault(tmp_path) as opened:
            with pytest.raises(ErasedError):
                await opened.open(sealed, subject="ada")
        assert await wrapped(keys_file(tmp_path), "ada") == left
        assert await wrapped(keys_file(tmp_path), "bob") == [1]
    async with vault(tmp_path) as opened:
        assert await opened.open(later, subject="ada") == "y"


async def test_what_keeps_something_lets_go_before_it_is_said_that_a_subject_is_erased(tmp_path: Path) -> None:
    seen: list[Any] = []

    async with opening(tmp_path) as subjects:

        async def forget(subject: str) -> None:
            store: Any = subjects.erasures._journal._store
            seen.append((subject, [each.kind async for each in store.read(ERASURES_JOURNAL)]))
            if len(seen) == 1:
                raise OSError(5, "a view cannot be written")

        subjects.add(forget=forget)
        opened = vault_of(subjects)
        sealed = await opened.seal("ada", "x", about="email")
        with pytest.raises(OSError, match="a view"):
            await subjects.erase("ada", **WHY)
        with pytest.raises(ErasedError):
            await opened.open(sealed, subject="ada")
        await opened.seal("bob", "x", about="email")
        assert await subjects.erase("bob", **WHY), "what was left of the other is carried out with it"
        assert not await subjects.erase("ada", **WHY)
    assert [each[0] for each in seen] == ["ada", "ada", "bob"]
    assert all(said[-1] == "subject_erasure_begun" or name == "bob" for name, said in seen)
    assert (await kinds(tmp_path)).count("subject_erased") == 2


@pytest.mark.parametrize("dies_at", ["begin", "destroy", "forget", "finish"])
async def test_an_erasure_that_was_begun_and_cut_short_is_carried_out_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    async def killed(*_: Any, **__: Any) -> None:
        raise Killed

    async def forget(_: str) -> None:
        if dies_at == "forget":
            raise Killed

    async with opening(tmp_path) as subjects:
        subjects.add(forget=forget)
        await vault_of(subjects).seal("ada", "x", about="email")
        with monkeypatch.context() as patched:
            if dies_at in ("begin", "finish"):
                patched.setattr(Erasures, dies_at, killed)
            elif dies_at == "destroy":
                patched.setattr(Vault, dies_at, killed)
            with pytest.raises(Killed):
                await subjects.erase("ada", **WHY)
    begun = dies_at != "begin"
    async with opening(tmp_path) as subjects:
        said = subjects.erasures.get("ada")
        assert isinstance(said, SubjectErasedEntry) is begun
        if said is not None:
            assert (said.subject, said.by, said.reason, said.generation) == ("ada", "vera", WHY["reason"], 1)
    assert await wrapped(keys_file(tmp_path), "ada") == ([] if begun else [1])


@pytest.mark.parametrize("call", ["os.pwrite", "os.fsync"])
async def test_an_erasure_whose_key_file_cannot_be_written_is_carried_out_when_it_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    calls: dict[str, Any] = {"os.pwrite": os.pwrite, "os.fsync": os.fsync}
    real = calls[call]
    keys: list[int] = []

    def full(descriptor: int, *given: Any) -> Any:
        if descriptor in keys:  # and not those of the journal
            raise OSError(28, "No space left on device")
        return real(descriptor, *given)

    async with opening(tmp_path) as subjects:
        opened: Any = subjects.vault
        sealed = await opened.seal("ada", "x", about="email")
        keys.append(opened._store._descriptor)
        with monkeypatch.context() as patched:
            patched.setattr(call, full)
            for _ in range(2):
                with pytest.raises(KeysNotWrittenError, match="do it again"):
                    await subjects.erase("ada", **WHY)
        with pytest.raises(ErasedError):
            await opened.open(sealed, subject="ada")
        assert await subjects.erase("ada", **WHY), "this is what destroyed the key"
        assert not await subjects.erase("ada", **WHY), "this was not"
    assert await wrapped(keys_file(tmp_path), "ada") == []


# --- holds -----------------------------------------------------------------------------------------


async def test_a_held_subject_is_not_erased_until_the_hold_is_lifted_and_one_that_was_erased_is_not_held(
    tmp_path: Path,
) -> None:
    async with opening(tmp_path) as subjects:
        opened = vault_of(subjects)
        sealed = await opened.seal("ada", "x", about="email")
        assert await subjects.hold("ada", by="lea", reason="a claim is open")
        assert not await subjects.hold("ada", by="lea", reason="again")
        with pytest.raises(SubjectHeldError, match=r"held by \[lea .*\]: a claim is open"):
            await subjects.erase("ada", **WHY)
        assert await opened.open(sealed, subject="ada") == "x"
    async with opening(tmp_path) as subjects:
        opened = vault_of(subjects)
        with pytest.raises(SubjectHeldError):
            await subjects.erase("ada", **WHY)
        assert await subjects.lift("ada", by="lea", reason="it is settled")
        assert not await subjects.lift("ada", by="lea", reason="again")
        assert await subjects.erase("ada", **WHY)
        with pytest.raises(ErasedError, match="was erased by"):
            await subjects.hold("ada", by="lea", reason="too late")
        for by, reason, error in (("", "x", InvalidNameError), ("lea", " ", AdmissionError)):
            with pytest.raises(error):
                await subjects.hold("bob", by=by, reason=reason)
    assert await kinds(tmp_path) == [
        "subject_hold_placed",
        "subject_hold_lifted",
        "subject_erasure_begun",
        "subject_erased",
    ]
    assert verify(tmp_path / "default" / "journal.db", workspace="default").ok


async def test_a_hold_and_an_erasure_at_once_are_decided_by_which_is_journaled_first(tmp_path: Path) -> None:
    async with opening(tmp_path) as subjects:
        opened = vault_of(subjects)
        for number in range(6):
            name = f"s-{number}"
            await opened.seal(name, "x", about="email")
            calls = [subjects.hold(name, by="lea", reason="a claim"), subjects.erase(name, **WHY)]
            ordered = calls if number % 2 else calls[::-1]
            done = await asyncio.gather(*ordered, return_exceptions=True)
            refused = [type(each) for each in done if isinstance(each, Exception)]
            is_held = name in subjects.erasures.held()
            assert refused == [SubjectHeldError if is_held else ErasedError]
            assert is_held is await opened.knows(name)


async def test_an_erasure_that_has_begun_goes_on_when_its_caller_goes_away(tmp_path: Path) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def forget(_: str) -> None:
        begun.set()
        await goes_on.wait()

    async with opening(tmp_path) as subjects:
        subjects.add(forget=forget)
        await vault_of(subjects).seal("ada", "x", about="email")
        asked = asyncio.create_task(subjects.erase("ada", **WHY))
        await begun.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        goes_on.set()
        assert not await subjects.erase("ada", **WHY)
        assert isinstance(subjects.erasures.get("ada"), SubjectErasedEntry)


async def test_keys_are_not_written_on_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[threading.Thread] = set()
    real = os.pwrite

    def noted(*given: Any) -> int:
        threads.add(threading.current_thread())
        return real(*given)

    async with opening(tmp_path) as subjects:
        monkeypatch.setattr(os, "pwrite", noted)
        await vault_of(subjects).seal("ada", "x", about="email")
        await subjects.erase("ada", **WHY)
    assert threads
    assert threading.main_thread() not in threads
