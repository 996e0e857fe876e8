"""Body scheme 2: digested field by field as docs/journal-format.md says, read and verified like any other entry."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
import struct
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.journal import Append, Draft, Entry, draft
from loom.journal.chain import genesis
from loom.journal.export import export_line, export_lines, parse_line, verify_export
from loom.journal.fields import digest_by, fields_digest, fields_of
from loom.journal.sqlite import Reader, SqliteStore
from loom.journal.sqlite.verify import verify
from loom.journal.store import FieldsDraft
from tests.journal.support import PLENTY, NotedEntry, note


class ToldEntry(Entry):
    """An entry whose kind declares that fields can be left out."""

    kind: ClassVar[str] = "test.told"
    redactable: ClassVar[bool] = True

    name: str
    age: int = 3


def root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1, as it is written there."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    half = max(1 << power for power in range(len(leaves).bit_length()) if 1 << power < len(leaves))
    return hashlib.sha256(b"\x01" + root(leaves[:half]) + root(leaves[half:])).digest()


def field(raw: bytes) -> bytes:
    return struct.pack(">Q", len(raw)) + raw


def by_the_page(salt: bytes, fields: Sequence[tuple[str, bytes]]) -> bytes:
    return root(
        [
            hashlib.sha256(
                b"\0" + hmac.new(salt, name.encode(), "sha256").digest() + field(name.encode()) + value
            ).digest()
            for name, value in fields
        ]
    )


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@given(said=st.dictionaries(TEXT, VALUES, max_size=9), indent=st.none() | st.just(1))
def test_the_digest_is_that_of_the_page_for_any_body(said: dict[str, Any], indent: int | None) -> None:
    salt, body = bytes(range(16)), json.dumps(said, indent=indent).encode()
    found = [(each.name, each.value) for each in fields_of(salt, body)]
    assert [name for name, _ in found] == list(said)
    assert {name: json.loads(value) for name, value in found} == said
    assert digest_by(2, salt, body) == by_the_page(salt, found)


def test_known_bodies_have_known_digests() -> None:
    salt = bytes(16)
    assert fields_digest(salt, b"{}") == hashlib.sha256(b"").digest()
    body = b' { "a" : 1 ,"b":[1, 2],\n"\\u00e9":{"x":"}"}} '
    assert [(each.name, each.value) for each in fields_of(salt, body)] == [
        ("a", b"1"),
        ("b", b"[1, 2]"),
        ("é", b'{"x":"}"}'),
    ]
    assert fields_digest(salt, body) == by_the_page(salt, [("a", b"1"), ("b", b"[1, 2]"), ("é", b'{"x":"}"}')])
    assert fields_digest(salt, body) != fields_digest(b"\1" + bytes(15), body)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"1", b"{", b'{"a"}', b'{"a":}', b'{"a":1,}', b'{"a":1}{', b'{"a":1,"a":2}', b"{a:1}", b'{"a":1 2}'],
)
def test_what_is_no_object_has_no_digest_by_fields(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"field|object|Expecting|JSON"):
        fields_of(bytes(16), body)


async def filled(path: Path) -> list[Draft]:
    drafts = [
        note("plain"),
        draft(ToldEntry(name="ada")),
        draft(NotedEntry(text="listed"), command_id="c", redactable=("test.noted",)),
        note("last"),
    ]
    store = await SqliteStore.open(path, workspace="w", options=PLENTY)
    await store.append(Append("a/1", 0, drafts))
    await store.close()
    return drafts


async def test_entries_of_both_schemes_are_written_read_verified_and_exported(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    drafts = await filled(path)
    assert [each.body_scheme for each in drafts] == [1, 2, 2, 1]
    assert isinstance(drafts[1], FieldsDraft)
    assert verify(path).ok
    reader = Reader(path)
    found = [each async for each in reader.read("a/1")]
    lines = [line async for line in export_lines(reader, workspace="w")]
    await reader.close()
    assert [each.body_scheme for each in found] == [1, 2, 2, 1]
    assert found[1].entry == ToldEntry(name="ada")
    assert found[2].plain == {"step": None, "text": "listed"}
    assert verify_export(lines).ok
    assert ['"body_scheme":2' in line for line in lines] == [False, True, True, False]
    assert [parse_line(line)[1].body_scheme for line in lines] == [1, 2, 2, 1]
    assert not verify_export([line.replace('"body_scheme":2', '"body_scheme":1') for line in lines]).ok

    second, previous = found[1], found[0].entry_hash
    numbers = (second.sequence, second.position, second.schema_version, second.epoch)
    packed = b"".join(
        field(struct.pack(">q", each)) for each in (*numbers, second.recorded_at_us, second.clock_back_us, 2)
    )
    names = field(b"w") + field(b"a/1") + field(b"test.told") + b"\xff" * 16
    assert (
        second.entry_hash
        == hashlib.sha256(b"loom/entry/v2\n" + names + packed + second.body_digest + previous).digest()
    )
    assert found[0].entry_hash != genesis("w", "a/1")
    assert export_line(second, workspace="w") == lines[1]


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE entries SET body = CAST(replace(CAST(body AS TEXT), 'ada', 'bob') AS BLOB) WHERE position = 2",
        "UPDATE entries SET body = CAST('[]' AS BLOB) WHERE position = 2",
        "UPDATE entries SET salt = zeroblob(16) WHERE position = 2",
        "UPDATE entries SET body_scheme = 1 WHERE position = 2",
        "UPDATE entries SET body_scheme = 2 WHERE position = 1",
    ],
)
async def test_what_is_changed_of_such_an_entry_is_found(tmp_path: Path, attack: str) -> None:
    path = tmp_path / "journal.db"
    await filled(path)
    with closing(sqlite3.connect(path)) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.execute(attack)
        db.commit()
    assert "TAMPERED" in {each.code for each in verify(path).findings}
