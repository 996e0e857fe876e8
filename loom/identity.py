"""Names and ids: what a name may look like, where a name comes from, which ids are derived and which are new."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import threading
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from loom.errors import InvalidNameError, OutOfRangeError

__all__ = [
    "CLAIMED",
    "FORWARDED",
    "Access",
    "By",
    "Edge",
    "Identity",
    "JournalName",
    "actor_type_of",
    "check_limit",
    "check_person",
    "check_workspace",
    "derived_id",
    "folded",
    "is_self",
    "journal_name",
    "new_id",
    "parse_journal_name",
    "random_bytes",
    "same_person",
    "short",
]

Access: TypeAlias = Literal["reader", "auditor", "operator", "approver", "admin"]
"""What a session or an API key may do: everyone reads, an auditor also in SQL; an admin may do all."""

CLAIMED = "claimed"
"""The source of a name that nothing has checked: it is what was typed."""

FORWARDED = "forwarded"
"""The source of a name that another node of the cluster established: `forwarded:<node>/<source>`."""

_SYSTEM = "system"
_SHARED = frozenset({"api_key", "claimed", "invitation", "oidc"})
"""Sources that mean the same on every node; an account or a gateway is that of one machine."""

_ACTOR_TYPE = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*\Z")
_WORKSPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_MAX_TYPE = 64
_MAX_KEY = 200
_SHORT = 12


@dataclass(frozen=True, slots=True)
class Identity:
    """In whose name something is done, where that name was established, and which way it came in.

    `source` is `api_key:<id>`, `os_user:<uid>`, `invitation:<id>`, `oidc:<issuer>/<subject>`, `proxy:<name>`,
    `claimed`, `system` for loom itself, `forwarded:<node>/<source>` where another node passed it on, or None in what
    was written before sources were kept. `via` is `http`, `socket`, `shell`, `python`, or `code` for what comes with
    registered code.
    """

    name: str
    source: str | None = CLAIMED
    via: str | None = "python"

    @classmethod
    def of(cls, by: By | None, *, via: str = "python", what: str = "by") -> Identity:
        """Return who is meant; a plain name is claimed. Raises `InvalidNameError` for a blank or missing name."""
        if isinstance(by, Identity):
            check_person(by.name, what=what)
            return by
        return cls(check_person(by, what=what), CLAIMED, via)

    @classmethod
    def of_system(cls, name: str) -> Identity:
        """Return the identity of a part of loom that acts by itself."""
        return cls(check_person(name), _SYSTEM, None)

    def written(self, field: str = "by") -> dict[str, Any]:
        """Return the fields of a new entry that names this person in `field`.

        A name whose source was not kept, as a turn of an earlier loom may have it, is written as claimed.
        """
        return {field: self.name, "identity_source": self.source or CLAIMED, "via": self.via}

    def forwarded(self, *, by: str) -> Identity:
        """Return it as it is known on another node, to which the node `by` passes it on; once forwarded it stays so."""
        source = self.source or CLAIMED
        if source.partition(":")[0] == FORWARDED:
            return self
        return Identity(self.name, f"{FORWARDED}:{by}/{source}", self.via)

    @property
    def established(self) -> str:
        """The source that counts: of a forwarded name what its node established, where that means the same here."""
        source = self.source or CLAIMED
        kind, _, rest = source.partition(":")
        inner = rest.partition("/")[2] if kind == FORWARDED else ""
        return inner if inner.partition(":")[0] in _SHARED else source

    @property
    def brief(self) -> str:
        """The name with the kind of its source, for a narrow column."""
        return f"{self.name} ({'source not recorded' if self.source is None else self.source.partition(':')[0]})"

    def __str__(self) -> str:
        """Return the name with its source, as people read it: `robin (claimed, via socket)`."""
        source = "source not recorded" if self.source is None else self.source
        return f"{self.name} ({source}{f', via {self.via}' if self.via else ''})"


By: TypeAlias = str | Identity
"""In whose name something is done: an established identity, or a plain name, which is claimed."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a name came in, and the account at the other end where the operating system says which it is.

    `uid` counts if accounts other than the owner's may connect. `account` is any account, the owner's included.
    """

    via: str
    uid: int | None = None
    account: int | None = None

    def identity(self, name: str) -> Identity:
        """Return what is established of a name: it is the account's own, and not the account that runs loom."""
        if self.uid is not None and self.uid not in (os.getuid(), os.geteuid()) and name == _account(self.uid):
            return Identity(name, f"os_user:{self.uid}", self.via)
        return Identity(name, CLAIMED, self.via)

    def reader(self, name: str) -> Identity:
        """Return what is established of the name of a person who is to open what is sealed.

        Readers are named in the config one by one, so that the account that runs loom may be one of them.
        """
        if self.account is not None and name == _account(self.account):
            return Identity(name, f"os_user:{self.account}", self.via)
        return self.identity(name)


def _account(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


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


@lru_cache(maxsize=8_192)
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
    """Return the name of a person; a blank or missing one is refused."""
    if name is None or not name.strip():
        raise InvalidNameError(f"{what} [{name!r}] is empty; expected a person's name: pass one")
    return _check_text(name, what=what, longest=_MAX_KEY)


def check_limit(limit: int) -> int:
    """Return how many items a caller wants at most; fewer than one is an `OutOfRangeError`.

    SQLite takes a negative limit for none, and a slice takes it for a distance from the end.
    """
    if limit < 1:
        raise OutOfRangeError(f"limit is [{limit}]; expected [1 or more]: ask for at least one")
    return limit


def same_person(one: By, other: By) -> bool:
    """Tell whether two names are one person's, however they are written (NFKC, without regard to case)."""
    return folded(one) == folded(other)


def is_self(by: By, *subjects: str | None) -> bool:
    """Tell whether a name is a subject's own; an actor's is also its journal's, `<actor-type>/<key>`."""
    name = by.name if isinstance(by, Identity) else by
    return any(
        same_person(each, subject) for subject in subjects if subject for each in (name, name.rpartition("/")[2])
    )


def folded(by: By) -> str:
    """Return a name as it is compared: NFKC, without regard to case."""
    name = by.name if isinstance(by, Identity) else by
    # Folding can undo a normal form, so that it is normalised once more (Unicode 15, section 3.13, D147).
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def derived_id(domain: str, *parts: str) -> str:
    """Return the SHA-256, as 64 hex digits, of length-prefixed parts: the same parts give the same id."""
    pieces = [f"loom/{domain}/v1\n".encode()]
    for part in parts:
        raw = part.encode()
        pieces += (len(raw).to_bytes(8, "big"), raw)
    return hashlib.sha256(b"".join(pieces)).hexdigest()


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


random_bytes = _entropy.take
"""Returns random bytes of the operating system's, so many as are asked for."""


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
