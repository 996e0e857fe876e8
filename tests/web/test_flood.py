"""A server as a process of its own, with few descriptors, and more connections than it could hold."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.support import environment

pytestmark = pytest.mark.slow

CONFIG = "data: data\nworkspace: main\nextensions: [circuits]\nweb: {header_timeout_s: 3, body_timeout_s: 3}\n"
DESCRIPTORS = 128


class Running:
    """`loom serve`, and what it writes to its log."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def said(self) -> str:
        """Return what the log holds beside the requests that were answered."""
        return "".join(line for line in self.log.read_text().splitlines(True) if "uvicorn.access" not in line)

    def health(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status
        finally:
            connection.close()


@contextmanager
def serving(directory: Path) -> Iterator[Running]:
    """Serve with as many descriptors as `ulimit -n` gives in a small container."""
    config, log = directory / "loom.config.yaml", directory / "log"
    config.write_text(CONFIG)
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [
                "/bin/sh",
                "-c",
                f'ulimit -n {DESCRIPTORS}; exec "$@"',
                "sh",
                sys.executable,
                "-m",
                "loom.cli",
                "serve",
                "--port",
                "0",
                "--json",
                "-c",
                str(config),
            ],
            cwd=directory,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=errors,
        )
    try:
        assert process.stdout is not None
        hello = process.stdout.readline()
        assert hello, log.read_text()
        yield Running(process, json.loads(hello)["port"], log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()[-2_000:]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def half_open(port: int, count: int, said: bytes) -> list[socket.socket]:
    found = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        with contextlib.suppress(OSError):
            connection.sendall(said)
        found.append(connection)
    return found


def closed(connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        while connection.recv(65_536):
            continue
    return True


BEGINNINGS = (
    b"",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\n",
    b"POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
)


@pytest.mark.parametrize("said", BEGINNINGS)
def test_more_half_open_connections_than_descriptors_do_not_stop_the_server(said: bytes, tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        open_ = half_open(server.port, 2 * DESCRIPTORS, said)
        try:
            assert [server.health() for _ in range(5)] == [200] * 5, "it answers while they are all held"
            assert all(closed(each) for each in open_), "each of them ended at its deadline, or gave way before"
            assert server.health() == 200
        finally:
            for each in open_:
                each.close()
        log = server.said()
        assert len(log) < 4_096, log[:2_000]
        assert log.count("connections_ended") == 1
        assert "Traceback" not in log


def test_a_flood_of_them_leaves_the_server_answering_and_its_log_short(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        stop = threading.Event()

        def flood() -> None:
            while not stop.is_set():
                held = []
                with contextlib.suppress(OSError):
                    held = half_open(server.port, 60, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n")
                for each in held:
                    each.close()

        threads = [threading.Thread(target=flood) for _ in range(3)]
        for each in threads:
            each.start()
        try:
            answered = 0
            ends = time.monotonic() + 60
            while answered < 20 and time.monotonic() < ends:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    answered += server.health() == 200
        finally:
            stop.set()
            for each in threads:
                each.join()
        assert answered == 20
        assert server.health() == 200
        assert len(server.said()) < 4_096
