"""Frames between a shared store's server and its clients: a length, then pickled plain values. For tests only."""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from typing import Any

import loom.errors
from loom.errors import LoomError
from loom.journal.store import Receipt

_LENGTH = struct.Struct(">I")


def packed(value: object) -> bytes:
    body = pickle.dumps(value)
    return _LENGTH.pack(len(body)) + body


async def read(reader: asyncio.StreamReader) -> Any:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return pickle.loads(await reader.readexactly(length))


def receive(connection: socket.socket) -> Any:
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    return pickle.loads(_exactly(connection, length))


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise ConnectionError("the server has closed the connection")
        parts += part
    return bytes(parts)


def plain(outcome: Receipt | LoomError) -> object:
    """Return an outcome as what can be pickled: errors take keywords."""
    if isinstance(outcome, Receipt):
        return outcome
    return type(outcome).__name__, str(outcome), dict(outcome.__dict__)


def outcome_of(said: Any) -> Receipt | LoomError:
    if isinstance(said, Receipt):
        return said
    name, message, about = said
    cls = getattr(loom.errors, name)
    error: LoomError = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(about)
    return error
