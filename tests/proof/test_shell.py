"""The shell signs, lists and compares checkpoints, asks witnesses, and says in words what does not hold."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loom.journal.merkle import EMPTY_ROOT
from loom.proof import Checkpoint, Note, ProofTree, VerifyingKey
from loom.proof.errors import WitnessRefusedError
from loom.proof.keys import FileSigner, create_key, verifies
from loom.proof.notes import Signature, cosigned_at_s
from loom.proof.witness import Witness, request_of, witness_server
from tests.cli.support import invoke
from tests.proof.support import configured, cut, noted, opened
from tests.proof.test_tree import Made


def log_key(directory: Path, name: str = "loom/1/default") -> tuple[FileSigner, VerifyingKey]:
    if not (directory / "log.pem").exists():
        create_key(directory / "log.pem")
    signer = FileSigner(directory / "log.pem")
    return signer, VerifyingKey(name, signer.public)


def signed(signer: FileSigner, key: VerifyingKey, size: int, root: bytes) -> Note:
    text = str(Checkpoint(key.name, size, root))
    return Note(text, (Signature(key.name, key.key_id, signer.sign(text.encode())),))


def grown(size: int, *, seed: int = 0) -> ProofTree:
    tree = ProofTree(Made(size, seed=seed))
    tree.extend()
    return tree


def test_a_witness_signs_a_log_that_grows_and_none_that_forks_or_shrinks(tmp_path: Path) -> None:
    signer, key = log_key(tmp_path)
    witness = Witness.create(tmp_path / "witness", "example.org/witness")
    witness.add_log(key)
    tree, fork = grown(30), grown(30, seed=1)

    def ask(
        old: int, size: int, *, proof_of: ProofTree = tree, root: bytes | None = None, by: Note | None = None
    ) -> int:
        note = by or signed(signer, key, size, tree.root(size) if root is None else root)
        try:
            line = Witness(tmp_path / "witness").add_checkpoint(request_of(old, proof_of.consistency(old, size), note))
        except WitnessRefusedError as refused:
            return refused.status
        assert witness.key.signature_of(note.with_signatures([line]), verifies) == line
        assert cosigned_at_s(line) > 1_700_000_000
        return 200

    assert ask(0, 12) == 200
    assert ask(12, 12) == 200, "the same again"
    assert ask(12, 20) == 200
    assert ask(0, 25) == 409, "from another size than it has seen"
    assert ask(0, 12) == 409, "the log shrinks"
    assert ask(20, 20, root=fork.root(20)) == 409, "it forks"
    assert ask(20, 30, root=fork.root(30), proof_of=fork) == 422
    assert ask(20, 30, proof_of=grown(40, seed=2)) == 422, "the proof of another log"
    other, another = FileSigner(tmp_path / "witness" / "key.pem"), VerifyingKey("loom/2/default", key.public)
    assert ask(20, 30, by=signed(other, VerifyingKey(key.name, other.public), 30, tree.root(30))) == 403
    assert ask(20, 30, by=signed(signer, another, 30, tree.root(30))) == 404
    assert Witness(tmp_path / "witness").seen() == {key.name: 20}
    assert ask(20, 30) == 200
    for text in ("", "old 1", "old x\n\n", "old 30\n!\n\n" + str(signed(signer, key, 30, tree.root(30))), "old 31\n\n"):
        with pytest.raises(WitnessRefusedError) as refused:
            witness.add_checkpoint(text)
        assert refused.value.status == 400
    assert EMPTY_ROOT not in (tree.root(1), fork.root(1))


@contextmanager
def serving(witness: Witness) -> Iterator[str]:
    with witness_server(witness) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def configure(base: Path) -> Path:
    (base / "elsewhere").mkdir()
    path = base / "loom.config.yaml"
    path.write_text(
        f"data: {base / 'data'}\ncheckpoints:\n  key_file: {base / 'key.pem'}\n  every_entries: 100000\n"
        f"anchors:\n  directories: [{base / 'elsewhere'}]\n",
        encoding="utf-8",
    )
    return path


async def _write(base: Path) -> None:
    async with opened(configured(base, at_close=False)) as loom:
        await noted(loom, 3)


def test_the_shell_makes_a_key_signs_lists_compares_and_asks_a_witness(tmp_path: Path) -> None:
    import asyncio

    config = configure(tmp_path)
    made = invoke("--json", "keys", "signing", "new", tmp_path / "key.pem")
    assert made.code == 0, made.err
    asyncio.run(_write(tmp_path))
    none = invoke("checkpoint", config=config)
    assert (none.code, "No checkpoint yet" in none.out) == (1, True)
    first = invoke("checkpoint", "sign", "--by", "dana", config=config)
    assert first.code == 0, first.err
    note = Note.parse(first.out)
    again = invoke("checkpoint", config=config)
    assert Note.parse(again.out) == note
    listed = invoke("--json", "keys", "signing", config=config).json[0]
    assert listed["fingerprint"] == VerifyingKey.parse(listed["key"]).fingerprint == made.json["fingerprint"]
    assert invoke("--json", "checkpoint", "list", config=config).json[0]["why"] == "asked"

    file = tmp_path / "note"
    file.write_text(first.out, encoding="utf-8")
    assert invoke("checkpoint", "verify", file, config=config).out.startswith("HOLDS")
    file.write_text(first.out.replace("\n— ", "\n— other/"), encoding="utf-8")
    wrong = invoke("checkpoint", "verify", file, config=config)
    assert (wrong.code, wrong.out.startswith("UNKNOWN KEY")) == (1, True)
    file.write_text("no note", encoding="utf-8")
    assert invoke("checkpoint", "verify", file, config=config).code == 2

    assert invoke("witness", "new", tmp_path / "w", "--name", "example.org/w").code == 0
    witness = Witness(tmp_path / "w")
    with serving(witness) as url:
        unknown = invoke("checkpoint", "cosign", url, "--by", "dana", "--witness", str(witness.key), config=config)
        assert (unknown.code, "not known to this witness" in unknown.err) == (1, True)
        key = invoke("--json", "keys", "signing", config=config).json[0]["key"]
        assert invoke("witness", "add", tmp_path / "w", key).code == 0
        done = invoke("checkpoint", "cosign", url, "--by", "dana", "--witness", str(witness.key), config=config)
        assert done.out.strip() == "cosigned by example.org/w", done.err
        asyncio.run(_write(tmp_path))
        assert invoke("checkpoint", "sign", "--by", "dana", config=config).code == 0
        stranger = invoke("checkpoint", "cosign", url, "--by", "dana", config=config)
        assert (stranger.code, "no signature of a known witness" in stranger.err) == (2, True)
        more = invoke("checkpoint", "cosign", url, "--by", "dana", "--witness", str(witness.key), config=config)
        assert more.code == 0, more.err
    newest = Note.parse(invoke("checkpoint", config=config).out)
    assert witness.key.signature_of(newest, verifies) is not None
    assert list(witness.seen().values()) == [Checkpoint.parse(newest.text).size]


def test_verify_names_the_anchor_a_cut_behind_it_and_a_journal_with_another_key(tmp_path: Path) -> None:
    import asyncio

    config = configure(tmp_path)
    create_key(tmp_path / "key.pem")
    asyncio.run(_write(tmp_path))
    assert invoke("checkpoint", "sign", "--by", "dana", config=config).code == 0
    size = invoke("--json", "checkpoint", config=config).json["size"]
    whole = invoke("--json", "verify", config=config)
    assert whole.code == 0, whole.out
    assert [each["size"] for each in whole.json["anchors"]] == [size]
    assert whole.json["checkpoint"] == size
    assert "anchor" in invoke("verify", config=config).out

    cut(tmp_path / "data" / "default" / "journal.db", size - 2)
    found = invoke("--json", "verify", config=config)
    assert found.code == 1
    assert "CUT" in {each["code"] for each in found.json["findings"]}
    refused = invoke("run", "--once", config=config)
    assert (refused.code, "--accept-loss" in refused.err) == (2, True)
    accepted = invoke("run", "--once", "--accept-loss", "dana", config=config)
    assert accepted.code == 0, accepted.err
    after = invoke("--json", "verify", config=config)
    assert not {"CUT", "FORKED"} & {each["code"] for each in after.json["findings"]}, after.out

    create_key(tmp_path / "second.pem")
    config.write_text(config.read_text(encoding="utf-8").replace("key.pem", "second.pem"), encoding="utf-8")
    strange = invoke("--json", "verify", config=config)
    assert "UNKNOWN_SIGNER" in {each["code"] for each in strange.json["findings"]}
    lost = tmp_path / "elsewhere"
    (lost / "default.checkpoints").write_text("torn\n{}\n", encoding="utf-8")
    assert invoke("--json", "verify", config=config).json["anchors"][0]["problem"]
