"""Commands of the shell in processes forked from one that has imported them: each saves a second of imports.

`-m tests.cli.forking` serves them. A message of its socket holds arguments, directory and environment, and four
descriptors: standard input, output, error, and one for the number of the process and its exit code. A child of its own
waits for each command, so that commands run side by side. What happens before `loom.cli.main` is not tried in this way:
tests of that start an interpreter.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NoReturn

__all__ = ["run_forked"]

_MOST = 1 << 17
_IMPORTED = ("loom.cli.app", "loom.runtime")


def run_forked(
    arguments: Sequence[str], *, cwd: Path, env: dict[str, str], stdin: str, timeout_s: float
) -> tuple[int, str, str]:
    """Run `loom ARGUMENTS`; return its exit code, what it wrote, and what it wrote as errors.

    Raises `TimeoutError`, with the command killed.
    """
    request = json.dumps({"arguments": list(arguments), "cwd": str(cwd), "env": env}).encode()
    with TemporaryFile() as given, TemporaryFile() as said, TemporaryFile() as complained:
        given.write(stdin.encode())
        given.seek(0)
        reading, writing = os.pipe()
        with os.fdopen(reading, encoding="ascii", buffering=1) as status:
            try:
                files = [each.fileno() for each in (given, said, complained)]
                socket.send_fds(_server(), [request], [*files, writing])
            finally:
                os.close(writing)
            pid = int(status.readline())
            if not select.select([status], [], [], timeout_s)[0]:
                os.kill(pid, signal.SIGKILL)
                raise TimeoutError(f"[loom {' '.join(arguments)}] did not end within [{timeout_s}] s")
            code = int(status.readline())
        return code, _text(said.fileno()), _text(complained.fileno())


def _text(descriptor: int) -> str:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode().replace("\r\n", "\n")


@cache
def _server() -> socket.socket:
    """The server of this process, which ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST)
    given = [sys.executable, "-m", "tests.cli.forking", str(theirs.fileno())]
    process = subprocess.Popen(given, cwd=Path(__file__).parents[2], pass_fds=[theirs.fileno()])
    theirs.close()

    @atexit.register
    def _end() -> None:
        ours.close()
        process.wait()

    return ours


def _serve(descriptor: int) -> None:
    """Be the server, until the other end closes."""
    for name in _IMPORTED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that no child waits for its parent
    wire = socket.socket(fileno=descriptor)
    while True:
        raw, descriptors, _, _ = socket.recv_fds(wire, _MOST, 4)
        if not raw:
            return
        if os.fork() == 0:
            wire.close()
            _supervise(json.loads(raw), *descriptors)
        for each in descriptors:
            os.close(each)


def _supervise(request: dict[str, Any], stdin: int, stdout: int, stderr: int, status: int) -> NoReturn:
    """Start a command, and write its number and then its exit code, a line each."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if (pid := os.fork()) == 0:
        for number, each in enumerate((stdin, stdout, stderr)):
            os.dup2(each, number)
        os.closerange(3, 1 + max(stdin, stdout, stderr, status))
        _be(**request)
    os.write(status, f"{pid}\n".encode())
    _, ended = os.waitpid(pid, 0)
    os.write(status, f"{os.waitstatus_to_exitcode(ended)}\n".encode())
    os._exit(0)


def _be(arguments: list[str], cwd: str, env: dict[str, str]) -> NoReturn:
    """Be the command, and end as an interpreter ends."""
    code = 1
    try:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        time.tzset()
        sys.argv = ["loom", *arguments]
        sys.path[:1] = [cwd, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
        importlib.import_module("loom.cli").main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # it must not come back into the loop of the server
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]  # what an interpreter does first at its end
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
