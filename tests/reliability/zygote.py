"""A process that has imported what the jobs need and forks one child a job: `-m tests.reliability.zygote`.

It reads one request a message from the socket whose descriptor it is given, and answers each. A child gets the
descriptor that came with its request as standard output. Children are reaped only when that is asked for, so that the
number of one that has ended is not given to another process before.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys
import traceback
from typing import Any

MOST = 1 << 16


def main(descriptor: int) -> None:
    """Serve until the other end closes."""
    wire = socket.socket(fileno=descriptor)
    while True:
        raw, descriptors, _, _ = socket.recv_fds(wire, MOST, 1)
        if not raw:
            return
        request = json.loads(raw)
        wire.send(json.dumps(_served(request, descriptors, wire)).encode())


def _served(request: dict[str, Any], descriptors: list[int], wire: socket.socket) -> int:
    if request["do"] == "wait":
        _, status = os.waitpid(request["pid"], 0)
        return os.waitstatus_to_exitcode(status)
    if request["do"] == "import":
        importlib.import_module(request["module"])
        return 0
    pid = os.fork()
    if pid == 0:
        wire.close()
        _run(request, descriptors[0])
    os.close(descriptors[0])
    return pid


def _run(request: dict[str, Any], output: int) -> None:
    """Be the child: do the job and end, whatever happens, without the clean-up of the parent."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.dup2(output, 1)
        os.close(output)
        module, _, function = request["job"].partition(":")
        getattr(importlib.import_module(module), function)(**request["given"])
        code = 0
    except BaseException:  # it must not come back into the loop of the parent
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
