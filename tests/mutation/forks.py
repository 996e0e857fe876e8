"""Run something in a forked process that ends in time, with all that it started."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from typing import IO

__all__ = ["BROKEN", "PASSED", "forked", "lines_of"]

PASSED, BROKEN = 0, 3
"""How a child ends that did its work, and one that could not."""


def forked(run: Callable[[], int], *, cpu_s: float, wall_s: float) -> int | None:
    """Run something in a forked process of its own group; return its exit code, or None where it takes too long."""
    directory = tempfile.mkdtemp(prefix="loom-mutant-")

    def confined() -> int:
        os.setsid()
        os.environ["TMPDIR"] = tempfile.tempdir = directory
        with open(os.devnull, "wb") as nowhere:
            _say_to(nowhere)
        limit = int(cpu_s) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        return run()

    child = _child(confined)
    try:
        return _waited(child, wall_s)
    finally:
        _end(child)
        shutil.rmtree(directory, ignore_errors=True)


def _child(run: Callable[[], int]) -> int:
    """Fork a process that runs something, ends with its code, and never comes back; return its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = BROKEN
        try:
            code = run()
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
    return child


def _waited(child: int, wall_s: float) -> int | None:
    ends, pause_s = time.monotonic() + wall_s, 0.001
    while time.monotonic() < ends:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return None if code in (-signal.SIGXCPU, -signal.SIGKILL) else code
        time.sleep(pause_s)
        pause_s = min(0.02, pause_s * 1.5)
    _end(child)
    os.waitpid(child, 0)
    return None


def _end(group: int) -> None:
    """End a child with what it started."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _say_to(said: IO[bytes]) -> None:
    for number in (1, 2):
        os.dup2(said.fileno(), number)


def lines_of(run: Callable[[Callable[[str], None]], int]) -> Iterator[str]:
    """Run something in a forked process, and yield the lines that it writes as they come."""
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as said:

        def saying() -> int:
            os.close(reading)
            _say_to(said)
            with open(writing, "w", encoding="utf-8", buffering=1) as pipe:
                return run(lambda line: print(line, file=pipe))

        child = _child(saying)
        os.close(writing)
        with open(reading, encoding="utf-8") as pipe:
            yield from (line.rstrip("\n") for line in pipe)
        _, status = os.waitpid(child, 0)
        if (code := os.waitstatus_to_exitcode(status)) != PASSED:
            said.seek(0)
            tail = said.read()[-3_000:].decode(errors="replace")
            raise RuntimeError(f"the process that tries mutants ended with {code}:\n{tail}")
