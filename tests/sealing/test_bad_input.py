"""What is wrong about a person's data: each has one message, its exit code and status, and leaves nothing half-made."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest

from loom import Actor, Command, Loom, LoomConfig
from loom.cli.command import exit_code_of
from loom.errors import LoomError
from loom.journal.sqlite.verify import verify
from loom.sealing import MASTER_KEY, Hashed, Sealed, SealingConfig
from loom.web.api import refused_with
from tests.sealing.support import keys_file

EMAIL = "ada@example.org"
WHY: dict[str, Any] = {"by": "vera", "reason": "she asked for it"}


class Write(Command[int]):
    subject_field = "customer"

    customer: str | None = "c-7"
    email: Annotated[str, Sealed()] = EMAIL
    guarantor: str = ""
    phone: Annotated[str | None, Hashed(subject="guarantor")] = None
    asks: bool = False


class Nameless(Command[int]):
    email: Annotated[str, Sealed()] = EMAIL


class Desk(Actor[None]):
    actor_type = "desk"

    async def execute(self, command: Write | Nameless) -> int:
        if isinstance(command, Write) and command.asks:
            await self.request_approval(approver="boss", reason="because")
        return len(command.email)


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())


@asynccontextmanager
async def opened(path: Path, **more: Any) -> AsyncIterator[Loom]:
    config = LoomConfig(data=path, sections={"sealing": SealingConfig(enabled=True, **more)})
    async with Loom.open(config, by="mira", actors=[Desk]) as loom:
        yield loom


def sent(command: Write | Nameless, id: str = "new") -> Callable[[Loom], Awaitable[Any]]:
    return lambda loom: loom.actor(Desk, "one").ask(command, id=id)


def said(error: LoomError) -> tuple[str, int, int]:
    """Return the type of an error, the exit code of the shell and the status over HTTP."""
    return type(error).__name__, exit_code_of(error), refused_with(error).status


async def refused(loom: Loom, act: Callable[[Loom], Awaitable[Any]], words: str) -> tuple[str, int, int]:
    """Return what is said to something that is refused, with these words, and has left nothing anywhere."""
    before, keys = loom.store.acknowledged, keys_file(loom.files.journal.parent.parent).read_bytes()
    with pytest.raises(LoomError) as caught:
        await act(loom)
    assert words in str(caught.value)
    assert EMAIL not in str(caught.value)
    assert (loom.store.acknowledged, keys_file(loom.files.journal.parent.parent).read_bytes()) == (before, keys)
    return said(caught.value)


INVALID = ("AdmissionError", 2, 422)
NO_NAME = ("InvalidNameError", 2, 422)
BAD: list[tuple[Callable[[Loom], Awaitable[Any]], str, tuple[str, int, int]]] = [
    (sent(Nameless()), "none is named; expected one: name the subject", INVALID),
    (sent(Write(customer=None)), "names no subject in [customer]", INVALID),
    (sent(Write(phone="+44 20 7946")), "has 0 characters", NO_NAME),
    (sent(Write(customer="")), "has 0 characters", NO_NAME),
    (sent(Write(customer="x" * 10_240)), "has 10240 characters", NO_NAME),
    (sent(Write(customer="e\u0301va")), "is not in the normal form NFC", NO_NAME),
    (sent(Write(customer="c\u200b7")), "invisible characters", NO_NAME),
    (sent(Write(customer="c-7\n")), "invisible characters", NO_NAME),
    (sent(Write(customer=" c-7")), "white space", NO_NAME),
    (sent(Write(customer=EMAIL)), "expected names that are not personal", INVALID),
    (sent(Write(), id=EMAIL), "expected names that are not personal", INVALID),
    (lambda loom: loom.subjects.erase("nobody", **WHY), "nothing was erased", ("SubjectNotFoundError", 1, 404)),
    (lambda loom: loom.subjects.erase("x" * 10_240, **WHY), "has 10240 characters", NO_NAME),
    (lambda loom: loom.subjects.erase("c-7", by="vera", reason=" "), "expected one: say why", INVALID),
    (lambda loom: loom.subjects.hold("c-7", by=" ", reason="x"), "is empty", NO_NAME),
    (lambda loom: loom.subjects.erase("held", **WHY), "have the hold lifted first", ("SubjectHeldError", 1, 403)),
    (lambda loom: loom.subjects.hold("gone", **WHY), "was erased by", ("ErasedError", 1, 410)),
    (sent(Write(customer="gone")), "was erased by", ("ErasedError", 1, 410)),
]


async def test_what_is_wrong_is_refused_in_one_message_and_leaves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        for number, customer in enumerate(("c-7", "held", "gone")):
            await loom.actor(Desk, "one").ask(Write(customer=customer), id=f"c{number}")
        await loom.subjects.hold("held", **WHY)
        await loom.subjects.erase("gone", **WHY)
        heard = [(words, await refused(loom, act, words)) for act, words, _ in BAD]
        assert heard == [(words, expected) for _, words, expected in BAD]
        assert await loom.actor(Desk, "one").ask(Write(), id="c0") == len(EMAIL), "and goes on"
    assert verify(tmp_path / "default" / "journal.db", workspace="default").ok


async def test_an_erasure_that_is_asked_for_twice_or_at_once_is_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        waits = asyncio.ensure_future(loom.actor(Desk, "one").ask(Write(asks=True)))
        while not waits.done() and not await loom.approvals.pending():
            await asyncio.sleep(0)
        done = await asyncio.gather(*(loom.subjects.erase("c-7", **WHY) for _ in range(3)))
        assert sorted(done) == [False, False, True]
        assert await loom.subjects.erase("c-7", **WHY) is False
        with pytest.raises(LoomError, match="erased"):
            await waits
        assert not await loom.approvals.pending()
        kinds = [each.kind async for each in loom.store.read("loom/erasures")]
        assert kinds == ["subject_erasure_begun", "subject_erased"]


async def test_a_hold_that_comes_amid_an_erasure_is_refused_and_does_not_stop_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.actor(Desk, "one").ask(Write(), id="c0")
        amid = asyncio.Event()
        go_on = asyncio.Event()

        async def lets_go(_: str) -> None:
            amid.set()
            await go_on.wait()

        loom.subjects.add(forget=lets_go)
        erasing = asyncio.ensure_future(loom.subjects.erase("c-7", **WHY))
        await amid.wait()
        holding = asyncio.ensure_future(loom.subjects.hold("c-7", **WHY))
        with pytest.raises(LoomError, match="was erased by"):
            await loom.actor(Desk, "one").ask(Write(), id="c0")
        go_on.set()
        assert await erasing is True
        with pytest.raises(LoomError) as caught:
            await holding
        assert said(caught.value) == ("ErasedError", 1, 410)
        assert not loom.subjects.erasures.held()


async def test_a_vault_that_is_lost_locked_or_of_another_is_said_to_be_and_no_other_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as loom:
        await loom.actor(Desk, "one").ask(Write(), id="c0")
    kept = keys_file(tmp_path).read_bytes()
    keys_file(tmp_path).unlink()
    async with opened(tmp_path) as loom:
        for command, command_id in ((Write(), "c0"), (Write(customer="c-8"), "c1")):
            with pytest.raises(LoomError, match="restore it from a backup") as caught:
                await loom.actor(Desk, "one").ask(command, id=command_id)
            assert said(caught.value) == ("ConfigError", 2, 500)
    assert not keys_file(tmp_path).exists(), "a new one would stand in for it"

    keys_file(tmp_path).write_bytes(kept)
    keys_file(tmp_path).chmod(0o600)
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(32)).decode())
    await _does_not_open(tmp_path, "does not open with this master key")
    monkeypatch.delenv(MASTER_KEY)
    await _does_not_open(tmp_path, "there is no master key")
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())
    other = tmp_path / "other"
    async with opened(other) as loom:
        await loom.actor(Desk, "one").ask(Write(), id="c0")
    assert keys_file(tmp_path).read_bytes() == kept
    async with opened(tmp_path) as loom:
        assert await loom.actor(Desk, "one").ask(Write(), id="c0") == len(EMAIL), "it is there again"
        await loom.subjects.erase("c-7", **WHY)
    keys_file(tmp_path).write_bytes(kept)
    async with opened(tmp_path) as loom:
        with pytest.raises(LoomError, match="was erased by"):
            await loom.actor(Desk, "one").ask(Write(), id="c0")
        assert await loom.subjects.opened_vault()._store.get("c-7") == {}, "it came back, and is destroyed again"


async def test_where_the_keys_are_lost_for_good_others_are_begun_and_the_old_values_do_not_open(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.actor(Desk, "one").ask(Write(), id="c0")
    os.unlink(keys_file(tmp_path))
    async with opened(tmp_path, keys_lost=True) as loom:
        assert await loom.actor(Desk, "one").ask(Write(customer="c-8"), id="c1") == len(EMAIL)
        with pytest.raises(LoomError):
            await loom.actor(Desk, "one").ask(Write(email="b@example.org"), id="c0")
    async with opened(tmp_path) as loom:
        assert await loom.actor(Desk, "one").ask(Write(customer="c-8"), id="c1") == len(EMAIL)


async def _does_not_open(path: Path, words: str) -> None:
    with pytest.raises(LoomError, match=words) as caught:
        async with opened(path):
            pass
    assert said(caught.value) == ("ConfigError", 2, 500)
