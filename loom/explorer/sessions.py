"""Sessions: who is signed in, kept in the memory of the server. The browser has only an id.

A session is named by the SHA-256 of its id, so that what the server holds opens nothing. With each request the
credential is looked at again: a key that was revoked ends its sessions at once. A restart ends all of them.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from loom.explorer.config import ExplorerConfig
from loom.identity import Identity
from loom.telemetry import get_logger
from loom.web.keys import Role

__all__ = ["Credential", "Holder", "Notice", "Session", "Sessions"]

_log = get_logger("loom.explorer")

_HANDLE = 12


class Holder(NamedTuple):
    """Whose a credential is, what it is (`api_key:<id>`), and what its holder may do."""

    name: str
    source: str
    role: Role


Credential: TypeAlias = Callable[[], Holder | None]
"""Says whose a credential is now; None once it is worth nothing."""


class Notice(NamedTuple):
    """What the next page says first: what was done, or why it was not, with what was typed."""

    kind: Literal["done", "refused"]
    text: str
    typed: Mapping[str, str] = {}


@dataclass(slots=True)
class Session:
    """One browser that is signed in."""

    handle: str
    """Names the session in logs and entries; it opens nothing."""
    workspace: str
    credential: Credential
    config: ExplorerConfig
    opened_s: float
    seen_s: float
    notice: Notice | None = field(default=None)

    def identity(self, holder: Holder) -> Identity:
        """Return who acts: the name, from where it was established when the session was opened."""
        return Identity(holder.name, holder.source, f"session:{self.handle}")


class Sessions:
    """All sessions of one server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def open(self, workspace: str, credential: Credential, config: ExplorerConfig) -> str:
        """Open a session, and return its id: it is not kept here."""
        holder = credential()
        if holder is None:
            raise ValueError("a session needs a credential that is worth something")
        new, now = secrets.token_urlsafe(32), self._clock()
        name = _named(new)
        while len(self._sessions) >= config.max_sessions:
            self._end(next(iter(self._sessions)), "replaced")
        session = Session(name[:_HANDLE], workspace, credential, config, now, now)
        self._sessions[name] = session
        _log.info("signed_in", name=holder.name, source=holder.source, session=session.handle, workspace=workspace)
        return new

    def find(self, given: str | None) -> tuple[Session, Holder] | None:
        """Return the session with this id and who is signed in; None for one that has ended."""
        name = _named(given or "")
        session = self._sessions.get(name)
        if session is None:
            return None
        now = self._clock()
        if now - session.seen_s > session.config.session_idle_s:
            self._end(name, "idle")
            return None
        if now - session.opened_s > session.config.session_max_s:
            self._end(name, "expired")
            return None
        holder = session.credential()
        if holder is None:
            self._end(name, "revoked")
            return None
        session.seen_s = now
        self._sessions.move_to_end(name)
        return session, holder

    def lasts(self, given: str | None) -> bool:
        """Tell whether a session is open, for what goes on without a visit: that does not keep it from being idle."""
        session, now = self._sessions.get(_named(given or "")), self._clock()
        return (
            session is not None
            and now - session.seen_s <= session.config.session_idle_s
            and now - session.opened_s <= session.config.session_max_s
            and session.credential() is not None
        )

    def close(self, given: str | None) -> None:
        """End a session, if there is one with this id."""
        name = _named(given or "")
        if name in self._sessions:
            self._end(name, "signed out")

    def __len__(self) -> int:
        return len(self._sessions)

    def _end(self, name: str, why: str) -> None:
        session = self._sessions.pop(name)
        _log.info("signed_out", session=session.handle, workspace=session.workspace, why=why)


def _named(given: str) -> str:
    return hashlib.sha256(f"loom/session/v1\n{given}".encode(errors="replace")).hexdigest()
