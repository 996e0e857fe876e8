"""Checkpoints are signed from the journal alone, in time, and never two that contradict each other."""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from loom import Actor, Command
from loom.errors import ConfigError
from loom.journal.merkle import Frontier, leaf_of
from loom.journal.sqlite.verify import verify as verify_file
from loom.proof import Checkpoint, CheckpointLog, Checkpoints, CutError, ForkError, Note, NoteError, VerifyingKey
from loom.proof.config import CheckpointsConfig
from loom.proof.errors import SigningKeyError
from loom.proof.keys import CommandSigner, FileSigner, create_key, verifies
from loom.proof.notes import Signature
from tests.proof.support import configured, cut, noted, opened


async def test_a_checkpoint_has_the_root_of_all_entries_and_the_signature_of_the_log(tmp_path: Path) -> None:
    async with opened(configured(tmp_path)) as loom:
        part = await noted(loom, 4)
        found = await part.sign()
        assert found is not None
        tree = Frontier()
        async for each in loom.store.read_all(until=found.size):
            tree.add(leaf_of("default", each.position, each.journal, each.sequence, each.entry_hash))
        assert found.checkpoint == Checkpoint(part.log.origin or "", found.size, tree.root)
        assert (found.checkpoint.origin.startswith("loom/"), found.checkpoint.origin.endswith("/default")) == (
            True,
            True,
        )
        key = part.log.key(FileSigner(tmp_path / "key.pem").public)
        assert key.signature_of(found.note, verifies) is not None
        assert Note.parse(str(found.note)) == found.note
        stored = [each.kind async for each in loom.store.read_all(after=found.size)]
        assert stored == ["proof.checkpoint"], "it is an entry that the next ones bind"
        assert await part.sign() == found, "entries of checkpoints alone are no reason for another"
    assert (tmp_path / "elsewhere" / "default.checkpoints").read_text(encoding="utf-8").count("\n") == 1


async def test_one_is_signed_every_so_many_entries_every_so_often_and_at_the_end(tmp_path: Path) -> None:
    async def until(why: str) -> None:
        async with asyncio.timeout(20):
            while not any(each.why == why for each in part.log.checkpoints):
                await asyncio.sleep(0.01)

    async with opened(configured(tmp_path, every_entries=8)) as loom:
        part = await noted(loom, 3)
        await until("entries")
    async with opened(configured(tmp_path)) as loom:
        part = await noted(loom, 1)
        size = loom.store.acknowledged
    log = part.log
    assert log.checkpoints[-1].why == "close"
    assert log.checkpoints[-1].size >= size
    count = len(log.checkpoints)
    async with opened(configured(tmp_path, every_s=0.05, at_close=False)) as loom:
        part = await noted(loom, 1)
        await until("time")
    assert len(part.log.checkpoints) > count
    assert part.log.checkpoints[-1].why == "time"


class Linger(Command[str]):
    """Asks for a turn that goes on while the loom closes."""


class Lingering(Actor):
    began: ClassVar[asyncio.Event]
    goes_on: ClassVar[asyncio.Event]

    async def execute(self, command: Linger) -> str:
        self.began.set()
        await self.goes_on.wait()
        await self.record_decision(rationale="late", outcome={"done": True})
        return "done"


async def test_the_last_checkpoint_covers_what_actors_write_while_the_loom_closes(tmp_path: Path) -> None:
    Lingering.began, Lingering.goes_on = asyncio.Event(), asyncio.Event()
    loom = await opened(configured(tmp_path))
    await loom.register(Lingering)
    part = loom.part(Checkpoints)
    asked = asyncio.create_task(loom.actor(Lingering, "a").ask(Linger(), by="carla"))
    await Lingering.began.wait()
    before = loom.store.acknowledged
    closing = asyncio.create_task(loom.close())
    while "loom-checkpoints" in loom.background.running:
        await asyncio.sleep(0)
    Lingering.goes_on.set()
    await closing
    assert await asked == "done"
    last = part.log.checkpoints[-1]
    assert last.why == "close"
    assert last.size > before
    result = verify_file(loom.files.journal)
    assert result.size - last.size <= 1 + part.log.own_after(last.size), "what came later is about checkpoints"


async def test_a_forged_view_is_never_signed_and_a_rewritten_journal_neither(tmp_path: Path) -> None:
    config = configured(tmp_path, at_close=False)
    async with opened(config) as loom:
        part = await noted(loom, 3)
        first = await part.sign()
        assert first is not None
        await noted(loom, 2)
        await part.close()
        view = loom.files.tree
        raw = bytearray(view.read_bytes())
        raw[64:] = bytes(each ^ 0x55 for each in raw[64:])
        view.write_bytes(raw)
        second = await part.sign()
        assert second is not None
        tree = Frontier()
        async for each in loom.store.read_all(until=second.size):
            tree.add(leaf_of("default", each.position, each.journal, each.sequence, each.entry_hash))
        assert second.checkpoint.root == tree.root
        await noted(loom, 1)
        # The journal says of itself that another root was signed: its key did not, so nothing follows from there.
        forged = str(Checkpoint(first.checkpoint.origin, second.size, b"\7" * 32))
        lines = tuple(Signature(each.name, each.key_id, each.raw) for each in second.note.signatures)
        part.log._checkpoints[-1] = second._replace(note=Note(forged, lines), checkpoint=Checkpoint.parse(forged))
        with pytest.raises(ForkError, match="not to be believed"):
            await part.sign()
        part.log._checkpoints[-1] = second
        journal = loom.store
        assert (await part.sign() or second).size > second.size
        assert journal.acknowledged


async def test_a_key_is_one_of_the_log_from_its_first_to_its_last_checkpoint(tmp_path: Path) -> None:
    async with opened(configured(tmp_path)) as loom:
        await noted(loom, 1)
    create_key(tmp_path / "other.pem")
    async with opened(configured(tmp_path, key="other.pem", at_close=False)) as loom:
        part = await noted(loom, 1)
        with pytest.raises(SigningKeyError, match="is not one of this log"):
            await part.sign()
    async with opened(configured(tmp_path, at_close=False)) as loom:
        part = await noted(loom, 1)
        new = FileSigner(tmp_path / "other.pem")
        key = await part.rotate(new, by="dana", reason="a year has passed")
        both = part.log.newest
        assert both is not None
        assert len(both.note.signatures) == 2
        await noted(loom, 1)
        alone = await part.sign()
        assert alone is not None
        assert [each.key_id for each in alone.note.signatures] == [key.key_id]
        with pytest.raises(SigningKeyError, match="is one of this log already"):
            await part.rotate(new, by="dana", reason="once more")
        old = FileSigner(tmp_path / "key.pem")
        text = alone.note.text
        name = part.log.key(old.public)
        stale = Note(text, (Signature(name.name, name.key_id, old.sign(text.encode())),))
        judged = part.log.judge(stale, lambda size: alone.checkpoint.root, loom.store.acknowledged)
        assert judged.answer == "KEY_RETIRED"
        assert part.log.judge(both.note, lambda size: both.checkpoint.root, loom.store.acknowledged).holds
    async with opened(configured(tmp_path, at_close=False)) as loom:
        part = await noted(loom, 1)
        with pytest.raises(SigningKeyError, match="was retired"):
            await part.sign()


async def test_a_checkpoint_from_elsewhere_gets_a_verdict_in_words(tmp_path: Path) -> None:
    async with opened(configured(tmp_path)) as loom, opened(configured(tmp_path, name="other", key="2.pem")) as other:
        part, its = await noted(loom, 2), await noted(other, 3)
        mine, foreign = await part.sign(), await its.sign()
        assert mine is not None
        assert foreign is not None
        tail, root = loom.store.acknowledged, mine.checkpoint.root
        signer, key = FileSigner(tmp_path / "key.pem"), part.log.key(FileSigner(tmp_path / "key.pem").public)

        def signed(text: str, name: str = key.name) -> Note:
            named = VerifyingKey(name, signer.public)
            return Note(text, (Signature(name, named.key_id, signer.sign(text.encode())),))

        def answer(note: Note) -> str:
            judged = part.log.judge(note, lambda size: root if size == mine.size else b"", tail)
            assert judged.words
            return judged.answer

        assert answer(mine.note) == "HOLDS"
        assert answer(foreign.note) == "UNKNOWN_KEY"
        assert answer(signed(foreign.note.text, foreign.checkpoint.origin)) == "OTHER_LOG"
        assert answer(signed(str(mine.checkpoint._replace(size=tail + 1)))) == "CUT"
        assert answer(signed(str(mine.checkpoint._replace(root=b"\1" * 32)))) == "FORKED"
        assert answer(Note(str(mine.checkpoint._replace(size=1)), mine.note.signatures)) == "UNKNOWN_KEY"
        with pytest.raises(NoteError):
            answer(signed("no checkpoint\n"))


@pytest.mark.parametrize("swapped", ["cut", "emptied", "made again"])
async def test_a_journal_that_is_behind_an_anchor_is_opened_only_in_the_name_of_a_person(
    tmp_path: Path, swapped: str
) -> None:
    config = configured(tmp_path)
    async with opened(config) as loom:
        part = await noted(loom, 4)
        before, files = part.log.origin, loom.files
    if swapped == "cut":
        cut(files.journal, 6)
    else:
        for each in files.directory.iterdir():
            each.unlink()
        if swapped == "made again":
            async with opened(
                configured(tmp_path / "..", name=tmp_path.name + "/data", key="x.pem").model_copy(
                    update={"sections": {}}
                )
            ) as loom:
                assert loom.files.journal == files.journal
    with pytest.raises(CutError, match="accept-loss"):
        async with opened(config):
            pass
    async with opened(config, accept_loss="dana") as loom:
        await noted(loom, 2)
        accepted = [each async for each in loom.store.read("loom/checkpoints") if each.kind == "proof.loss_accepted"]
        assert [getattr(each.entry, "by", None) for each in accepted] == ["dana"]
    async with opened(config) as loom:
        log = CheckpointLog(loom.store, "default")
        await log.load()
        assert log.origin != before, "under one name, it would have signed two that contradict each other"
        assert log.newest is not None


def test_a_key_is_refused_where_others_may_read_it_where_the_data_is_and_where_it_is_none(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    public = create_key(path)
    assert (path.stat().st_mode & 0o777, len(public)) == (0o600, 32)
    with pytest.raises(ConfigError, match="never overwritten"):
        create_key(path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="0600"):
        FileSigner(path)
    (tmp_path / "none.pem").write_text("none")
    (tmp_path / "none.pem").chmod(0o600)
    for each in (tmp_path / "none.pem", tmp_path / "missing.pem"):
        with pytest.raises(ConfigError):
            FileSigner(each)


async def test_a_key_in_the_directory_of_the_workspace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data" / "default").mkdir(parents=True, mode=0o700)
    with pytest.raises(ConfigError, match="a copy of the key"):
        async with opened(configured(tmp_path, key="data/default/key.pem")):
            pass


def test_a_command_signs_and_one_that_does_not_is_named(tmp_path: Path) -> None:
    public = create_key(tmp_path / "key.pem")
    script = (
        "import sys; sys.path.insert(0, {!r}); from pathlib import Path; from loom.proof.keys import FileSigner; "
        "import base64; print(base64.b64encode(FileSigner(Path({!r})).sign(sys.stdin.buffer.read())).decode())"
    ).format(str(Path(__file__).parents[2]), str(tmp_path / "key.pem"))
    signer = CommandSigner([sys.executable, "-c", script], public)
    assert verifies(public, signer.sign(b"a message"), b"a message")
    for command in (
        ["/no/such/command"],
        [sys.executable, "-c", "raise SystemExit(3)"],
        [sys.executable, "-c", "print('A' * 88)"],
    ):
        with pytest.raises(SigningKeyError, match=r"command \["):
            CommandSigner(command, public).sign(b"a message")
    given = CheckpointsConfig(command=("sign",), public_key=base64.b64encode(public).decode())
    assert given.signs
    with pytest.raises(ValueError, match="public_key"):
        CheckpointsConfig(command=("sign",))


GOOD = "example.com/log\n5\n" + base64.b64encode(bytes(32)).decode() + "\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        GOOD,
        GOOD + "\n",
        GOOD + "\n— name\n",
        GOOD + "\n— name AAAA\n",
        GOOD + "\n- name AAAAAAAA\n",
        GOOD + "\n— name AAAAAAA\n",
        GOOD + "\n— name AAAAAAAB=\n",
        GOOD + "\n— na+me AAAAAAAA\n",
        GOOD + "\n— name AAAAAAAA",
        GOOD.replace("5", "5\x00") + "\n— name AAAAAAAA\n",
        "x" * 70_000,
    ],
)
def test_a_text_that_is_no_note_is_refused_in_words(text: str) -> None:
    with pytest.raises(NoteError):
        Note.parse(text)


@pytest.mark.parametrize(
    "text", ["", "a\n", "a\n05\nAA==\n", "a\n-1\nAA==\n", "a\n1\nAA==\n", "a\n1\n!\n", "\n1\nAA==\n", GOOD[:-1]]
)
def test_a_text_that_is_no_checkpoint_is_refused_in_words(text: str) -> None:
    with pytest.raises(NoteError):
        Checkpoint.parse(text)
    assert Checkpoint.parse(GOOD).size == 5


def test_keys_are_written_as_in_the_published_vector() -> None:
    key = VerifyingKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    line = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    signed = f"{text}\n— PeterNeumann {line}\n"
    note = Note.parse(signed)
    assert note.text == text
    assert key.signature_of(note, verifies) is not None
    assert key.signature_of(Note(text + "more\n", note.signatures), verifies) is None
    assert str(key) == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    with pytest.raises(NoteError):
        VerifyingKey.parse(str(key).replace("c74f20a3", "c74f20a4"))


def test_more_signatures_than_are_read_and_a_key_of_another_type_are_refused() -> None:
    with pytest.raises(NoteError, match=r"has \[65\] signatures"):
        Note.parse(GOOD + "\n" + "— name AAAAAAAA\n" * 65)
    with pytest.raises(NoteError, match="of a type that is not known"):
        VerifyingKey.parse(f"name+00000000+{base64.b64encode(bytes(33)).decode()}")
