"""Notes, checkpoints and keys, to the byte: what is one, what is none, and at which bound."""

from __future__ import annotations

import base64
import hashlib

import pytest

from loom.journal.roots import Root
from loom.proof import Checkpoint, Note, NoteError, VerifyingKey
from loom.proof.notes import (
    COSIGNATURE,
    ED25519,
    Signature,
    cosignature,
    cosigned_at_s,
    cosigned_bytes,
    fingerprint_of,
    origin_of,
)

PUBLIC = bytes(range(32))
KEY = VerifyingKey("log", PUBLIC)
WITNESS = VerifyingKey("witness", PUBLIC, COSIGNATURE)
ROOT = base64.b64encode(bytes(32)).decode()


def signed(text: str = "text\n", count: int = 1, *, raw: bytes = b"idid" + bytes(64)) -> str:
    return text + "\n" + f"— log {base64.b64encode(raw).decode()}\n" * count


def refused(text: str, why: str) -> None:
    with pytest.raises(NoteError, match=why):
        Note.parse(text)


def test_a_note_is_its_text_and_its_signatures() -> None:
    one = Signature("log", b"idid", bytes(64))
    found = Note.parse(signed())
    assert found == Note("text\n", (one,))
    other = Signature("other", b"idid", b"x")
    more = found.with_signatures([one, other, other])
    assert more == Note("text\n", (one, other))
    assert Note.parse(str(more)) == more


def test_a_note_has_a_size_and_a_number_of_signatures_at_most() -> None:
    fits = "t" * (65_536 - len(signed("\n"))) + "\n"
    assert Note.parse(signed(fits)).text == fits
    refused(signed("t" + fits), r"has \[65537\] characters")
    assert len(Note.parse(signed(count=64)).signatures) == 64
    refused(signed(count=65), r"has \[65\] signatures")


@pytest.mark.parametrize("sign", [0, 0x1F, 9, 0x7F, 0xD800, 0xDBFF, 0xDFFF], ids=hex)
def test_a_sign_that_no_one_sees_is_in_no_note(sign: int) -> None:
    refused(signed(f"te{chr(sign)}xt\n"), "control characters")
    assert Note.parse(signed("te \ud7ff\ue000~xt\n"))


def test_a_signature_is_longer_than_its_id_and_has_one_form() -> None:
    assert Note.parse(signed(raw=b"ididx")).signatures[0].raw == b"x"
    refused(signed(raw=b"idid"), "too short")
    refused("text\n\n— log aWRpZHh=\n", r"signature \[aWRpZHh=\] has stray bits")
    refused("text\n\n— log aWRpZ=\n", r"signature \[aWRpZ=\] is not base64")
    refused("text\n\nlog aWRpZHg=\n", "is no signature")
    for text in ("text", "\n\n", "text\n\n— log aWRpZHg=", "— log aWRpZHg=\n"):
        refused(text, "no signed note")


def test_a_checkpoint_is_an_origin_a_size_and_a_root() -> None:
    found = Checkpoint.parse(f"log\n12\n{ROOT}\nmore\n")
    assert found == Checkpoint("log", 12, bytes(32), ("more",))
    assert found.seen == Root(12, bytes(32))
    assert str(found) == f"log\n12\n{ROOT}\nmore\n"
    assert Checkpoint.parse(f"log\n0\n{ROOT}\n").size == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"log\n{ROOT}\n", "is no checkpoint"),
        (f"log\n12\n{ROOT}", "is no checkpoint"),
        (f"log\n12\n{ROOT}\n\nmore\n", "is no checkpoint"),
        (f"log\n012\n{ROOT}\n", r"size \[012\]"),
        (f"log\n-1\n{ROOT}\n", r"size \[-1\]"),
        ("log\n12\nAAAA\n", r"has \[3\] bytes"),
        ("log\n12\nA*A=\n", r"root \[A\*A=\] is not base64"),
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str, why: str) -> None:
    with pytest.raises(NoteError, match=why):
        Checkpoint.parse(text)


@pytest.mark.parametrize("key", [KEY, WITNESS])
def test_a_key_is_read_as_it_is_written(key: VerifyingKey) -> None:
    assert VerifyingKey.parse(f" {key}\n") == key
    framed = key.name.encode() + b"\n" + bytes([key.algorithm]) + PUBLIC
    assert key.key_id == hashlib.sha256(framed).digest()[:4]
    assert key.fingerprint == fingerprint_of(PUBLIC) == hashlib.sha256(PUBLIC).hexdigest()


def test_the_log_of_a_workspace_and_the_types_of_keys_have_fixed_names() -> None:
    assert origin_of("a1", "default") == "loom/a1/default"
    assert (ED25519, COSIGNATURE) == (1, 4)


def test_a_key_may_have_a_sign_of_plus_in_its_base64() -> None:
    key = VerifyingKey("log", b"\0\0" + b"\xfb\xef\xbe" * 10)
    assert str(key).count("+") > 2
    assert VerifyingKey.parse(str(key)) == key


def key_of(name: str, raw: bytes, *, key_id: str | None = None) -> str:
    framed = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex()
    return f"{name}+{key_id or framed}+{base64.b64encode(raw).decode()}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("log+00", "is none"),
        (key_of("", bytes([ED25519]) + PUBLIC), "is none"),
        (key_of("log", bytes([2]) + PUBLIC), "not known"),
        (key_of("log", bytes([ED25519]) + PUBLIC + b"x"), "not known"),
        (key_of("log", bytes([ED25519]) + PUBLIC[1:]), "not known"),
        (key_of("log", bytes([ED25519]) + PUBLIC, key_id="00000000"), "has another id"),
        ("log+00000000+A*A=", r"key \[A\*A=\] is not base64"),
    ],
)
def test_what_is_no_key_is_refused(text: str, why: str) -> None:
    with pytest.raises(NoteError, match=why):
        VerifyingKey.parse(text)


def test_a_signature_holds_that_is_of_the_key_the_text_and_the_time() -> None:
    asked: list[tuple[bytes, bytes, bytes]] = []

    def verify(public: bytes, signature: bytes, message: bytes) -> bool:
        asked.append((public, signature, message))
        return signature == b"s" * 64

    own = Signature("log", KEY.key_id, b"s" * 64)
    seen = cosignature(WITNESS, 1_700_000_000, b"s" * 64)
    assert cosigned_at_s(seen) == 1_700_000_000
    note = Note("text\n", (Signature("log", b"else", b"s" * 64), own, seen))
    assert KEY.signature_of(note, verify) == own
    assert WITNESS.signature_of(note, verify) == seen
    assert cosigned_bytes("text\n", 1_700_000_000) == b"cosignature/v1\ntime 1700000000\ntext\n"
    assert asked == [
        (PUBLIC, b"s" * 64, b"text\n"),
        (PUBLIC, b"s" * 64, b"cosignature/v1\ntime 1700000000\ntext\n"),
    ]
    for short in (b"s" * 63, b"s" * 65, b"x" * 64):
        assert KEY.signature_of(Note("text\n", (own._replace(raw=short),)), verify) is None
        assert WITNESS.signature_of(Note("text\n", (seen._replace(raw=bytes(8) + short),)), verify) is None
    assert len(asked) == 4, "one that is too short or too long is not looked at"
