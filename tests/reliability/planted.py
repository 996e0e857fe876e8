"""Secrets of fifty kinds, the forms in which each could be written, and a search for them in what a loom leaves.

Each secret has a core that is random and that nothing else says. What is searched for are the forms of the core, so a
secret is found whatever a writer put around it. Files that hold others in a compressed form are unpacked.
"""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import random
import string
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote, quote_plus

import numpy as np
import numpy.typing as npt

__all__ = ["KINDS", "Planted", "found_in", "planted"]

_ALNUM = string.ascii_letters + string.digits
_UPPER = string.ascii_uppercase + string.digits
_HEX = string.digits + "abcdef"
_BASE64 = _ALNUM + "+/"


class Planted(NamedTuple):
    """A secret as it is given to a loom, and the part of it by which it is found again."""

    kind: str
    value: str
    core: str


class _Kind(NamedTuple):
    """How a kind of secret is written: `{}` is its core, which has so many characters of an alphabet."""

    text: str
    length: int = 32
    alphabet: str = _ALNUM


KINDS: Mapping[str, _Kind] = {
    # keys of services, as their issuers write them
    "aws access key": _Kind("AKIA{}", 16, _UPPER),
    "aws secret key": _Kind("{}", 40, _BASE64),
    "openai key": _Kind("sk-proj-{}", 48),
    "anthropic key": _Kind("sk-ant-api03-{}", 48),
    "google key": _Kind("AIza{}", 35),
    "github token": _Kind("ghp_{}", 36),
    "gitlab token": _Kind("glpat-{}", 20),
    "slack token": _Kind("xoxb-2048-{}", 24),
    "stripe key": _Kind("sk_live_{}", 24),
    "twilio sid": _Kind("SK{}", 32, _HEX),
    "sendgrid key": _Kind("SG.{}", 43),
    "npm token": _Kind("npm_{}", 36),
    "pypi token": _Kind("pypi-AgEIcHlwaS5vcmc{}", 48),
    "azure connection": _Kind("DefaultEndpointsProtocol=https;AccountKey={}==;EndpointSuffix=core.windows.net", 44),
    "api key of a loom": _Kind("loom_0123456789abcdef_{}", 64, _HEX),
    # what is sent to prove who one is
    "bearer token": _Kind("Bearer {}", 40),
    "basic credentials": _Kind("Basic {}", 28),
    "json web token": _Kind("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.{}", 43),
    "oauth code": _Kind("code={}&state=x", 32),
    "refresh token": _Kind("1//0{}", 60),
    "cookie": _Kind("session={}; Path=/; HttpOnly", 32),
    "session id": _Kind("{}", 32, _HEX),
    "form token": _Kind("{}", 43),
    "one-time code": _Kind("otpauth://totp/a?secret={}", 32, string.ascii_uppercase + "234567"),
    "invitation": _Kind("https://loom.example/invitation/{}", 43),
    "oidc client secret": _Kind("{}", 40),
    "webhook secret": _Kind("whsec_{}", 44),
    "signed link": _Kind("https://s3.example/a?X-Amz-Signature={}", 64, _HEX),
    # keys that sign and encrypt
    "private key": _Kind("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", 64),
    "ssh key": _Kind("-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n", 70),
    "age key": _Kind("AGE-SECRET-KEY-1{}", 58, _UPPER),
    "signing key": _Kind("{}=", 43),
    "cluster key": _Kind("{}", 64, _HEX),
    "vault passphrase": _Kind("correct horse {} staple", 20),
    "database key": _Kind("PRAGMA key = '{}'", 32),
    # passwords within other things
    "password": _Kind("{}!", 20),
    "password in a url": _Kind("https://ada:{}@internal.example/path", 20),
    "database url": _Kind("postgresql://loom:{}@db.example:5432/loom", 20),
    "redis url": _Kind("redis://:{}@cache.example:6379/0", 20),
    "line of .env": _Kind("DB_PASSWORD={}", 20),
    "line of .netrc": _Kind("machine example.org login ada password {}", 20),
    "password with signs": _Kind("{}", 20, _ALNUM + "%&<>\"'\\+=/"),
    # what is of a person
    "card number": _Kind("{}", 16, string.digits),
    "account number": _Kind("DE{}", 20, string.digits),
    "email address": _Kind("{}@example.org", 20, string.ascii_lowercase),
    "diagnosis": _Kind("F32.1 {}, moderate", 20, string.ascii_lowercase),
    # beyond ASCII
    "umlauts": _Kind("{}", 20, "äöüßéèàñçøåæ" + string.ascii_lowercase),
    "cyrillic": _Kind("пароль {}", 20, "абвгдежзийклмнопрстуфхц"),
    "han": _Kind("密码 {}", 16, "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往"),
    "emoji": _Kind("{}", 12, "😀😃😄😁😆😅🤣😂🙂🙃😉😊😇🥰😍🤩"),
}
"""Fifty kinds of secrets."""


def planted(dice: random.Random) -> list[Planted]:
    """Return one secret of each kind."""
    made = []
    for kind, (text, length, alphabet) in KINDS.items():
        core = "".join(dice.choices(alphabet, k=length))
        made.append(Planted(kind, text.format(core), core))
    return made


# --- the forms of a text -------------------------------------------------------------------------


def _base64(raw: bytes) -> Iterator[bytes]:
    """Yield what base64 has of bytes, wherever they begin in what was encoded, without what its neighbours change."""
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw)
        whole = (shift + len(raw)) // 3 * 4
        yield coded[-(-shift * 8 // 6) : whole]


def _forms(core: str) -> Iterator[bytes]:
    raw = core.encode()
    yield raw
    yield json.dumps(core)[1:-1].encode()
    yield json.dumps(core, ensure_ascii=False)[1:-1].encode()
    yield ascii(core)[1:-1].encode()
    yield repr(core)[1:-1].encode()
    yield html.escape(core).encode()
    yield html.escape(core).replace("&#x27;", "&#39;").replace("&quot;", "&#34;").encode()
    yield core.encode("ascii", "xmlcharrefreplace")
    yield from (each(core, safe="").encode() for each in (quote, quote_plus))
    yield quote(core, safe="").lower().encode()
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    yield core.encode("utf-16-le")
    for coded in _base64(raw):
        yield coded
        yield coded.translate(bytes.maketrans(b"+/", b"-_"))


def found_in(secrets: Iterable[Planted], sinks: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Return the kind of each secret that is found in a sink, with the name of the sink."""
    forms: dict[bytes, list[tuple[bytes, str]]] = {}
    for each in secrets:
        for form in set(_forms(each.core)):
            forms.setdefault(form[:_BEGINNING], []).append((form, each.kind))
    table = np.zeros(1 << _BITS, dtype=bool)
    table[_slots(b"".join(forms))] = True
    found = set()
    for name, raw in sinks.items():
        for part in (raw, *_unpacked(raw)):
            for at in _candidates(part, table):
                known = forms.get(part[at : at + _BEGINNING], ())
                found |= {(kind, name) for form, kind in known if part.startswith(form, at)}
    return sorted(found)


_BEGINNING, _BITS = 4, 20
"""How many bytes of a form are looked at first, and how many bits a table of them has."""


def _slots(beginnings: bytes) -> npt.NDArray[np.uint32]:
    words = np.frombuffer(beginnings, dtype="<u4")
    slots: npt.NDArray[np.uint32] = (words * np.uint32(2_654_435_761)) >> np.uint32(32 - _BITS)
    return slots


def _candidates(raw: bytes, table: npt.NDArray[np.bool_]) -> Iterator[int]:
    """Yield where some form may begin: eight hundred forms are looked for in tens of megabytes."""
    for shift in range(_BEGINNING):
        whole = (len(raw) - shift) // _BEGINNING * _BEGINNING
        if whole > 0:
            hits = np.flatnonzero(table[_slots(raw[shift : shift + whole])])
            yield from (int(each) * _BEGINNING + shift for each in hits)


def _unpacked(raw: bytes) -> Iterator[bytes]:
    """Yield what is packed in bytes: a file of gzip, or the members of a zip."""
    if raw.startswith(b"\x1f\x8b"):
        yield gzip.decompress(raw)
    elif raw.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            for name in archive.namelist():
                member = archive.read(name)
                yield member
                yield from _unpacked(member)
