"""What the errors of asyncpg and of the network mean, in loom's words. No message contains a password."""

from __future__ import annotations

import ssl
from typing import Any

import asyncpg

from loom.errors import (
    AppendRefusedError,
    ConfigError,
    DiskFullError,
    JournalBusyError,
    JournalCorruptError,
    JournalForeignError,
    JournalReadOnlyError,
    LoomError,
    WriterFencedError,
)
from loom.journal.postgres.url import PostgresUrl

__all__ = ["FENCED", "GUARDED", "explained", "is_of_one_append", "is_unreachable", "state_of"]

FENCED = "LM004"
"""The SQLSTATE with which the schema refuses a writer that was fenced."""

GUARDED = frozenset({"LM001", "LM002", "LM003"})
"""Those with which its guards refuse a statement."""

_UNREACHABLE = (OSError, EOFError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_SHUT = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03"})  # shutdown, crash, starting up, idle for too long
_MOST = 300


def state_of(error: BaseException) -> str:
    """Return the SQLSTATE of an error of the server's, empty where there is none."""
    return str(getattr(error, "sqlstate", None) or "")


def is_unreachable(error: BaseException) -> bool:
    """Tell whether the connection is of no more use, but the server may answer again."""
    state = state_of(error)
    if state:
        return state in _SHUT or state.startswith("08")
    return isinstance(error, _UNREACHABLE) and not isinstance(error, ssl.SSLError)


def is_of_one_append(error: BaseException) -> bool:
    """Tell whether the cause may be one append of a batch: a value, or what a guard or a key refused."""
    state = state_of(error)
    if state:
        return state in GUARDED or state.startswith(("22", "23"))
    return not isinstance(error, _UNREACHABLE) or isinstance(error, asyncpg.exceptions.DataError)


def explained(error: BaseException, url: PostgresUrl, *, writing: bool) -> LoomError:
    """Return the error to raise in place of one that came up over a journal, before any COMMIT."""
    if isinstance(error, LoomError):
        return error
    state, where, said = state_of(error), f"journal [{url}]", _said(error, url)
    nothing = " (nothing was written)" if writing else ""
    if state in ("28P01", "28000"):
        return ConfigError(
            f"{where}: the server refused the user or the password [{said}]; expected an account that may connect: set "
            "PGPASSWORD, or a password file, and look into pg_hba.conf"
        )
    if state == "3D000":
        return ConfigError(
            f"{where}: there is no database [{url.database}]; expected one: make it with `createdb {url.database}`"
        )
    if state == "53100":
        return DiskFullError(
            f"{where}: the disk of the server is full [{said}]; expected room for the entries: make room there and try "
            f"again{nothing}"
        )
    if state == "25006":
        return JournalReadOnlyError(
            f"{where}: the server is a read-only replica [{said}]; expected the primary: name its host{nothing}"
        )
    if state == FENCED:
        return WriterFencedError(
            f"{where}: this process was fenced [{said}]; expected the one writer: another process took over; end this "
            "one, and start it again"
        )
    if state in ("55P03", "57014"):
        return JournalBusyError(
            f"{where} is kept locked by another session [{said}]; expected that writers lock it, and briefly: look "
            f"into pg_stat_activity for one that is idle in a transaction, and try again{nothing}"
        )
    if state.startswith("53"):
        return JournalBusyError(
            f"{where}: the server lacks resources [{said}]; expected free connections and memory: raise "
            f"max_connections, or end what uses them{nothing}"
        )
    if state == "42501":
        return JournalReadOnlyError(
            f"{where}: the account may not do that [{said}]; expected the rights of a "
            f"{'writer' if writing else 'reader'}: have the owner grant the role{nothing}"
        )
    if state.startswith(("42", "3F")):
        return JournalForeignError(
            f"{where} is no journal of loom's [{said}]; expected its tables in schema [{url.schema}]: check workspace "
            "and schema in the URL"
        )
    if state.startswith("XX") or state == "58030":
        return JournalCorruptError(
            f"{where} is damaged [{said}]; expected a sound database on a sound disk: run `loom verify`, then restore "
            "a backup"
        )
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return JournalReadOnlyError(
            f"{where}: the server is a read-only replica, as is each that the URL names; expected the primary: name "
            f"its host, or wait until one is promoted{nothing}"
        )
    if isinstance(error, TimeoutError):
        return JournalBusyError(
            f"{where}: the server did not answer in time; expected an answer: check that it runs, and the network to it"
            f"{nothing}"
        )
    if is_unreachable(error) or isinstance(error, ssl.SSLError):
        return JournalBusyError(
            f"{where}: the server cannot be reached [{said}]; expected one that answers: check host, port and sslmode, "
            f"and that it runs{nothing}"
        )
    kind: Any = AppendRefusedError if writing else JournalCorruptError
    return kind(  # type: ignore[no-any-return]
        f"{where}: the server answered [{said}]; expected that it would do as asked: run `loom doctor`{nothing}"
    )


def _said(error: BaseException, url: PostgresUrl) -> str:
    """Return what an error says in one line, without the password, whatever it quotes."""
    text = " ".join(f"{type(error).__name__}: {error}".split())[:_MOST]
    return text.replace(url.password, "…") if url.password else text
