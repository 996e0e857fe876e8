"""How the tests ask the second reader, and the questions that both it and loom answer."""

from __future__ import annotations

import base64
import json
import random
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from loom.journal.chain import Header, entry_hash, genesis
from loom.journal.fields import digest_by
from loom.journal.merkle import Frontier, consistency, inclusion, is_consistent, is_included, leaf_of, root_of

__all__ = ["NODE", "Question", "answers", "asked", "questions"]

NODE = shutil.which("node")
"""The interpreter of JavaScript; None where there is none."""

READER = Path(__file__).with_name("reader.js")

Question = tuple[dict[str, Any], Any]
"""What is asked, and what loom answers."""

_LETTERS = 'ab/é\u2028\U0001f600"\\\n\x00\x7f\ufeff'
_KINDS = ("genesis", "entry", "body", "leaf", "root", "inclusion", "consistency")


def asked(what: str, lines: Iterable[str]) -> tuple[int, list[Any]]:
    """Return the exit code of the second reader, and what it says, line by line."""
    assert NODE is not None
    given = "".join(f"{line}\n" for line in lines).encode()
    done = subprocess.run([NODE, str(READER), what], input=given, capture_output=True, check=False, timeout=240)
    assert not done.stderr, done.stderr.decode()
    return done.returncode, [json.loads(line) for line in done.stdout.decode().splitlines()]


def answers(found: list[Question]) -> list[Any]:
    """Return what the second reader answers."""
    return asked("vectors", (json.dumps(question, ensure_ascii=False) for question, _ in found))[1]


def questions(dice: random.Random) -> Iterator[Question]:
    """Yield questions about any hash of the format, with loom's answers, without end."""
    trees = [_Tree(dice, size) for size in (1, 2, 3, 7, 8, 33, 100)]
    while True:
        yield _question(dice.choice(_KINDS), dice, dice.choice(trees))


class _Tree:
    def __init__(self, dice: random.Random, size: int) -> None:
        self.size = size
        self.nodes: dict[tuple[int, int], bytes] = {}
        Frontier(lambda level, index, whole: self.nodes.__setitem__((level, index), whole)).add_all(
            dice.randbytes(32) for _ in range(size)
        )

    def node(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


def _text(dice: random.Random) -> str:
    return "".join(dice.choices(_LETTERS, k=dice.randrange(9)))


def _question(kind: str, dice: random.Random, tree: _Tree) -> Question:
    if kind == "genesis":
        names = _text(dice), _text(dice)
        return {"ask": kind, "workspace": names[0], "journal": names[1]}, genesis(*names).hex()
    if kind == "entry":
        return _entry(dice)
    if kind == "body":
        scheme, salt = dice.choice((1, 2)), dice.randbytes(16)
        said = {_text(dice): _value(dice, 0) for _ in range(dice.randrange(6))}
        body = json.dumps(said, ensure_ascii=dice.random() < 0.5, indent=dice.choice((None, 1))).encode()
        question = {"ask": kind, "scheme": scheme, "salt": salt.hex(), "body": base64.b64encode(body).decode()}
        return question, digest_by(scheme, salt, body).hex()
    if kind == "leaf":
        workspace, journal, found = _text(dice), _text(dice), dice.randbytes(32)
        position, sequence = dice.randrange(2**63), dice.randrange(2**63)
        place = {"position": str(position), "sequence": str(sequence)}
        question = {"ask": kind, "workspace": workspace, "journal": journal, "hash": found.hex(), **place}
        return question, leaf_of(workspace, position, journal, sequence, found).hex()
    if kind == "root":
        size = dice.randrange(min(tree.size, 20) + 1)
        leaves = [tree.node(0, index).hex() for index in range(size)]
        return {"ask": kind, "leaves": leaves}, root_of(size, tree.node).hex()
    return _inclusion(dice, tree) if kind == "inclusion" else _consistency(dice, tree)


def _value(dice: random.Random, depth: int) -> Any:
    what = dice.randrange(7 if depth < 3 else 5)
    if what == 5:
        return [_value(dice, depth + 1) for _ in range(dice.randrange(4))]
    if what == 6:
        return {_text(dice): _value(dice, depth + 1) for _ in range(dice.randrange(4))}
    return (None, dice.random() < 0.5, dice.randrange(-(2**53), 2**53), dice.random() * 1e9, _text(dice))[what]


def _entry(dice: random.Random) -> Question:
    scheme, digest, previous = dice.choice((1, 2)), dice.randbytes(32), dice.randbytes(32)
    command, policy = dice.choice((None, _text(dice))), dice.choice((None, dice.randbytes(32)))
    numbers = [dice.randrange(2 ** dice.randrange(1, 64)) for _ in range(6)]
    header = Header(_text(dice), _text(dice), _text(dice), command, policy, *numbers)
    said = {name: str(value) if isinstance(value, int) else value for name, value in header._asdict().items()}
    said["policy_hash"] = None if policy is None else policy.hex()
    question = {"ask": "entry", "scheme": scheme, "header": said, "digest": digest.hex(), "previous": previous.hex()}
    return question, entry_hash(header, digest, previous, scheme=scheme).hex()


def _bent(path: list[bytes], dice: random.Random) -> list[bytes]:
    """Return a path as it is, or with something wrong."""
    what = dice.randrange(4)
    if what == 0 and path:
        return path[:-1]
    if what == 1:
        return [*path, dice.randbytes(32)]
    if what == 2 and path:
        at = dice.randrange(len(path))
        return [*path[:at], dice.randbytes(32), *path[at + 1 :]]
    return path


def _inclusion(dice: random.Random, tree: _Tree) -> Question:
    size = dice.randrange(1, tree.size + 1)
    index = dice.randrange(size)
    path, leaf, root = _bent(inclusion(index, size, tree.node), dice), tree.node(0, index), root_of(size, tree.node)
    index = (index + (dice.random() < 0.2)) if dice.random() < 0.5 else index
    question = {"ask": "inclusion", "index": index, "size": size, "leaf": leaf.hex(), "root": root.hex()}
    return {**question, "path": [each.hex() for each in path]}, is_included(leaf, index, size, path, root)


def _consistency(dice: random.Random, tree: _Tree) -> Question:
    second = dice.randrange(1, tree.size + 1)
    first = dice.randrange(second + 1)
    path = _bent(consistency(first, second, tree.node), dice)
    roots = root_of(first, tree.node), root_of(second, tree.node)
    question = {"ask": "consistency", "first": first, "second": second, "roots": [each.hex() for each in roots]}
    return {**question, "path": [each.hex() for each in path]}, is_consistent(first, second, path, *roots)
