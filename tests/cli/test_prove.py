"""`loom prove`: a decision as a file, from the shell."""

from __future__ import annotations

import asyncio
import hashlib
import json
import stat
from contextlib import closing
from pathlib import Path

import pytest

from loom import Loom
from loom.cli.demo.agent import DiscountAgent, RequestDiscount
from loom.errors import ConfigError
from loom.journal.sqlite import JournalFiles
from loom.proof import verify
from loom.proof.case import verifier
from loom.proof.keys import create_key
from loom.proof.tree import tree_of
from tests.cli.support import invoke
from tests.proof.cases import INSTANCE, REDACTABLE, Signer, made, told


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("told")
    told(directory)
    return directory / "loom.config.yaml"


def last_decision(config: Path) -> str:
    found: str = invoke("decisions", "--json", config=config).json[0]["decision_id"]
    return found


def test_a_decision_becomes_a_file_of_at_most_60_kb_that_the_verifier_takes(config: Path, tmp_path: Path) -> None:
    decision, out = last_decision(config), tmp_path / "case.zip"
    said = invoke("prove", decision[:12], "-o", out, config=config)
    assert said.code == 0, said.err
    assert hashlib.sha256(verifier()).hexdigest() in said.out
    assert "no one has signed its checkpoint" in said.out
    assert out.stat().st_size <= 60_000
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    code, words, lines = verify.judge(out.read_bytes(), [])
    assert (code, words) == (3, "internally consistent, signer unknown")
    assert any(decision in line for line in lines)
    assert verify.unpack(out.read_bytes())["verify.py"] == verifier()
    again = invoke("prove", decision, "-o", out, config=config)
    assert again.code == 2
    assert "is there already" in again.err


def test_a_checkpoint_that_is_given_is_enclosed_if_it_is_one_of_this_journal(config: Path, tmp_path: Path) -> None:
    decision = last_decision(config)
    files = JournalFiles(config.parent / "data" / "discounts" / "journal.db")
    signer = Signer(f"loom/{INSTANCE}/discounts")
    with closing(tree_of(files)) as tree:
        size = tree.extend()
        notes = {
            "good": signer.checkpoint(size, tree.root()),
            "too early": signer.checkpoint(3, tree.root(3)),
            "of a fork": signer.checkpoint(size, bytes(32)),
            "of later": signer.checkpoint(size + 1, tree.root()),
            "none": b"hello\n",
        }
    expected = {
        "too early": "covers [3] entries",
        "of a fork": "another root than this journal",
        "of later": "another root than this journal",
        "none": "not written as one",
    }
    for name, note in notes.items():
        (tmp_path / name).write_bytes(note)
        said = invoke(
            "prove", decision, "-o", tmp_path / f"{name}.zip", "--checkpoint", tmp_path / name, "--json", config=config
        )
        if name == "good":
            assert said.json["signed"] is True
            assert verify.judge((tmp_path / "good.zip").read_bytes(), [signer.vkey])[0] == 0
        else:
            assert said.code == 2
            assert expected[name] in said.err
            assert not (tmp_path / f"{name}.zip").exists()
    missing = invoke("prove", decision, "-o", tmp_path / "x.zip", "--checkpoint", tmp_path / "missing", config=config)
    assert missing.code == 2
    assert "cannot be read" in missing.err


def test_a_case_says_what_the_journal_has_to_the_byte(config: Path) -> None:
    journal = config.parent / "data" / "discounts" / "journal.db"
    case = asyncio.run(made(journal)).case
    exported = {each["position"]: each for each in invoke("export", config=config).lines}
    assert [each["kind"] for each in case["entries"]][1:3] == ["command_received", "context_gathered"]
    for each in case["entries"]:
        line = exported[each["position"]]
        for name in ("journal", "sequence", "kind", "command_id", "policy_hash", "salt", "body_digest"):
            assert each[name] == line[name]
        assert json.loads(each["body"]) == line["body"]


def test_fields_are_left_out_by_their_paths_and_the_rest_is_still_proven(config: Path, tmp_path: Path) -> None:
    told(tmp_path, REDACTABLE)
    shown, path = tmp_path / "loom.config.yaml", tmp_path / "case.zip"
    decision = last_decision(shown)
    said = invoke(
        "prove", decision, "-o", path, "--without", "approval_answered.by", "--without", "8.comment", config=shown
    )
    assert said.code == 2
    assert "[8.comment] is of no field in this case" in said.err
    paths = ("--without", "approval_answered.by", "--without", "context_gathered.result")
    said = invoke("prove", decision, "-o", path, *paths, config=shown)
    assert said.code == 0, said.err
    raw = path.read_bytes()
    assert b"dana" not in raw
    code, _, lines = verify.judge(raw, [])
    assert code == 3
    assert sum("1 fields of" in line for line in lines) == 3
    assert any("fields of approval_answered" in line for line in lines)
    verified = invoke("verify", "--views", config=shown)
    assert verified.code == 0, verified.out
    for wrong, why in (
        ("decision.decision", "was recorded as a whole"),
        ("by", "names no field"),
        ("context_gathered.result.arr", "is of no field"),
    ):
        said = invoke("prove", decision, "-o", tmp_path / "no.zip", "--without", wrong, config=shown)
        assert said.code == 2
        assert why in said.err
        assert not (tmp_path / "no.zip").exists()


def test_a_kind_that_there_is_not_cannot_be_redactable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"names the kinds \['nothing_such'\]"):
        told(tmp_path, "journal: {redactable: [nothing_such]}\n")


def test_with_a_signing_key_the_case_is_under_the_journals_own_checkpoint(tmp_path: Path) -> None:
    public = create_key(tmp_path / "log.key")
    text = f"checkpoints: {{key_file: {tmp_path / 'log.key'}, every_s: 86400"
    told(tmp_path, f"{text}, at_close: false}}\n")
    config, path = tmp_path / "loom.config.yaml", tmp_path / "case.zip"
    signed = invoke("checkpoint", "sign", "--by", "robin", config=config)
    assert signed.code == 0, signed.err
    said = invoke("prove", last_decision(config), "-o", path, "--json", config=config)
    assert said.code == 0, said.err
    assert said.json["signed"] is True
    fingerprint = hashlib.sha256(public).hexdigest()
    (listed,) = invoke("keys", "signing", "--json", config=config).json
    assert listed["fingerprint"] == fingerprint
    for key in (fingerprint, listed["key"]):
        assert verify.judge(path.read_bytes(), [key])[:2] == (0, f"valid: signed by {fingerprint}")
    assert verify.unpack(path.read_bytes())["key.txt"].decode().strip() == listed["key"]

    async def again() -> None:
        async with Loom.open(config, by="robin") as loom:
            agent = loom.actor(DiscountAgent, "emea")
            await agent.ask(RequestDiscount(customer_id="delta-retail", percent=9), id="later", by="robin")

    asyncio.run(again())
    refused = invoke("prove", last_decision(config), "-o", tmp_path / "later.zip", config=config)
    assert refused.code == 2
    assert "loom checkpoint sign" in refused.err


def test_what_was_pruned_stays_provable_by_its_place(tmp_path: Path) -> None:
    told(tmp_path)
    config, archive, path = tmp_path / "loom.config.yaml", tmp_path / "a.loom.zip", tmp_path / "case.zip"
    whole = asyncio.run(made(tmp_path / "data" / "discounts" / "journal.db")).case
    sequence = next(each["sequence"] for each in whole["entries"][::-1] if each["kind"] == "decision")
    anyway = ("--by", "vera", "--override-retention", "a test")
    said = invoke("archive", "--older-than", "0s", "-o", archive, *anyway, config=config)
    assert said.code == 0, said.err
    said = invoke("archive", "prune", archive, *anyway, "-m", "a test", "-y", config=config)
    assert said.code == 0, said.err
    said = invoke("prove", f"discount-agent/emea#{sequence}", "-o", path, config=config)
    assert said.code == 0, said.err
    assert "have no body any more" in said.out
    code, _, lines = verify.judge(path.read_bytes(), [])
    assert code == 3
    assert sum("erased or pruned" in line for line in lines) == len(whole["entries"]) - 1
    assert any("which decision of the turn it is" in line for line in lines)
    pruned = json.loads(verify.unpack(path.read_bytes())["case.json"])
    for was, now in zip(whole["entries"], pruned["entries"], strict=True):
        assert (was["body_digest"], was["previous"]) == (now["body_digest"], now["previous"])
    for wrong in ("discount-agent/emea#1", "discount-agent/emea#999", "nobody/x#1"):
        refused = invoke("prove", wrong, "-o", tmp_path / "no.zip", config=config)
        assert refused.code == 2
        assert "has no decision at sequence" in refused.err
