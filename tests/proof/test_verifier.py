"""The verifier for strangers: what it takes, what it refuses, and that it says so in words."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from loom.policies.canonical import canonical as canonical_of_policies
from loom.proof import verify
from loom.proof.case import verifier
from tests.proof.cases import INSTANCE, Made, Signer, changed, made, told

RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe"
        "24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302a"
        "eeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed2"
        "8dc027beceea1ec40a",
    ),
]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return asyncio.run(made(told(tmp_path_factory.mktemp("told"))))


def verdict(raw: bytes, *keys: str) -> tuple[int, str]:
    code, words, lines = verify.judge(raw, list(keys))
    assert "Traceback" not in "".join(lines)
    assert ("valid" in words) == (code == 0)
    return code, words


def test_it_is_one_file_of_at_most_300_lines_that_needs_the_standard_library_alone() -> None:
    source = verifier().decode()
    assert len(source.splitlines()) <= 300
    named = {line.split()[1] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert named - {"__future__"} <= sys.stdlib_module_names


@pytest.mark.parametrize(("key", "message", "signature"), RFC_8032)
def test_the_vectors_of_rfc_8032_hold(key: str, message: str, signature: str) -> None:
    key_, message_, signature_ = map(bytes.fromhex, (key, message, signature))
    assert verify.is_signed(key_, message_, signature_)
    assert not verify.is_signed(key_, message_ + b"x", signature_)


def test_it_takes_the_signatures_that_cryptography_takes_and_no_others() -> None:
    dice = random.Random(8032)
    for _ in range(12):
        key = Ed25519PrivateKey.from_private_bytes(dice.randbytes(32))
        public, message = key.public_key().public_bytes_raw(), dice.randbytes(dice.randrange(90))
        signature = key.sign(message)
        higher = (int.from_bytes(signature[32:], "little") + verify.ORDER).to_bytes(32, "little")
        tried = [signature, signature[:32] + higher, signature[:-1], b"", signature + b"\0"]
        for _ in range(3):
            bent = bytearray(signature)
            bent[dice.randrange(64)] ^= 1 << dice.randrange(8)
            tried.append(bytes(bent))
        for each in tried:
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(each, message)
                expected = True
            except InvalidSignature:
                expected = False
            assert verify.is_signed(public, message, each) is expected
    assert not verify.is_signed(b"\xff" * 32, b"", bytes(64))
    assert not verify.is_signed(bytes(31), b"", bytes(64))


def test_documents_have_the_form_in_which_the_registry_hashes_them() -> None:
    document = {"b": [1, None, True, {"\ue000": 'é\n\x7f"\\'}], "\U0001f600": -(2**53) + 1, "a": {}, "\ue000": []}
    assert verify.canonical(document) == canonical_of_policies(document)


def test_a_case_under_its_key_is_valid_by_the_key_or_by_its_fingerprint(case: Made) -> None:
    for key in (case.signer.vkey, case.signer.fingerprint):
        assert verdict(case.raw, key) == (0, f"valid: signed by {case.signer.fingerprint}")
    lines = "\n".join(verify.judge(case.raw, [case.signer.vkey])[2])
    assert "the document of its policy version" in lines
    assert "says       granted by " in lines
    assert "not shown" not in lines
    assert verdict(changed(case, key=None), case.signer.vkey)[0] == 0


def test_without_a_key_a_case_is_consistent_and_its_signer_unknown(case: Made) -> None:
    assert verdict(case.raw) == (3, "internally consistent, signer unknown")
    unsigned = case.files["checkpoint.txt"].partition(b"\n\n")[0] + b"\n"
    assert verdict(changed(case, checkpoint=unsigned, key=None)) == (3, "internally consistent, signer unknown")
    assert verdict(changed(case, checkpoint=unsigned))[0] == 1
    assert verdict(changed(case, checkpoint=unsigned, key=None), case.signer.vkey)[0] == 1


def test_a_case_by_another_key_is_refused_whatever_it_encloses(case: Made) -> None:
    forger = Signer(case.signer.name, seed=2)
    text = case.files["checkpoint.txt"].decode().partition("\n\n")[0] + "\n"
    raw = changed(case, checkpoint=forger.note(text), key=forger.vkey.encode() + b"\n", verify=b"print('valid')\n")
    code, _, lines = verify.judge(raw, [forger.vkey])
    assert code == 0
    assert any(each.startswith("caution ") for each in lines)
    assert verdict(raw, case.signer.fingerprint) == (
        1,
        "does not hold: the key that you name is not the one enclosed: it is by another signer, or another key of "
        "this one",
    )
    assert verdict(raw, case.signer.vkey)[1] == "does not hold: the checkpoint is not signed by the key that you name"
    renamed = base64.b64encode(case.signer.key_id + bytes(64)).decode()
    by_no_one = text + f"\n\u2014 {case.signer.name} {renamed}\n"
    assert "not by its key" in verdict(changed(case, checkpoint=by_no_one.encode()), case.signer.vkey)[1]


def test_a_key_of_another_log_is_refused(case: Made) -> None:
    other = Signer(f"loom/{INSTANCE}/other")
    text = case.files["checkpoint.txt"].decode().partition("\n\n")[0] + "\n"
    assert "the key is of the log" in verdict(changed(case, checkpoint=other.note(text)), other.vkey)[1]
    theirs = text.replace(case.signer.name, other.name)
    assert "of another log" in verdict(changed(case, checkpoint=other.note(theirs), key=None), other.vkey)[1]


FORGERIES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda case: case["entries"][2].update(body=case["entries"][2]["body"].replace("a", "b", 1)), "is not the one"),
    (lambda case: case["entries"][2].update(body=None), "not written"),
    (lambda case: case["entries"][2].update(salt="00" * 16), "is not the one"),
    (lambda case: case["entries"][2].update(kind="other"), "not at its place"),
    (lambda case: case["entries"][2].update(command_id=None), "not at its place"),
    (lambda case: case["entries"][2].update(recorded_at_us=case["entries"][2]["recorded_at_us"] + 1), "not at its"),
    (lambda case: case["entries"][2].update(position=case["entries"][2]["position"] + 1), "not at its place"),
    (lambda case: case["entries"][2].update(path=case["entries"][2]["path"][1:]), "not at its place"),
    (lambda case: case["entries"][2].update(previous="00" * 32), "not at its place"),
    (lambda case: case["entries"][2].update(more=1), "is not written as an entry"),
    (lambda case: case["entries"].reverse(), "does not follow"),
    (lambda case: case["entries"].append(case["entries"][-1]), "does not follow"),
    (lambda case: case["decision"].update(id="0" * 64), "no entry of the turn is this decision"),
    (lambda case: case["decision"].update(command_id="other"), "no entry of the turn is this decision"),
    (lambda case: case.update(workspace="other"), "another log"),
    (lambda case: case.update(format="loom.case/2"), "it is no case"),
    (lambda case: case["entries"][2].update(sequence=-1), "is no number"),
    (lambda case: case["entries"][2].update(sequence=True), "is no number"),
    (lambda case: case["entries"][2].update(policy_hash="zz"), "a hash is not written as one"),
    (lambda case: case.update(entries=7), "not written as a case"),
]


@pytest.mark.parametrize(("change", "why"), FORGERIES)
def test_a_change_of_anything_in_it_is_told(case: Made, change: Callable[[dict[str, Any]], object], why: str) -> None:
    code, words = verdict(changed(case, change), case.signer.vkey)
    assert code == 1
    assert why in words


def test_what_is_gone_or_not_enclosed_is_named_and_the_rest_is_proven(case: Made) -> None:
    def erase(said: dict[str, Any]) -> None:
        for each in said["entries"]:
            each.update(salt=None, body=None)

    code, _, lines = verify.judge(changed(case, erase), [case.signer.vkey])
    assert code == 0
    shown = "\n".join(lines)
    assert "erased or pruned" in shown
    assert "which decision of the turn it is" in shown
    assert "the document of its policy version" not in shown

    def drop(said: dict[str, Any]) -> None:
        said["entries"] = [each for each in said["entries"] if each["kind"] not in ("policy_registered", "evaluated")]
        said["entries"].pop()

    code, _, lines = verify.judge(changed(case, drop), [case.signer.vkey])
    assert code == 0
    shown = "\n".join(each for each in lines if each.startswith("not shown"))
    assert "the document of its policy version" in shown
    assert "sequence " in shown
    assert "the end of the turn" in shown


def test_every_byte_matters(case: Made) -> None:
    dice = random.Random(1)
    for at in range(0, len(case.raw), 37):
        bent = bytearray(case.raw)
        bent[at] ^= 1 << dice.randrange(8)
        assert verdict(bytes(bent), case.signer.vkey)[0] == 1
    for size in range(0, len(case.raw), 997):
        assert verdict(case.raw[:size], case.signer.vkey)[0] == 1


def test_tricks_with_zips_are_refused(case: Made, tmp_path: Path) -> None:
    def zipped(*members: tuple[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
        path = tmp_path / "tried.zip"
        with zipfile.ZipFile(path, "w", how) as file:
            for name, raw in members:
                file.writestr(name, raw)
        return path.read_bytes()

    known = list(case.files.items())
    tried = {
        "written by another program": zipped(*known),
        "compressed": zipped(*known, how=zipfile.ZIP_DEFLATED),
        "a bomb": zipped(("case.json", bytes(1 << 25)), how=zipfile.ZIP_DEFLATED),
        "a path": verify.pack({**case.files, "../case.json": b"{}"}),
        "another name": verify.pack({**case.files, "evil.py": b""}),
        "another order": verify.pack(dict(reversed(known))),
        "a file less": verify.pack({"case.json": case.files["case.json"]}),
        "something before": b"#!/bin/sh\n" + case.raw,
        "something after": case.raw + b"\0",
        "nothing": b"",
        "too large": bytes(verify.LARGEST + 1),
    }
    once = verify.pack({"case.json": case.files["case.json"]})
    head = once[: once.index(b"PK\1\2")]
    tried["a file twice"] = head + case.raw
    for name, raw in tried.items():
        assert verdict(raw, case.signer.vkey)[0] == 1, name


@pytest.mark.parametrize(
    "raw",
    [b"{", b"[]", b"null", b"[" * 100_000, b'{"a":1,"a":1}', b"1" * 5000, b"\xff", b"NaN", b'{"a":1.5}', b'"\\ud800"'],
)
def test_a_case_that_is_none_gives_a_verdict(case: Made, raw: bytes) -> None:
    files = {**case.files, "case.json": raw}
    assert verdict(verify.pack(files), case.signer.vkey)[0] == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n\n\n",
        b"loom\n1\n",
        b"a\n01\nAAAA\n",
        b"a\n1\n" + base64.b64encode(bytes(31)) + b"\n",
        b"a\n1\n" + base64.b64encode(bytes(32))[:-2] + b"B=\n",
        b"a\r\n1\n" + base64.b64encode(bytes(32)) + b"\n",
        b"a\n1\n" + base64.b64encode(bytes(32)) + b"\n\n",
        b"a\n1\n" + base64.b64encode(bytes(32)) + b"\n\nx\n",
        b"a\n1\n" + base64.b64encode(bytes(32)) + b"\n\n" + b"\xe2\x80\x94 a AAAA\n" * 9999,
        b"\xff",
    ],
)
def test_a_note_that_is_none_is_refused(case: Made, raw: bytes) -> None:
    assert verdict(changed(case, checkpoint=raw, key=None))[0] == 1


@pytest.mark.parametrize("key", ["", "x", "a+b+c", "0" * 64, "0" * 63, "loom/x+00000000+" + "A" * 44])
def test_a_key_that_is_none_or_is_unknown_is_refused(case: Made, key: str) -> None:
    assert verdict(case.raw, key)[0] == 1


def test_it_runs_alone_and_offline_with_an_answer_in_words(case: Made, tmp_path: Path) -> None:
    (tmp_path / "verify.py").write_bytes(case.files["verify.py"])
    (tmp_path / "case.zip").write_bytes(case.raw)

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "verify.py", *arguments],
            cwd=tmp_path,
            env={"LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout

    code, said = run("case.zip", "--key", case.signer.fingerprint)
    assert (code, said.splitlines()[-1]) == (0, f"VERDICT    valid: signed by {case.signer.fingerprint}")
    assert "caution" not in said
    code, said = run("case.zip")
    assert (code, said.splitlines()[-1]) == (3, "VERDICT    internally consistent, signer unknown")
    assert run("case.zip", "--key")[0] == 2
    assert run()[0] == 2
    assert run("missing.zip") == (2, "cannot read ['missing.zip']: FileNotFoundError(2, 'No such file or directory')\n")
    (tmp_path / "case.zip").write_bytes(case.raw[:-1])
    assert run("case.zip") == (1, "VERDICT    does not hold: the file is damaged\n")


def test_what_a_journal_says_cannot_write_to_the_terminal(case: Made) -> None:
    assert json.dumps("\x1b[2J") == '"\\u001b[2J"'
    code, words = verdict(changed(case, lambda said: said.update(workspace="\x1b[2J\n")), case.signer.vkey)
    assert code == 1
    assert "\x1b" not in words
