"""The bytes that are hashed are final: a golden file holds them, and a second reading of the format agrees with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.journal.chain import HASH_BYTES, SALT_BYTES, Header, body_digest, entry_hash, genesis

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("chain.json").read_text(encoding="utf-8"))

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NUMBER = st.integers(0, 2**63 - 1)
HEADERS = st.builds(
    Header,
    workspace=TEXT,
    journal=TEXT,
    kind=TEXT,
    command_id=st.none() | TEXT,
    policy_hash=st.none() | st.binary(min_size=32, max_size=32),
    sequence=NUMBER,
    position=NUMBER,
    schema_version=NUMBER,
    epoch=NUMBER,
    recorded_at_us=st.integers(-(2**63), 2**63 - 1),
    clock_back_us=NUMBER,
)


def header(of: dict[str, Any]) -> Header:
    policy = of["policy_hash"]
    return Header(**{**of, "policy_hash": None if policy is None else bytes.fromhex(policy)})


def fields_of(hashed: bytes) -> list[bytes | None]:
    """Read the length-prefixed fields back, as a stranger would who knows only the description of the format."""
    assert hashed.startswith(b"loom/entry/v1\n")
    fields: list[bytes | None] = []
    rest = hashed[len(b"loom/entry/v1\n") : -64]
    while rest:
        length, rest = int.from_bytes(rest[:8], "big"), rest[8:]
        if length == 2**64 - 1:
            fields.append(None)
        else:
            fields.append(rest[:length])
            rest = rest[length:]
    return fields


@pytest.mark.parametrize("chain", GOLDEN["chains"], ids=lambda chain: chain["journal"])
def test_the_golden_chains_hash_to_what_they_always_did(chain: dict[str, Any]) -> None:
    previous = genesis(chain["workspace"], chain["journal"])
    assert previous.hex() == chain["genesis"] == hashlib.sha256(bytes.fromhex(chain["genesis_bytes"])).hexdigest()
    for entry in chain["entries"]:
        digest = body_digest(bytes.fromhex(entry["salt"]), entry["body"].encode())
        assert digest.hex() == entry["body_digest"]
        previous = entry_hash(header(entry["header"]), digest, previous)
        assert previous.hex() == entry["entry_hash"]


@pytest.mark.parametrize("chain", GOLDEN["chains"], ids=lambda chain: chain["journal"])
def test_the_golden_bytes_are_the_fields_in_their_order(chain: dict[str, Any]) -> None:
    for entry in chain["entries"]:
        hashed = bytes.fromhex(entry["hashed_bytes"])
        assert hashlib.sha256(hashed).hexdigest() == entry["entry_hash"]
        of = header(entry["header"])
        texts = [None if text is None else text.encode() for text in of[:4]]
        numbers = [number.to_bytes(8, "big", signed=True) for number in of[5:]]
        assert fields_of(hashed) == [*texts, of.policy_hash, *numbers]
        assert hashed[-64:-32].hex() == entry["body_digest"]


@given(HEADERS, HEADERS)
def test_two_headers_have_one_hash_only_if_they_are_equal(one: Header, other: Header) -> None:
    digest, previous = b"d" * 32, b"p" * 32
    assert (entry_hash(one, digest, previous) == entry_hash(other, digest, previous)) == (one == other)


@given(HEADERS, st.data())
def test_every_field_of_a_header_is_hashed(one: Header, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(Header._fields))
    other = one._replace(**{name: getattr(data.draw(HEADERS), name)})
    same = entry_hash(one, b"d" * 32, b"p" * 32) == entry_hash(other, b"d" * 32, b"p" * 32)
    assert same == (one == other)


def test_text_cannot_move_from_one_field_to_the_next() -> None:
    assert genesis("default", "a/b") != genesis("defaulta", "/b")
    hashes = {entry["entry_hash"] for chain in GOLDEN["chains"] for entry in chain["entries"]}
    assert len(hashes) == sum(len(chain["entries"]) for chain in GOLDEN["chains"])


@given(HEADERS)
def test_an_entry_of_body_scheme_2_is_hashed_in_a_domain_of_its_own_with_its_scheme(one: Header) -> None:
    def field(raw: bytes | None) -> bytes:
        return b"\xff" * 8 if raw is None else len(raw).to_bytes(8, "big") + raw

    digest, previous = b"d" * HASH_BYTES, b"p" * HASH_BYTES
    texts = [None if text is None else text.encode() for text in one[:4]]
    numbers = [number.to_bytes(8, "big", signed=True) for number in one[5:]]
    fields = b"".join(map(field, [*texts, one.policy_hash, *numbers, (2).to_bytes(8, "big")]))
    hashed = b"loom/entry/v2\n" + fields + digest + previous
    assert entry_hash(one, digest, previous, scheme=2) == hashlib.sha256(hashed).digest()


def test_hashes_and_salts_have_one_length() -> None:
    assert (HASH_BYTES, SALT_BYTES) == (32, 16)
