"""Restate in tests: servers of one cluster on the loopback, where the binary is installed.

Each server sees the worker of its own machine under one name, `loom-worker`: a private /etc/hosts in a mount namespace
stands for the machine. That takes the rights of root; without them there is one server.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

__all__ = ["RestateServers", "binary", "why_missing"]

_MACHINES = {"x86_64": "x64", "aarch64": "arm64"}


def binary(installed: Path | None = None) -> Path | None:
    """Return the server: named by LOOM_RESTATE_BIN, or installed by npm below `installed` or .venv-cluster."""
    named = os.environ.get("LOOM_RESTATE_BIN")
    if named:
        return Path(named) if os.access(named, os.X_OK) else None
    package = f"restate-server-linux-{_MACHINES.get(platform.machine(), 'x64')}"
    below = installed or Path(__file__).parents[1] / ".venv-cluster"
    found = below / "node_modules" / "@restatedev" / package / "bin" / "restate-server"
    on_path = shutil.which("restate-server")
    return found if found.exists() else Path(on_path) if on_path else None


def why_missing() -> str | None:
    """Return why there is no server to be had, None where there is one."""
    if sys.platform != "linux":
        return "Restate is started on Linux only"
    if binary() is None:
        return "Restate is not installed: `make cluster-test` installs it"
    return None


class RestateServers:
    """`count` servers of one cluster; server i listens on 127.0.0.(10+i), and calls workers at 127.0.0.(10+i):port."""

    def __init__(self, *, count: int, ports: list[int], worker_port: int) -> None:
        self.ingress_port, self.admin_port, self.node_port = ports
        self.worker_port = worker_port
        self.count = count
        self.directory = Path(tempfile.mkdtemp(prefix="loom-restate-"))
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        hosts = Path("/etc/hosts").read_text()
        for at in range(count):
            (self.directory / f"hosts{at}").write_text(f"{hosts}\n{self.host(at)} loom-worker\n")
            (self.directory / f"n{at}.toml").write_text(self._settings(at))

    @staticmethod
    def host(at: int) -> str:
        """Return the address that stands for a machine."""
        return f"127.0.0.{10 + at}"

    def ingress(self, at: int) -> str:
        return f"http://{self.host(at)}:{self.ingress_port}"

    def admin(self, at: int) -> str:
        return f"http://{self.host(at)}:{self.admin_port}"

    @property
    def deployment(self) -> str:
        """Where each server finds the worker of its machine."""
        return f"http://loom-worker:{self.worker_port}"

    def start(self, at: int) -> None:
        """Start a server, or start it again."""
        command = [str(binary()), "--no-logo", "-c", str(self.directory / f"n{at}.toml")]
        hosts = self.directory / f"hosts{at}"
        script = f'mount --bind "{hosts}" /etc/hosts && exec "$@"'
        with (self.directory / f"s{at}.log").open("ab") as log:
            self.processes[at] = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", script, "sh", *command],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "RESTATE_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"},
            )

    def ready(self, *, within_s: float = 90.0) -> None:
        """Wait until every server that runs is well."""
        end = time.monotonic() + within_s
        for at in self.processes:
            for url in (f"{self.admin(at)}/health", f"{self.ingress(at)}/restate/health"):
                while not _answers(url):
                    if time.monotonic() > end:
                        raise TimeoutError((self.directory / f"s{at}.log").read_text()[-2_000:])
                    time.sleep(0.1)

    def services(self, at: int) -> list[str]:
        """Return the services that a server knows."""
        with urllib.request.urlopen(f"{self.admin(at)}/services", timeout=5) as answer:
            return [each["name"] for each in json.load(answer)["services"]]

    def kill(self, at: int) -> None:
        """Kill a server with SIGKILL."""
        process = self.processes.pop(at)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """Kill all servers, and remove what they kept."""
        for at in tuple(self.processes):
            self.kill(at)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _settings(self, at: int) -> str:
        known = ", ".join(f'"http://{self.host(each)}:{self.node_port}"' for each in range(self.count))
        host = self.host(at)
        return f"""
node-name = "m{at}"
cluster-name = "loom"
auto-provision = {"true" if at == 0 else "false"}
default-replication = {min(2, self.count)}
default-num-partitions = 6
bind-ip = "{host}"
bind-port = {self.node_port}
advertised-host = "{host}"
listen-mode = "tcp"
base-dir = "{self.directory}/d{at}"
disable-telemetry = true
rocksdb-total-memory-size = "192 MB"
[metadata-client]
addresses = [{known}]
[admin]
bind-ip = "{host}"
bind-port = {self.admin_port}
[ingress]
bind-ip = "{host}"
bind-port = {self.ingress_port}
"""


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    print(binary(Path(sys.argv[1]) if len(sys.argv) > 1 else None) or "")
