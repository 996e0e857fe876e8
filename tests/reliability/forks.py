"""The test's side of the zygote: children that are forked in a millisecond, read from, stopped and killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any

from tests.journal.support import environment

__all__ = ["Forked", "Zygote"]

JOBS = "tests.reliability.jobs"


class Zygote:
    """Forks children that run a function of `tests.reliability.jobs`; `with` ends it."""

    def __init__(self, *, module: str = JOBS, env: Mapping[str, str] | None = None) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._module = module
        self._wire = ours
        self._wire.settimeout(180)
        self._one = threading.Lock()  # answers come in the order of the requests, and say no more
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.reliability.zygote", str(theirs.fileno())],
            env={**environment(), **(env or {})},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._ask({"do": "import", "module": module})

    def __enter__(self) -> Zygote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._wire.close()
        self._process.wait(timeout=30)

    def fork(self, job: str, /, **given: object) -> Forked:
        """Run a function of the module in a child; what it writes to descriptor 1 can be read here."""
        reading, writing = os.pipe()
        try:
            pid = self._ask({"do": "fork", "job": f"{self._module}:{job}", "given": given}, writing)
        finally:
            os.close(writing)
        return Forked(self, pid, os.fdopen(reading, "r", encoding="utf-8"))

    def fork_to(self, wire: socket.socket, job: str, /, **given: object) -> int:
        """Run a function of the module in a child that has a socket for descriptor 1; return its number."""
        return self._ask({"do": "fork", "job": f"{self._module}:{job}", "given": given}, wire.fileno())

    def wait(self, pid: int) -> int:
        """Return the exit code of a child once it has ended; a signal counts negative."""
        return self._ask({"do": "wait", "pid": pid})

    def _ask(self, request: dict[str, Any], *descriptors: int) -> int:
        raw = json.dumps(request).encode()
        with self._one:
            if descriptors:
                socket.send_fds(self._wire, [raw], list(descriptors))
            else:
                self._wire.send(raw)
            answer = self._wire.recv(1024)
        if not answer:
            raise ChildProcessError("the zygote has ended")
        return int(json.loads(answer))


class Forked:
    """A child of the zygote. With `with`, it is killed at the end if it still runs."""

    def __init__(self, zygote: Zygote, pid: int, output: IO[str]) -> None:
        self._zygote = zygote
        self.pid = pid
        self.output = output
        self._code: int | None = None

    def __enter__(self) -> Forked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        self.output.close()

    def line(self) -> str:
        """Return the next line that the child wrote, empty when it has ended."""
        return self.output.readline()

    def rest(self) -> list[str]:
        """Return the whole lines that are left, waiting until the child has ended."""
        return [line for line in self.output if line.endswith("\n")]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the child was reaped already."""
        if self._code is None:
            os.kill(self.pid, number)

    def kill(self) -> int:
        """Kill the child and return its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.signal(signal.SIGKILL)
        return self.wait()

    def wait(self) -> int:
        """Return the exit code once the child has ended."""
        if self._code is None:
            self._code = self._zygote.wait(self.pid)
        return self._code
