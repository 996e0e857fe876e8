"""The shim between a process and its system calls: how it is built, how a child arms it, how its record is read."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import pytest

__all__ = ["Mode", "Operation", "Shim", "built", "operations"]

SOURCE = Path(__file__).with_suffix(".c")
RECORD = struct.Struct("<c3xIqQ")


class Mode(IntEnum):
    """What the shim does, as in its source."""

    OFF, COUNT, KILL, TEAR, FAIL_ONCE, FAIL_ALWAYS = range(6)


class Operation(NamedTuple):
    """One recorded call: W write, T truncate, S sync, U unlink; A says that something was acknowledged.

    R renames and L links a file whose path is the data.
    """

    op: str
    path: str
    offset: int
    data: bytes


def built(directory: Path) -> Path:
    """Compile the shim into a directory, or skip where that cannot be done."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler on this machine")
    library = directory / "shim.so"
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-pthread", "-o", str(library), str(SOURCE)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"the shim does not compile on this machine: {done.stderr[:120]}")
    return library


class Shim:
    """The child's side: the library that it was started with."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)

    def arm(self, directory: Path, *, mode: Mode, at: int = 0, error: int = 0) -> None:
        """From now on, count the write-class calls on files under a directory, and strike at one of them."""
        self._library.fi_arm(f"{directory}/".encode(), ctypes.c_int(mode), ctypes.c_long(at), ctypes.c_int(error))

    def record_to(self, descriptor: int) -> None:
        """Write down every call, with its data."""
        self._library.fi_log(ctypes.c_int(descriptor))

    def mark(self, text: str) -> None:
        """Put an acknowledgement between the recorded calls."""
        self._library.fi_mark(text.encode())

    def seen(self) -> int:
        """Return how many calls there were."""
        return int(self._library.fi_seen())


def operations(raw: bytes) -> Iterator[Operation]:
    """Read what was recorded."""
    at = 0
    while at < len(raw):
        op, path_bytes, offset, data_bytes = RECORD.unpack_from(raw, at)
        at += RECORD.size
        path = raw[at : at + path_bytes].decode()
        at += path_bytes
        data = raw[at : at + data_bytes]
        at += data_bytes
        yield Operation(op.decode(), path, offset, data)
