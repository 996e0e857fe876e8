"""nginx and Caddy with the config of the page, a certificate of their own, and a browser that speaks TLS to them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.explorer.support import Answer, Browser
from tests.production.container import said
from tests.test_docs import DOCS

HOST = "desk.example.org"
_STARTED_S = 60


def shown(language: str, first: str) -> str:
    """Return the block of the how-tos of a language that begins with some words."""
    page = (DOCS / "how-to.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (found,) = [each for each in blocks if each.startswith(first)]
    return str(found)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """Change what a page shows where this machine differs; each has to be there."""
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    return text


@dataclass
class Front:
    """A proxy that runs: where it listens, and the certificate that it shows."""

    port: int
    certificate: Path

    def connect(self) -> HTTPConnection:
        """Open a connection as a browser does: to the name that the certificate is for."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        opened = HTTPConnection("127.0.0.1", self.port, timeout=30)
        opened.sock = context.wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), timeout=30), server_hostname=HOST
        )
        return opened

    def browser(self) -> Browser:
        return _OverTls(self)


class _OverTls(Browser):
    def __init__(self, front: Front) -> None:
        super().__init__(front.port, host=HOST)
        self._front = front

    def _send(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        given = {name: text.replace("http://", "https://") for name, text in headers.items()}
        connection = self._front.connect()
        try:
            connection.request(method, path, body=None if body is None else body.encode(), headers=given)
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()


def _nginx(at: Path, block: str, port: int, loom: int, changes: Mapping[str, str]) -> list[str]:
    given = {
        "listen 443 ": f"listen 127.0.0.1:{port} ",
        "127.0.0.1:8765": f"127.0.0.1:{loom}",
        f"/etc/ssl/{HOST}": str(at / HOST),
        **changes,
    }
    paths = "".join(f"{each}_temp_path {at / each};\n" for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if os.geteuid() == 0 else ""
    (at / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {at / 'pid'};\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}\n{replaced(block, given)}}}\n",
        encoding="utf-8",
    )
    return ["nginx", "-e", "stderr", "-c", str(at / "nginx.conf")]


def _caddy(at: Path, block: str, port: int, loom: int, changes: Mapping[str, str]) -> list[str]:
    certified = f"bind 127.0.0.1\n\ttls {at / HOST}.pem {at / HOST}.key\n"
    given = {f"{HOST} {{\n": f"{HOST}:{port} {{\n\t{certified}", "127.0.0.1:8765": f"127.0.0.1:{loom}", **changes}
    (at / "Caddyfile").write_text(
        f"{{\n\tadmin off\n\tauto_https off\n\tstorage file_system {at}\n}}\n\n" + replaced(block, given),
        encoding="utf-8",
    )
    return ["caddy", "run", "--config", str(at / "Caddyfile"), "--adapter", "caddyfile"]


@contextmanager
def proxy(name: str, at: Path, loom: int, changes: Mapping[str, str] | None = None) -> Iterator[Front]:
    """Run a proxy before a loom that listens on a port; `changes` are made to what the page shows."""
    for tool in (name, "openssl"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on this machine: apt-get install --no-install-recommends {tool}")
    made = ("-keyout", at / f"{HOST}.key", "-out", at / f"{HOST}.pem", "-subj", f"/CN={HOST}")
    more = ("-addext", f"subjectAltName=DNS:{HOST}", "-days", "2")
    said("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *made, *more)
    port = free_port()
    if name == "nginx":
        command = _nginx(at, shown("nginx", "upstream loom"), port, loom, changes or {})
    else:
        command = _caddy(at, shown("text", HOST), port, loom, changes or {})
    environment = {**os.environ, "XDG_DATA_HOME": str(at), "XDG_CONFIG_HOME": str(at), "HOME": str(at)}
    with (at / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        until = time.monotonic() + _STARTED_S
        while not _listens(port):
            assert process.poll() is None, (at / "log").read_text()
            assert time.monotonic() < until, (at / "log").read_text()
            time.sleep(0.05)
        yield Front(port, at / f"{HOST}.pem")
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
