"""R24: proofs, notes, keys and whole cases that are forged, in all the ways we could think of: none is accepted, and
all that are true are. R25: cases are verified by another Python, with one file of code, when everything else is gone.

The controls are verifiers that skip one check: each accepts a forgery that the whole one refuses.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from loom.journal.chain import SCHEME_2, hash_after, journal_fields, turn_fields
from loom.journal.merkle import Frontier, consistency, inclusion, is_consistent, is_included, leaf_of, root_of
from loom.proof import Note, VerifyingKey, verify
from loom.proof.case import verifier
from loom.proof.keys import verifies
from tests.proof.cases import INSTANCE, REDACTABLE, Made, Signer, changed, made, told
from tests.reliability.board import Tally, row
from tests.second_reader.asking import NODE, answers, questions

TREES, PROOFS = 40, 72_000
NOTES, CASES = 1_600, 2_400
BUNDLES = 50
VECTORS = 80_000


# --- proofs in trees ------------------------------------------------------------------------------


class Claim(NamedTuple):
    """That a leaf is at an index of a tree."""

    leaf: bytes
    at: int
    size: int
    path: tuple[bytes, ...]
    root: bytes

    def accepted(self) -> bool:
        ours = is_included(self.leaf, self.at, self.size, self.path, self.root)
        return ours or verify.root_by(list(self.path), self.at, self.size, self.leaf) == self.root

    def accepted_by_both(self) -> bool:
        ours = is_included(self.leaf, self.at, self.size, self.path, self.root)
        return ours and verify.root_by(list(self.path), self.at, self.size, self.leaf) == self.root


class Tree:
    """A tree of random leaves."""

    def __init__(self, dice: random.Random, size: int) -> None:
        self.size = size
        self.nodes: dict[tuple[int, int], bytes] = {}
        tree = Frontier(lambda level, index, whole: self.nodes.__setitem__((level, index), whole))
        tree.add_all(dice.randbytes(32) for _ in range(size))

    def node(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]

    def claim(self, index: int, size: int) -> Claim:
        path = tuple(inclusion(index, size, self.node))
        return Claim(self.node(0, index), index, size, path, root_of(size, self.node))


def bent(raw: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(raw))
    return raw[:at] + bytes([raw[at] ^ 1 << dice.randrange(8)]) + raw[at + 1 :]


def forged_claim(true: Claim, other: Tree, dice: random.Random) -> Claim:
    """Return a claim that is not so."""
    path = list(true.path)
    what = dice.randrange(9)
    if what == 0:
        return true._replace(leaf=bent(true.leaf, dice))
    if what == 1:
        return true._replace(root=bent(true.root, dice))
    if what == 2:
        return true._replace(root=root_of(other.size, other.node))
    if what == 3:
        return true._replace(at=(true.at + dice.randrange(1, true.size)) % true.size)
    if what == 4:
        return true._replace(path=(*path, dice.randbytes(32)))
    if what == 5:
        return true._replace(path=tuple(path[:-1]))
    if what == 6:
        return true._replace(path=tuple(path[1:]), leaf=verify.sha(b"\1", true.leaf, path[0]))
    if what == 7:
        return true._replace(at=true.size + dice.randrange(3), path=tuple(path))
    at = dice.randrange(len(path))
    path[at] = bent(path[at], dice)
    return true._replace(path=tuple(path))


@pytest.mark.seconds(20)
@pytest.mark.timeout(280)
@row("R24")
def test_no_forged_proof_in_a_tree_is_accepted_and_every_true_one_is(tally: Tally) -> None:
    dice = tally.dice
    trees = [Tree(dice, dice.randrange(3, 400)) for _ in range(TREES)]
    for number in range(PROOFS):
        tree, other = dice.sample(trees, 2)
        size = dice.randrange(2, tree.size + 1)
        tally.tried()
        if number % 4:
            true = tree.claim(dice.randrange(size), size)
            if number % 3 == 0:
                tally.check(true.accepted_by_both(), f"a true proof is refused: {true}")
                continue
            forged = forged_claim(true, other, dice)
            tally.check(not forged.accepted(), f"a forged proof is accepted: {forged}")
            continue
        first = dice.randrange(1, size)
        path = consistency(first, size, tree.node)
        roots = root_of(first, tree.node), root_of(size, tree.node)
        tally.check(is_consistent(first, size, path, *roots), "a true proof of consistency is refused")
        what = dice.randrange(5)
        if what == 0:
            roots = roots[0], bent(roots[1], dice)
        elif what == 1:
            roots = bent(roots[0], dice), roots[1]
        elif what == 2:
            roots = root_of(other.size, other.node), roots[1]
        elif what == 3:
            path = [*path, dice.randbytes(32)]
        else:
            at = dice.randrange(len(path))
            path[at] = bent(path[at], dice)
        tally.check(not is_consistent(first, size, path, *roots), "a forged proof of consistency is accepted")


# --- notes and keys -------------------------------------------------------------------------------


def signed_line(name: str, key_id: bytes, raw: bytes) -> str:
    return f"\u2014 {name} {base64.b64encode(key_id + raw).decode()}\n"


def forged_notes(signer: Signer, other: Signer, dice: random.Random) -> Iterator[bytes]:
    """Yield notes that the key of `signer` has not signed."""
    while True:
        size, root = dice.randrange(1, 10**6), dice.randbytes(32)
        true = signer.checkpoint(size, root)
        text, line = true.decode().split("\n\n")
        raw = base64.b64decode(line.split(" ")[2])[4:]
        number = int.from_bytes(raw[32:], "little")
        yield true.replace(f"\n{size}\n".encode(), f"\n{size + 1}\n".encode())
        yield signer.checkpoint(size, bent(root, dice)).split(b"\n\n")[0] + b"\n\n" + line.encode()
        yield f"{text}\nmore\n\n{line}".encode()
        yield f"{text}\n\n{signed_line(signer.name, signer.key_id, bent(raw, dice))}".encode()
        yield f"{text}\n\n{signed_line(signer.name, signer.key_id, raw[:-1])}".encode()
        yield f"{text}\n\n{signed_line(signer.name, signer.key_id, raw + bytes(1))}".encode()
        higher = raw[:32] + ((number + verify.ORDER) % 2**256).to_bytes(32, "little")
        yield f"{text}\n\n{signed_line(signer.name, signer.key_id, higher)}".encode()
        yield f"{text}\n\n{signed_line(signer.name, bent(signer.key_id, dice), raw)}".encode()
        yield f"{text}\n\n{signed_line(f'{signer.name}x', signer.key_id, raw)}".encode()
        theirs = base64.b64decode(other.note(text + "\n").decode().split(" ")[-1])[4:]
        yield f"{text}\n\n{signed_line(signer.name, signer.key_id, theirs)}".encode()
        yield other.note(text + "\n")
        yield f"{text}\n\n{signed_line(signer.name, signer.key_id, bytes(64))}".encode()
        yield f"{text}\n".encode()


def takes(raw: bytes, signer: Signer) -> bool:
    """Tell whether the verifier or loom itself takes a note as one of a key."""
    try:
        by_verifier = bool(verify.signers(verify.note_of(raw), None, [signer.vkey]))
    except Exception:
        by_verifier = False
    try:
        key = VerifyingKey.parse(signer.vkey)
        by_loom = key.signature_of(Note.parse(raw.decode()), verifies) is not None
    except Exception:
        by_loom = False
    return by_verifier or by_loom


@pytest.mark.seconds(25)
@pytest.mark.timeout(280)
@row("R24")
def test_no_forged_note_is_taken_and_every_true_one_is(tally: Tally) -> None:
    dice = tally.dice
    signer, other = Signer(f"loom/{INSTANCE}/w"), Signer(f"loom/{INSTANCE}/w", seed=2)
    forged = forged_notes(signer, other, dice)
    for number in range(NOTES):
        tally.tried()
        raw = next(forged)
        tally.check(not takes(raw, signer), f"a forged note is taken: {raw!r}")
        if number % 16 == 0:
            true = signer.checkpoint(dice.randrange(1, 10**9), dice.randbytes(32))
            cosigned = true + signed_line("witness.example", b"abcd", dice.randbytes(72)).encode()
            for each in (true, cosigned):
                tally.check(verify.signers(verify.note_of(each), None, [signer.vkey]), "a true note is refused")


# --- cases ----------------------------------------------------------------------------------------


def reseal(case: Made, change: Callable[[dict[str, Any]], object], signer: Signer) -> bytes:
    """Return a case that is consistent in itself after a change: hashes, tree and signature are made again."""
    said = case.case
    change(said)
    workspace, before = said["workspace"], dict[str, bytes]()
    digests = dict[str, str]()
    size = max(each["position"] for each in said["entries"])
    leaves = [hashlib.sha256(b"%d" % number).digest() for number in range(size)]
    for each in said["entries"]:
        if "body" in each and each["body"] is not None:
            for old, new in digests.items():  # a decision refers to what it was made of
                each["body"] = each["body"].replace(old, new)
            digest = verify.sha(bytes.fromhex(each["salt"]), each["body"].encode())
            digests[each["body_digest"]] = each["body_digest"] = digest.hex()
        previous = before.get(each["journal"], bytes.fromhex(each["previous"]))
        each["previous"] = previous.hex()
        scheme = 2 if "fields" in each else 1
        digest = bytes.fromhex(each["body_digest"])
        policy = None if each["policy_hash"] is None else bytes.fromhex(each["policy_hash"])
        names = ("sequence", "position", "schema_version", "epoch", "recorded_at_us", "clock_back_us")
        before[each["journal"]] = hash_after(
            journal_fields(workspace, each["journal"], scheme=scheme),
            each["kind"],
            turn_fields(each["command_id"], policy),
            tuple(each[name] for name in names),
            SCHEME_2 + digest if scheme == 2 else digest,
            previous,
        )
        found = leaf_of(workspace, each["position"], each["journal"], each["sequence"], before[each["journal"]])
        leaves[each["position"] - 1] = found
    nodes: dict[tuple[int, int], bytes] = {}
    Frontier(lambda level, index, whole: nodes.__setitem__((level, index), whole)).add_all(leaves)
    for each in said["entries"]:
        path = inclusion(each["position"] - 1, size, lambda level, index: nodes[level, index])
        each["path"] = [step.hex() for step in path]
    note = signer.checkpoint(size, root_of(size, lambda level, index: nodes[level, index]))
    files = {**case.files, "case.json": verify.canonical(said), "checkpoint.txt": note}
    return verify.pack({**files, "key.txt": f"{signer.vkey}\n".encode()})


def granted_by_another(said: dict[str, Any]) -> None:
    for each in said["entries"]:
        if each["kind"] == "approval_answered":
            each["body"] = each["body"].replace("dana", "mallory")


def crafted(case: Made) -> dict[str, bytes]:
    """Return forgeries that are as good as they get, by the check that alone refuses each."""
    forger = Signer(case.signer.name, seed=99)
    text = case.files["checkpoint.txt"].decode().partition("\n\n")[0] + "\n"
    evil = reseal(case, granted_by_another, forger)
    unpacked = verify.unpack(evil)
    as_ours = unpacked["checkpoint.txt"].decode().partition("\n\n")[0] + "\n"
    theirs = base64.b64decode(forger.note(as_ours).decode().split(" ")[-1])[4:]
    signed_as_us = f"{as_ours}\n{signed_line(case.signer.name, case.signer.key_id, theirs)}".encode()
    elsewhere = text.replace(INSTANCE, INSTANCE[::-1].replace("-", "0")[:8] + INSTANCE[8:])
    our_key = f"{case.signer.vkey}\n".encode()

    def reorder(said: dict[str, Any]) -> None:
        said["entries"].reverse()

    def other_kind(said: dict[str, Any]) -> None:
        said["entries"][-1].update(kind="turn_failed")

    return {
        "enclosed key": verify.pack({**unpacked, "verify.py": b"print('VERDICT    valid')\n"}),
        "signature": verify.pack({**unpacked, "checkpoint.txt": signed_as_us, "key.txt": our_key}),
        "name": changed(case, checkpoint=case.signer.note(elsewhere)),
        "body": changed(case, granted_by_another),
        "place": changed(case, other_kind),
        "order": changed(case, reorder),
        "decision": changed(case, lambda said: said["decision"].update(id="0" * 64)),
        "file": case.raw[:10] + b"\1" + case.raw[11:],
    }


SKIPPED_CHECKS = {
    "enclosed key": ("need(known.get(each), lost)", "next(iter(known.values()))"),
    "signature": ("need(all(is_signed(", "need(True or all(is_signed("),
    "name": ("need(name == note.origin,", "need(True or name == note.origin,"),
    "body": ("need(digest in (None,", "need(True or digest in (None,"),
    "place": ("need(root_by(", "need(True or root_by("),
    "order": ("need(linked and ordered,", "need(True or linked,"),
    "decision": ("need(said_so or any(", "need(True or any("),
    "file": ("and pack(files) == raw", "and True"),
}
"""Name → the check that one verifier skips, as it is written and as it is not."""


def without(check: str, directory: Path) -> ModuleType:
    """Return a verifier that skips one check."""
    written, skipped = SKIPPED_CHECKS[check]
    source = verifier().decode()
    assert source.count(written) == 1, check
    module = ModuleType(f"without {check}")
    path = directory / f"{check}.py"
    path.write_text(source.replace(written, skipped), encoding="utf-8")
    module.__file__ = module.__dict__["__file__"] = str(path)
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module


FIELDS: dict[str, Callable[[Any, random.Random], Any]] = {
    "position": lambda value, dice: value + dice.choice((-1, 1, 7)),
    "journal": lambda value, _: value + "x",
    "sequence": lambda value, dice: value + dice.choice((-1, 1, 7)),
    "kind": lambda value, _: value + "x",
    "schema_version": lambda value, _: value + 1,
    "command_id": lambda value, _: "x" if value is None else value + "x",
    "epoch": lambda value, _: value + 1,
    "recorded_at_us": lambda value, dice: value + dice.randrange(-(10**9), 0),
    "clock_back_us": lambda value, _: value + 1,
    "policy_hash": lambda value, dice: dice.randbytes(32).hex(),
    "salt": lambda value, dice: dice.randbytes(16).hex(),
    "body": lambda value, dice: value[: (at := dice.randrange(len(value)))] + "~" + value[at + 1 :],
    "body_digest": lambda value, dice: dice.randbytes(32).hex(),
    "previous": lambda value, dice: dice.randbytes(32).hex(),
    "path": lambda value, dice: value[:-1] if dice.random() < 0.5 else [*value[1:], value[0]],
}


def forged_case(case: Made, dice: random.Random) -> bytes:
    """Return a case in which one thing of an entry is not what was recorded."""
    said = case.case
    entry = dice.choice(said["entries"])
    name = dice.choice([each for each in FIELDS if each in entry and (each != "path" or len(set(entry["path"])) > 1)])
    made_up = FIELDS[name](entry[name], dice)
    if made_up == entry[name]:
        return forged_case(case, dice)
    return changed(case, lambda case: next(e for e in case["entries"] if e == entry).update({name: made_up}))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return asyncio.run(made(told(tmp_path_factory.mktemp("told"))))


@pytest.mark.seconds(30)
@pytest.mark.timeout(280)
@row("R24")
def test_no_forged_case_is_valid_and_each_check_is_needed(tally: Tally, case: Made, tmp_path: Path) -> None:
    key = case.signer.fingerprint
    for each in (key, case.signer.vkey):
        tally.check(verify.judge(case.raw, [each])[0] == 0, "a true case is refused")
    for number in range(CASES):
        tally.tried()
        raw = forged_case(case, tally.dice)
        code, words, _ = verify.judge(raw, [key] if number % 2 else [])
        tally.check(code == 1, f"a forged case is {words}")
    forgeries = crafted(case)
    found = 0
    for check, raw in forgeries.items():
        tally.tried()
        code, words, _ = verify.judge(raw, [key])
        tally.check(code == 1, f"the forgery [{check}] is {words}")
        blind = without(check, tmp_path).judge(raw, [key])
        tally.check(blind[0] == 0, f"without [{check}] it is {blind[1]}")
        found += blind[0] == 0
    tally.control(trials=len(forgeries), found=found)


@pytest.mark.seconds(20)
@pytest.mark.timeout(280)
@row("R24")
def test_no_byte_of_a_case_can_change(tally: Tally, case: Made) -> None:
    for at in range(len(case.raw)):
        tally.tried()
        raw = bytearray(case.raw)
        raw[at] ^= 1 << tally.dice.randrange(8)
        code, words, _ = verify.judge(bytes(raw), [case.signer.fingerprint])
        tally.check(code == 1, f"byte {at}: {words}")


@pytest.mark.seconds(20)
@pytest.mark.timeout(280)
@row("R24")
def test_a_second_reader_in_javascript_finds_the_same_hashes_and_verdicts(tally: Tally) -> None:
    if NODE is None:
        pytest.skip("node is not installed: the second reader is in JavaScript")
    asked = list(itertools.islice(questions(tally.dice), VECTORS))
    for (question, ours), theirs in zip(asked, answers(asked), strict=True):
        tally.tried()
        tally.check(ours == theirs, f"{question}: {ours}, and the second reader says {theirs}")


# --- R25: on another Python -----------------------------------------------------------------------


def other_pythons() -> list[str]:
    """Return the interpreters of other versions from 3.9 on that there are, by their version."""
    names = [shutil.which(f"python3.{minor}") for minor in range(9, 16)]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local" / "share" / "uv" / "python"))
    candidates = [*(each for each in names if each), *map(str, root.glob("versions/3.*/bin/python"))]
    candidates += map(str, uv.glob("*/bin/python3"))
    found: dict[tuple[int, ...], str] = {}
    for each in candidates:
        try:
            done = subprocess.run(
                [each, "-I", "-S", "-c", "import sys; print(*sys.version_info[:2])"],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            found.setdefault(tuple(map(int, done.stdout.split())), each)
        except (OSError, subprocess.SubprocessError, ValueError):
            continue
    return [path for version, path in sorted(found.items()) if version >= (3, 9) and version != sys.version_info[:2]]


@pytest.mark.seconds(30)
@pytest.mark.timeout(280)
@row("R25")
def test_cases_are_verified_by_another_python_when_everything_else_is_gone(tally: Tally, tmp_path: Path) -> None:
    pythons = other_pythons()
    if not pythons:
        pytest.skip("there is no Python of another version from 3.9 on: install one, with uv or pyenv")
    whole, told_of = tmp_path / "whole", tmp_path / "told"
    whole.mkdir()
    told_of.mkdir()
    journals = [told(whole, REDACTABLE)]
    made_of = [
        asyncio.run(made(journals[0], *without))
        for without in ((), ("approval_answered.by",), ("context_gathered.result", "approval_answered.comment"))
    ]
    expected: dict[Path, tuple[int, str]] = {}
    for number in range(BUNDLES):
        case = made_of[number % len(made_of)]
        raw = case.raw if number % 2 == 0 else forged_case_of_any(case, tally.dice)
        path = told_of / f"{number}.zip"
        path.write_bytes(raw)
        key = case.signer.fingerprint if number % 5 else case.signer.vkey
        code, words, _ = verify.judge(raw, [key])
        tally.check(code == (0 if number % 2 == 0 else 1), f"case {number}: {words}")
        expected[path] = code, words
        (told_of / f"{number}.key").write_text(key, encoding="utf-8")
    (told_of / "verify.py").write_bytes(verifier())
    written, skipped = SKIPPED_CHECKS["body"]
    (told_of / "broken.py").write_text(verifier().decode().replace(written, skipped), encoding="utf-8")
    shutil.rmtree(whole)

    def run(python: str, script: str, path: Path) -> tuple[int, str]:
        key = path.with_suffix(".key").read_text(encoding="utf-8")
        done = subprocess.run(
            [python, "-I", "-S", script, path.name, "--key", key],
            cwd=told_of,
            env={},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not done.stderr, done.stderr
        return done.returncode, done.stdout.splitlines()[-1].removeprefix("VERDICT    ")

    for number, (path, verdict) in enumerate(expected.items()):
        tally.tried()
        python = pythons[number % len(pythons)]
        found = run(python, "verify.py", path)
        tally.check(found == verdict, f"{path.name}: {python} says {found}, expected {verdict}")
    bodies = changed(made_of[0], lambda said: said["entries"][1].update(body='{"forged":true}'))
    forged = told_of / "0.zip"
    forged.write_bytes(bodies)
    tally.check(run(pythons[0], "verify.py", forged)[0] == 1, "a forged body is accepted")
    tally.control(trials=1, found=run(pythons[0], "broken.py", forged)[0] == 0)
    tally.note(f"pythons: {', '.join(sorted({Path(each).resolve().parents[1].name for each in pythons}))}")


def forged_case_of_any(case: Made, dice: random.Random) -> bytes:
    """Return a forged case, also of one in which fields are left out."""
    return forged_case(case, dice) if dice.random() < 0.7 else case.raw[:-1]
