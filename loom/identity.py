"""Names and ids: what a name may look like, and which ids are derived and which are new."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from loom.errors import InvalidNameError, OutOfRangeError

__all__ = [
    "JournalName",
    "actor_type_of",
    "check_limit",
    "check_person",
    "check_workspace",
    "derived_id",
    "journal_name",
    "new_id",
    "parse_journal_name",
    "random_bytes",
    "same_person",
    "short",
]

_ACTOR_TYPE = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")
_WORKSPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_MAX_TYPE = 64
_MAX_KEY = 200
_SHORT = 12


class JournalName(NamedTuple):
    """The two halves of a journal's name, `<actor-type>/<key>`."""

    actor_type: str
    key: str


def actor_type_of(class_name: str) -> str:
    """Return the actor type of a class by its name: `DiscountAgent` is `discount-agent`."""
    return _WORD_BREAK.sub("-", class_name).replace("_", "-").strip("-").lower()


def journal_name(actor_type: str, key: str) -> str:
    """Return `<actor-type>/<key>` after checking both halves; raise `InvalidNameError`."""
    if len(actor_type) > _MAX_TYPE or not _ACTOR_TYPE.match(actor_type):
        raise InvalidNameError(
            f"actor type [{actor_type!r}] is not a name; expected [a-z, 0-9 and single dashes, at most {_MAX_TYPE}]: "
            "set actor_type on the class"
        )
    _check_text(key, what="key", longest=_MAX_KEY)
    if "/" in key:
        raise InvalidNameError(
            f"key [{key!r}] contains a slash; expected one without, as journals are named <actor-type>/<key>: "
            "replace the slash, for example by a colon"
        )
    return f"{actor_type}/{key}"


def parse_journal_name(name: str) -> JournalName:
    """Return the two halves of a journal's name; raise `InvalidNameError` if it has none."""
    actor_type, slash, key = name.partition("/")
    if not slash:
        raise InvalidNameError(f"journal [{name!r}] is not a name; expected [<actor-type>/<key>]: add the missing half")
    journal_name(actor_type, key)
    return JournalName(actor_type, key)


def check_workspace(name: str) -> str:
    """Return the name of a workspace if it is safe as the name of a directory."""
    if not _WORKSPACE.match(name) or ".." in name:
        raise InvalidNameError(
            f"workspace [{name!r}] is not a name; expected [letters, digits, _ . -, at most 64, no ..]: choose another"
        )
    return name


def check_person(name: str | None, *, what: str = "by") -> str:
    """Return the name of a person if there is one in it; a blank or missing one is refused."""
    if name is None or not name.strip():
        raise InvalidNameError(f"{what} [{name!r}] is nobody; expected the name of a person: say who does this")
    return _check_text(name, what=what, longest=_MAX_KEY)


def check_limit(limit: int) -> int:
    """Return how many items a caller wants at most; fewer than one is an `OutOfRangeError`.

    SQLite takes a negative limit for none, and a slice takes it for a distance from the end.
    """
    if limit < 1:
        raise OutOfRangeError(f"limit is [{limit}]; expected [1 or more]: ask for at least one")
    return limit


def derived_id(domain: str, *parts: str) -> str:
    """Return the SHA-256, as 64 hex digits, of length-prefixed parts: the same parts give the same id."""
    digest = hashlib.sha256(f"loom/{domain}/v1\n".encode())
    for part in parts:
        raw = part.encode()
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()


class _Entropy(threading.local):
    """Random bytes of the system's, fetched by the page: a system call for every sixteen is most of what a salt costs.

    Each thread has a page of its own.
    """

    _PAGE = 4_096

    def __init__(self) -> None:
        self._page = b""
        self._used = 0

    def take(self, size: int) -> bytes:
        """Return bytes that were never returned before."""
        start = self._used
        if start + size > len(self._page):
            self._page, start = os.urandom(max(self._PAGE, size)), 0
        self._used = start + size
        return self._page[start : start + size]

    def forget(self) -> None:
        """Throw away what is left of the page: a forked child must not give out what its parent does."""
        self._page = b""


_entropy = _Entropy()
os.register_at_fork(after_in_child=_entropy.forget)


def random_bytes(size: int) -> bytes:
    """Return random bytes of the operating system's."""
    return _entropy.take(size)


def new_id(
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000, random: Callable[[int], bytes] = random_bytes
) -> str:
    """Return a new UUIDv7 (RFC 9562): unique, and roughly in order of time."""
    value = (now_ms() & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(random(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def short(full: str) -> str:
    """Return the short form of an id, for people only: the full one is what is stored and compared."""
    return full[:_SHORT]


def same_person(one: str, other: str) -> bool:
    """Tell whether two names are one person's, however they are written (NFKC, without regard to case)."""
    return _folded(one) == _folded(other)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _check_text(text: str, *, what: str, longest: int) -> str:
    problem = None
    if not text:
        problem = "is empty"
    elif len(text) > longest:
        problem = f"has {len(text)} characters"
    elif text != text.strip():
        problem = "begins or ends with white space"
    elif not text.isprintable():
        problem = "contains control or invisible characters"
    if problem is None:
        return text
    shown = text if len(text) <= 60 else text[:60] + "…"
    raise InvalidNameError(
        f"{what} [{shown!r}] {problem}; expected [1 to {longest} printable characters]: choose another"
    )
