"""The tree as a view: the same as the definition, however it was kept; lost, cut, damaged, or of another journal."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.errors import OutOfRangeError
from loom.journal.merkle import Frontier, is_consistent, is_included, leaf_of
from loom.journal.places import NodeFiles
from loom.journal.postgres.url import PostgresUrl
from loom.journal.roots import Root
from loom.journal.sqlite import JournalFiles, Reader, SqliteStore
from loom.proof import ForkError, ProofTree, TreeIncompleteError, tree_of
from loom.proof import tree as tree_module
from loom.proof.leaves import ReaderLeaves
from loom.proof.tree import tree_opener
from tests.journal.support import PLENTY, filled, notes

GOLDEN_LEAVES = [
    ("default", 1, "agent/7", 1, bytes(32), "0b4366cc3e784d6c0960bf34b327fe5c620900a8cabccb249dd76caa698cca9a"),
    (
        "acme.eu",
        1000000,
        "discount-agent/Zürich",
        3,
        b"\xff" * 32,
        "f9fcd016c76342c11a4eca4f8e6e1860f4c881a90b0d69abcb75b2b5392607b4",
    ),
    (
        "w",
        9007199254740991,
        "loom/checkpoints",
        1099511627776,
        bytes(range(32)),
        "13de865c164a516a52cc6e0babe51b9e629761146b9c259a04f5f47dc1df43d7",
    ),
]


class Made:
    """Leaves out of nothing: a journal that tests lengthen, cut and tear holes into."""

    def __init__(self, count: int, *, workspace: str = "default", seed: int = 0) -> None:
        self.workspace = workspace
        self._random = random.Random(seed)
        self.rows: list[tuple[int, str, int, bytes]] = []
        self.grow(count)

    def grow(self, count: int) -> None:
        for _ in range(count):
            at = len(self.rows) + 1
            self.rows.append((at, f"agent/{at % 7}", at // 7 + 1, self._random.randbytes(32)))

    def tail(self) -> int:
        return self.rows[-1][0] if self.rows else 0

    def after(self, position: int, *, limit: int = 2**63 - 1) -> Any:
        return iter([row for row in self.rows if row[0] > position][:limit])

    def root(self, size: int) -> bytes:
        tree = Frontier()
        tree.add_all(leaf_of(self.workspace, *row) for row in self.rows[:size])
        return tree.root


@settings(max_examples=25, deadline=None)
@given(first=st.integers(0, 70), more=st.integers(0, 70))
def test_a_view_that_is_left_and_taken_up_gives_the_roots_and_proofs_of_the_definition(
    tmp_path_factory: pytest.TempPathFactory, first: int, more: int
) -> None:
    path, made = tmp_path_factory.mktemp("tree") / "journal.tree", Made(first)
    kept = ProofTree(made, path)
    assert kept.extend() == first
    kept.close()
    made.grow(more)
    again, memory = ProofTree(made, path), ProofTree(made)
    assert again.size == first, "what the file has is not read again"
    assert again.extend() == memory.extend() == first + more
    for size in range(first + more + 1):
        assert again.root(size) == memory.root(size) == made.root(size)
    assert is_consistent(first, first + more, again.consistency(first), made.root(first), again.root())
    for position in range(1, first + more + 1):
        proof = again.inclusion(position)
        assert proof.leaf == leaf_of("default", *made.rows[position - 1])
        assert is_included(proof.leaf, position - 1, proof.size, proof.path, made.root(proof.size))
    again.close()


async def test_the_tree_of_a_journal_file_is_built_on_first_open_and_follows_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await filled(path, {"agent/1": 5, "agent/2": 3})
    tree = tree_of(JournalFiles(path))
    assert tree.extend() == 8
    store = await SqliteStore.open(path, options=PLENTY)
    try:
        await store.append(notes("agent/3", 0, 4))
        assert tree.extend(until=10) == 10
        assert tree.extend() == 12
    finally:
        await store.close()
    found = tree.inclusion(9, 11)
    assert found.holds()
    assert found.root == tree.root(11) != tree.root()
    assert (path.with_suffix(".tree").stat().st_mode & 0o777) == 0o600
    tree.close()


async def test_the_tree_of_a_journal_that_is_read_from_elsewhere_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await filled(path, {"agent/1": 5, "agent/2": 3})
    reader, loop = Reader(path), asyncio.get_running_loop()

    def build() -> bytes:
        tree = ProofTree(ReaderLeaves(reader, "default", loop))
        assert tree.extend(until=3) == 3
        assert tree.extend() == 8
        assert tree.inclusion(2, 7).holds()
        return tree.root()

    known = tree_of(JournalFiles(path))
    known.extend()
    assert await asyncio.to_thread(build) == known.root()
    known.close()
    await reader.close()


def cut(raw: bytes) -> bytes:
    return raw[: len(raw) // 2 + 5]


def zeroed(raw: bytes) -> bytes:
    return raw[:64] + bytes(len(raw) - 64)


def one_bit(raw: bytes) -> bytes:
    return raw[:100] + bytes([raw[100] ^ 1]) + raw[101:]


@pytest.mark.parametrize(
    "harm", [cut, zeroed, one_bit, lambda raw: b"", lambda raw: b"other" + raw, lambda raw: raw + b"x"]
)
def test_a_view_that_was_damaged_gives_no_wrong_proof(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    path, made = tmp_path / "journal.tree", Made(90)
    ProofTree(made, path).extend()
    path.write_bytes(harm(path.read_bytes()))
    tree = ProofTree(made, path)
    tree.extend()
    for position in range(1, 91):
        assert is_included(
            leaf_of("default", *made.rows[position - 1]), position - 1, 90, tree.inclusion(position).path, made.root(90)
        )
    assert is_consistent(33, 90, tree.consistency(33), made.root(33), made.root(90))
    tree.close()


def test_a_root_to_be_signed_follows_from_a_known_one_and_the_journal_and_not_from_the_view(tmp_path: Path) -> None:
    path, made = tmp_path / "journal.tree", Made(40)
    tree = ProofTree(made, path)
    tree.extend()
    known = Root(33, tree.root(33))
    tree.close()
    raw = bytearray(path.read_bytes())
    at = raw.index(made.root(32))  # one of the two subtrees that the known root is made of
    raw[at : at + 32] = bytes(reversed(raw[at : at + 32]))
    path.write_bytes(raw)
    tree = ProofTree(made, path)
    assert tree.size == 40, "its last leaf is right"
    assert tree.root_from(known, 40) == made.root(40)
    with pytest.raises(ForkError, match="do not have the root"):
        tree.root_from(Root(33, made.root(32)), 40)
    with pytest.raises(ForkError, match="fewer than"):
        tree.root_from(known, 41)
    tree.close()


def test_the_view_of_another_journal_or_workspace_or_one_that_was_cut_is_made_again(tmp_path: Path) -> None:
    path, made = tmp_path / "journal.tree", Made(40)
    ProofTree(made, path).extend()
    for other in (Made(40, seed=1), Made(40, workspace="other"), Made(9)):
        tree = ProofTree(other, path)
        assert tree.size == 0
        tree.extend()
        assert tree.root() == other.root(tree.size)
        tree.close()


def test_a_hole_in_the_journal_is_said_and_the_entries_before_it_are_kept(tmp_path: Path) -> None:
    made = Made(20)
    del made.rows[12]
    tree = ProofTree(made, tmp_path / "journal.tree")
    with pytest.raises(TreeIncompleteError, match="no entry at position \\[13\\]"):
        tree.extend()
    assert tree.root() == made.root(12)
    with pytest.raises(OutOfRangeError):
        tree.inclusion(13)
    with pytest.raises(OutOfRangeError):
        tree.root(13)
    tree.close()


def test_a_view_that_cannot_be_kept_is_in_memory(tmp_path: Path) -> None:
    made = Made(50)
    tree = ProofTree(made, tmp_path / "missing" / "journal.tree")
    tree.extend()
    assert tree.inclusion(7).holds()
    assert tree.rebuild() == 50
    assert tree.root() == made.root(50)


def test_two_that_keep_one_view_write_the_same(tmp_path: Path) -> None:
    path, made = tmp_path / "journal.tree", Made(30)
    one, two = ProofTree(made, path), ProofTree(made, path)
    one.extend()
    made.grow(30)
    two.extend()
    one.extend()
    assert one.root() == two.root() == made.root(60)
    alone = ProofTree(made, tmp_path / "alone.tree")
    alone.extend()
    assert path.read_bytes() == (tmp_path / "alone.tree").read_bytes()
    for each in (one, two, alone):
        each.close()


def test_another_merkle_tree_has_the_same_roots_and_proofs() -> None:
    pymerkle = pytest.importorskip("pymerkle", reason="the test oracle `pymerkle` is not installed")
    made, oracle = Made(130), pymerkle.InmemoryTree(algorithm="sha256")
    tree = ProofTree(made)
    tree.extend()
    for size, row in enumerate(made.rows, start=1):
        # What is hashed for a leaf begins with the byte that RFC 6962 has there, which the oracle adds itself.
        name, workspace = row[1].encode(), b"default"
        oracle.append_entry(
            b"loom/leaf/v1\n"
            + len(workspace).to_bytes(8)
            + workspace
            + row[0].to_bytes(8)
            + len(name).to_bytes(8)
            + name
            + row[2].to_bytes(8)
            + row[3]
        )
        assert oracle.get_root(size) == tree.root(size)
    for position in range(1, 131, 3):
        path = [bytes.fromhex(each) for each in oracle.prove_inclusion(position, 130).serialize()["path"]]
        assert tree.inclusion(position).path == tuple(path[1:])


@pytest.mark.parametrize(("workspace", "position", "journal", "sequence", "entry_hash", "leaf"), GOLDEN_LEAVES)
def test_the_bytes_of_a_leaf_are_as_written_down(
    workspace: str, position: int, journal: str, sequence: int, entry_hash: bytes, leaf: str
) -> None:
    assert leaf_of(workspace, position, journal, sequence, entry_hash).hex() == leaf
    framed = b"".join(
        len(each.encode()).to_bytes(8) + each.encode() + number.to_bytes(8)
        for each, number in ((workspace, position), (journal, sequence))
    )
    assert hashlib.sha256(b"\x00loom/leaf/v1\n" + framed + entry_hash).hexdigest() == leaf


def test_a_view_has_its_journals_name_and_each_subtree_once_however_often_it_was_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loom.proof.tree._FLUSH_BYTES", 128)
    path, made = tmp_path / "journal.tree", Made(75)
    tree = ProofTree(made, path)
    for until in (40, 30, 70, 75):
        assert tree.extend(until=until) == max(until, 40)
        assert (tree._kept, bytes(tree._new)) == (2 * tree.size - tree.size.bit_count(), b"")
    raw = path.read_bytes()
    assert raw[:64] == (b"loom/tree/v1\n" + hashlib.sha256(b"default").digest()).ljust(64, b"\0")
    assert len(raw) == 64 + 32 * tree._kept
    again = ProofTree(made, path)
    assert (again.size, again.root()) == (75, made.root(75))
    again.close()
    tree.close()


def test_names_of_journals_are_kept_up_to_a_bound_and_the_tree_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    named = tree_module._named

    def noted(name: str) -> bytes:
        asked.append(name)
        return named(name)

    monkeypatch.setattr(tree_module, "_named", noted)
    monkeypatch.setattr(tree_module, "_FLUSH_BYTES", 1)
    made, counts = Made(70), []
    for most in (7, 2):
        monkeypatch.setattr(tree_module, "_MOST_NAMES", most)
        asked.clear()
        tree = ProofTree(made)
        tree.extend()
        assert tree.root() == made.root(70)
        counts.append(len(asked))
    assert counts == [1 + 7, 1 + 70], "of 7 journals, each is asked once, and each time where no more than 2 are kept"


def test_what_the_disk_does_not_take_is_in_memory_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, made = tmp_path / "journal.tree", Made(60)
    tree = ProofTree(made, path)
    tree.extend(until=20)
    with monkeypatch.context() as full:
        full.setattr("loom.proof.tree.os.pwrite", lambda *_: 0)
        tree.extend(until=40)
    assert all(tree.root(size) == made.root(size) for size in range(41))
    tree.extend()
    tree.close()
    again = ProofTree(made, path)
    assert (again.size, again.root()) == (60, made.root(60))
    again.close()


def test_a_view_that_cannot_be_put_in_place_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("the disk is read-only")

    path, made, opened = tmp_path / "journal.tree", Made(20), len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as broken:
        broken.setattr("loom.proof.tree.os.replace", refuse)
        tree = ProofTree(made, path)
        assert tree.extend() == 20
    assert tree.root() == made.root(20)
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".part"] == []
    assert len(os.listdir("/proc/self/fd")) == opened
    assert tree.rebuild() == 20
    assert len(os.listdir("/proc/self/fd")) == opened + 1
    assert path.stat().st_size == 64 + 32 * 38
    tree.close()
    tree.close()
    assert len(os.listdir("/proc/self/fd")) == opened
    assert (tree.size, tree.extend(), tree.root()) == (0, 20, made.root(20))


def test_an_empty_view_is_kept_for_those_that_have_it_open(tmp_path: Path) -> None:
    path, made = tmp_path / "journal.tree", Made(0)
    one = ProofTree(made, path)
    before = path.stat().st_ino
    two = ProofTree(made, path)
    assert path.stat().st_ino == before
    made.grow(5)
    assert (one.extend(), two.extend(), two.root()) == (5, 5, made.root(5))
    one.close()
    two.close()


def test_what_is_not_in_the_tree_is_refused() -> None:
    made = Made(10)
    tree = ProofTree(made)
    tree.extend()
    assert tree.root(0) == Frontier().root
    assert tree.consistency(0) == tree.consistency(10) == ()
    assert tree.leaf(1) == leaf_of("default", *made.rows[0])
    assert tree.leaf(10) == leaf_of("default", *made.rows[9])
    refused: list[Callable[[], object]] = [
        *(lambda: tree.root(-1), lambda: tree.root(11), lambda: tree.leaf(0), lambda: tree.leaf(11)),
        *(lambda: tree.inclusion(3, 11), lambda: tree.inclusion(3, -1), lambda: tree.consistency(3, 11)),
        *(lambda: tree.consistency(-1), lambda: tree.consistency(11, 10)),
        *(lambda: tree.node(0, 10), lambda: tree.node(4, 0)),
    ]
    for each in refused:
        with pytest.raises(OutOfRangeError):
            each()
    with pytest.raises(OutOfRangeError, match=r"size \[-1\] is not that of a tree"):
        tree.inclusion(3, -1)
    with pytest.raises(OutOfRangeError, match=r"size \[11\] is not that of a tree"):
        tree.consistency(3, 11)


class Restless(Made):
    """A journal whose entries are others each time they are read."""

    def after(self, position: int, *, limit: int = 2**63 - 1) -> Any:
        return iter([(*row[:3], self._random.randbytes(32)) for row in super().after(position, limit=limit)])


def counted(tree: ProofTree, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which each rebuilding of a tree adds."""
    rebuilt: list[int] = []
    rebuild = tree.rebuild
    monkeypatch.setattr(tree, "rebuild", lambda: rebuilt.append(rebuild()))
    return rebuilt


def test_a_journal_that_changes_while_it_is_read_gives_no_proof_and_is_read_again_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tree = ProofTree(Restless(12))
    tree.extend()
    rebuilt = counted(tree, monkeypatch)
    with pytest.raises(TreeIncompleteError, match=r"position \[5\] changes"):
        tree.inclusion(5)
    assert rebuilt == [12, 12]
    with pytest.raises(ForkError):
        tree.root_from(Root(6, bytes(32)), 12)
    assert rebuilt == [12] * 4
    monkeypatch.setattr(tree, "node", lambda level, index: os.urandom(32))
    with pytest.raises(TreeIncompleteError, match=r"tree of \[12\] does not fit that of \[5\]"):
        tree.consistency(5)
    assert rebuilt == [12] * 6


def test_a_root_follows_from_nothing_from_itself_and_from_any_root_before_it(tmp_path: Path) -> None:
    path, made = tmp_path / "journal.tree", Made(40)
    for known in (None, Root(0, made.root(0)), Root(1, made.root(1)), Root(20, made.root(20)), Root(30, made.root(30))):
        assert ProofTree(made).root_from(known, 30) == made.root(30)
    tree = ProofTree(made, path)
    tree.extend()
    assert tree.root_from(Root(10, made.root(10)), 20) == made.root(20)
    with pytest.raises(ForkError, match=r"the first \[0\] entries"):
        tree.root_from(None, 41)
    raw = bytearray(path.read_bytes())
    at = raw.index(leaf_of("default", *made.rows[24]))
    raw[at : at + 32] = bytes(32)
    path.write_bytes(raw)
    assert tree.root_from(Root(16, made.root(16)), 25) == made.root(25) == tree.root(25), "the view was made again"
    del made.rows[14]
    with pytest.raises(TreeIncompleteError, match=r"no entry at position \[15\]"):
        tree.root_from(Root(10, made.root(10)), 20)
    tree.close()


def test_no_root_follows_from_a_journal_that_lost_its_tail_after_the_view_was_made() -> None:
    made = Made(40)
    tree = ProofTree(made)
    tree.extend()
    whole = tree.root()
    known = Root(10, made.root(10))
    del made.rows[30:]
    with pytest.raises(ForkError, match=r"or it has fewer than \[40\]"):
        tree.root_from(known, 40)
    assert (tree.size, tree.root()) == (30, made.root(30)), "the view was made again of what is left"
    assert whole != tree.root()


async def test_the_tree_of_a_node_is_read_from_its_server_and_that_of_a_file_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await filled(path, {"agent/1": 5})
    reader = Reader(path)
    of_file = tree_opener(reader, JournalFiles(path), "default")()
    of_node = tree_opener(reader, NodeFiles(tmp_path, PostgresUrl.parse("postgresql://localhost/loom")), "default")()
    assert (of_file.extend(), await asyncio.to_thread(of_node.extend)) == (5, 5)
    assert of_file.root() == of_node.root()
    assert type(of_node._leaves) is ReaderLeaves
    for tree in (of_file, of_node):
        tree.close()
    await reader.close()


@pytest.mark.parametrize("position", [0, 4])
def test_a_leaf_and_a_subtree_that_are_not_in_the_tree_are_refused(position: int) -> None:
    tree = ProofTree(Made(3))
    tree.extend()
    with pytest.raises(OutOfRangeError, match="is not in the tree"):
        tree.leaf(position)
    with pytest.raises(OutOfRangeError, match=r"subtree \[5, 0\] is not in the tree"):
        tree.node(5, 0)
