"""The Merkle tree against the definitions of RFC 6962, written down again as they are there."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.errors import OutOfRangeError
from loom.journal.merkle import (
    EMPTY_ROOT,
    Frontier,
    Node,
    consistency,
    inclusion,
    is_consistent,
    is_included,
    leaf_of,
    node_of,
    root_of,
)

# The eight inputs of the reference implementation's test, and the roots of the trees of 1 to 8 of them.
KNOWN_INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
KNOWN_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(b"\x00%d" % number).digest() for number in range(count)]


def nodes_of(found: list[bytes]) -> Node:
    whole: dict[tuple[int, int], bytes] = {}
    Frontier(lambda level, index, hash_: whole.__setitem__((level, index), hash_)).add_all(found)
    return lambda level, index: whole[level, index]


def split(size: int) -> int:
    return max(1 << power for power in range(size.bit_length()) if 1 << power < size)


def mth(data: list[bytes]) -> bytes:
    """2.1: the hash of a list, of leaves that are hashed already."""
    if not data:
        return hashlib.sha256(b"").digest()
    return data[0] if len(data) == 1 else node_of(mth(data[: split(len(data))]), mth(data[split(len(data)) :]))


def path(index: int, data: list[bytes]) -> list[bytes]:
    """2.1.1: the audit path."""
    if len(data) == 1:
        return []
    k = split(len(data))
    if index < k:
        return [*path(index, data[:k]), mth(data[k:])]
    return [*path(index - k, data[k:]), mth(data[:k])]


def subproof(first: int, data: list[bytes], *, complete: bool) -> list[bytes]:
    """2.1.2: the consistency proof."""
    if first == len(data):
        return [] if complete else [mth(data)]
    k = split(len(data))
    if first <= k:
        return [*subproof(first, data[:k], complete=complete), mth(data[k:])]
    return [*subproof(first - k, data[k:], complete=False), mth(data[:k])]


def test_the_roots_are_those_that_other_implementations_publish() -> None:
    tree = Frontier()
    assert tree.root == EMPTY_ROOT
    for known, root in zip(KNOWN_INPUTS, KNOWN_ROOTS, strict=True):
        tree.add(hashlib.sha256(b"\x00" + bytes.fromhex(known)).digest())
        assert tree.root.hex() == root


def test_a_leaf_frames_its_fields_so_that_no_byte_can_move_between_them() -> None:
    entry_hash = bytes(range(32))
    expected = b"\x00loom/leaf/v1\n" + b"".join(
        (
            (2).to_bytes(8, "big") + b"ws",
            (7).to_bytes(8, "big"),
            (3).to_bytes(8, "big") + b"a/b",
            (4).to_bytes(8, "big"),
            entry_hash,
        )
    )
    assert leaf_of("ws", 7, "a/b", 4, entry_hash) == hashlib.sha256(expected).digest()
    assert leaf_of("wsa", 7, "/b", 4, entry_hash) != leaf_of("ws", 7, "a/b", 4, entry_hash)


@pytest.mark.parametrize("size", range(40))
def test_roots_and_proofs_are_those_of_the_definition(size: int) -> None:
    found = leaves(size)
    node, root = nodes_of(found), mth(found)
    assert root_of(size, node) == root
    for index in range(size):
        proof = inclusion(index, size, node)
        assert proof == path(index, found)
        assert is_included(found[index], index, size, proof, root)
    for first in range(1, size + 1):
        proof = consistency(first, size, node)
        assert proof == subproof(first, found, complete=True)
        assert is_consistent(first, size, proof, mth(found[:first]), root)
    assert is_consistent(0, size, consistency(0, size, node), EMPTY_ROOT, root)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(2, 300), seed=st.integers(0, 2**32))
def test_a_forged_proof_is_never_accepted(size: int, seed: int) -> None:
    """Changed, shortened, lengthened and swapped proofs, of other leaves, places, sizes and roots."""
    chance, found = random.Random(seed), leaves(size)
    node, root = nodes_of(found), mth(found)
    index, first = chance.randrange(size), chance.randrange(1, size)
    proof = inclusion(index, size, node)
    other = (index + chance.randrange(1, size)) % size
    assert not is_included(found[other], index, size, proof, root)
    assert not is_included(found[index], other, size, proof, root)
    assert not is_included(found[index], index, size, proof, mth(found[:-1]))
    assert not any(is_included(found[index], each, size, proof, root) for each in (-1, size, size + index))
    for forged in _forged(proof, chance):
        assert not is_included(found[index], index, size, forged, root)
    between, shorter = consistency(first, size, node), mth(found[:first])
    assert not is_consistent(first, size, between, root, shorter)
    assert not is_consistent(size, first, between, shorter, root)
    assert not is_consistent(first, size, between, mth(found[first:]), root)
    assert not is_consistent(first, first, [], shorter, root)
    for forged in _forged(between, chance):
        assert not is_consistent(first, size, forged, shorter, root)


def _forged(proof: list[bytes], chance: random.Random) -> list[list[bytes]]:
    place = chance.randrange(len(proof))
    flipped = bytearray(proof[place])
    flipped[chance.randrange(32)] ^= 1 << chance.randrange(8)
    forged = [
        [*proof[:place], bytes(flipped), *proof[place + 1 :]],
        proof[:place] + proof[place + 1 :],
        [*proof, proof[place]],
        [*proof[:place], EMPTY_ROOT, *proof[place:]],
    ]
    turned = proof[::-1]
    return forged if turned == proof else [*forged, turned]


def test_what_is_not_in_a_tree_has_no_proof() -> None:
    node = nodes_of(leaves(5))
    for index, size in ((5, 5), (-1, 5), (0, 0)):
        with pytest.raises(OutOfRangeError):
            inclusion(index, size, node)
    with pytest.raises(OutOfRangeError):
        consistency(4, 3, node)


def test_no_proof_is_too_short_or_of_a_leaf_after_the_last() -> None:
    [leaf] = leaves(1)
    assert is_included(leaf, 0, 1, [], leaf)
    assert not is_included(leaf, 1, 1, [], leaf)
    root = mth(leaves(5))
    assert not is_consistent(3, 5, [], mth(leaves(3)), root)
    assert not is_consistent(0, 5, [], root, root)
    assert not is_consistent(0, 5, [root], EMPTY_ROOT, root)


def test_a_tree_is_taken_up_from_an_edge_that_fits_its_size() -> None:
    found = leaves(5)
    tree = Frontier.taken_up(4, [mth(found[:4])])
    tree.add(found[4])
    assert (tree.size, tree.root) == (5, mth(found))
    for edge in ([], [mth(found[:4]), found[4]]):
        with pytest.raises(OutOfRangeError, match=r"is not of \[4\] leaves"):
            Frontier.taken_up(4, edge)


def test_a_tree_is_taken_up_with_one_subtree_for_each_bit_of_its_size() -> None:
    with pytest.raises(OutOfRangeError, match=r"edge of \[1\] subtrees is not of \[3\] leaves"):
        Frontier.taken_up(3, [EMPTY_ROOT])


def test_a_proof_without_any_hash_shows_nothing_of_a_tree_that_is_not_whole() -> None:
    assert not is_consistent(3, 5, [], EMPTY_ROOT, EMPTY_ROOT)
