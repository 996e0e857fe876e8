"""The scripts of compose/postgres.yaml begin a primary and a standby server, in the order of the image of PostgreSQL.

That image makes the files, runs the server on its socket alone with the options of the command, makes the database,
runs the scripts of docker-entrypoint-initdb.d, stops it, and starts it with the same options.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.postgres_server import as_user, binaries, unprivileged, why_missing
from tests.production.proxies import free_port, replaced
from tests.test_readme import ROOT

pytestmark = pytest.mark.reliability
COMPOSE = ROOT / "deploy" / "compose"
SERVICES: dict[str, Any] = yaml.safe_load((COMPOSE / "postgres.yaml").read_text(encoding="utf-8"))["services"]
OPTIONS = SERVICES["primary"]["command"][1:]


class Servers:
    """What runs as the user of PostgreSQL in one directory."""

    def __init__(self, at: Path) -> None:
        self.at, self._user, found = at, unprivileged(), binaries()
        assert found is not None
        self.bin, self.port = found, free_port()
        self.secret = at / "secret"
        self.secret.write_text("secret", encoding="utf-8")
        if self._user is not None:
            for each in (at, self.secret):
                os.chown(each, self._user.pw_uid, self._user.pw_gid)

    def _given(self, **more: str) -> Mapping[str, str]:
        own = {"PGHOSTADDR": "127.0.0.1", "PGPORT": str(self.port), "PATH": f"{self.bin}:{os.environ['PATH']}"}
        return {**os.environ, **own, "PGPASSWORD": "secret", **more}

    def run(self, *words: str | Path, within_s: float = 60, **more: str) -> str:
        command = as_user(self._user, [*map(str, words)])
        done = subprocess.run(
            command, env=self._given(**more), capture_output=True, text=True, check=False, timeout=within_s, cwd=self.at
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def running(self, *words: str | Path, socket: Path, **more: str) -> Iterator[None]:
        """Run a server until the end of the block; it is ready when it answers on its socket."""
        with (self.at / "log").open("a") as log:
            process = subprocess.Popen(
                as_user(self._user, [*map(str, words)]), env=self._given(**more), stdout=log, stderr=log, cwd=self.at
            )
        try:
            until = time.monotonic() + 60
            asked = [str(self.bin / "pg_isready"), "--host", str(socket), "--username", "loom"]
            while subprocess.run(asked, env=self._socket(), capture_output=True, check=False).returncode:
                assert process.poll() is None, (self.at / "log").read_text()
                assert time.monotonic() < until, (self.at / "log").read_text()
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(signal.SIGINT)  # sessions that wait for a standby server are ended, too
            process.wait(60)

    def _socket(self) -> Mapping[str, str]:
        return {name: text for name, text in self._given().items() if name != "PGHOSTADDR"}

    def sql(self, statement: str, *, socket: Path, database: str = "loom", within_s: float = 60) -> str:
        asked = [
            str(self.bin / "psql"),
            "--no-psqlrc",
            "-tA",
            "-h",
            str(socket),
            "-U",
            "loom",
            "-d",
            database,
            "-c",
            statement,
        ]
        done = subprocess.run(
            asked, env=self._socket(), capture_output=True, text=True, check=True, timeout=within_s, cwd=self.at
        )
        return str(done.stdout).strip()

    def script(self, name: str) -> Path:
        """Copy a script, with the paths of this place."""
        changes = {"/run/secrets/postgres": str(self.secret)} if name == "replica.sh" else {}
        (path := self.at / name).write_text(replaced((COMPOSE / name).read_text(encoding="utf-8"), changes))
        path.chmod(0o755)
        return path


@pytest.fixture
def servers() -> Iterator[Servers]:
    if (why := why_missing()) is not None:
        pytest.skip(why)
    at = Path(tempfile.mkdtemp(prefix="loom-compose-"))  # pytest's own directory is for its user alone
    try:
        yield Servers(at)
    finally:
        shutil.rmtree(at)


def test_the_primary_makes_its_database_and_commits_wait_for_the_standby_server(servers: Servers) -> None:
    at, postgres = servers.at, servers.bin / "postgres"
    primary, replica, mine, its = at / "primary", at / "replica", at / "socket-1", at / "socket-2"
    for each in (mine, its):
        servers.run("mkdir", each)
    environment = SERVICES["primary"]["environment"]
    servers.run(
        servers.bin / "initdb",
        "-D",
        primary,
        "-U",
        environment["POSTGRES_USER"],
        "--pwfile",
        servers.secret,
        "--auth-local=trust",
        f"--auth-host={environment['POSTGRES_HOST_AUTH_METHOD']}",
    )
    first = [postgres, *OPTIONS, "-D", primary, "-c", "fsync=off", "-k", mine, "-p", str(servers.port)]
    with servers.running(*first, "-c", "listen_addresses=", socket=mine):
        servers.sql(f"CREATE DATABASE {environment['POSTGRES_DB']}", socket=mine, database="postgres", within_s=30)
        servers.run("sh", servers.script("replication.sh"), PGDATA=str(primary))
    second = servers.script("replica.sh")
    text = second.read_text(encoding="utf-8")
    # Both servers are on one machine here: the second has a socket of its own, and no other way in.
    own = f"exec postgres -k {shlex.quote(str(its))} -p {servers.port} -c fsync=off -c listen_addresses= "
    second.write_text(replaced(text, {"exec postgres ": own}), encoding="utf-8")
    with servers.running(*first, "-c", "listen_addresses=127.0.0.1", socket=mine):
        with pytest.raises(subprocess.TimeoutExpired):
            servers.sql("CREATE TABLE alone (a int)", socket=mine, within_s=3)  # no one confirms it
        with servers.running("sh", second, socket=its, PGDATA=str(replica)):
            servers.sql("CREATE TABLE followed (a int)", socket=mine)
            assert servers.sql("SELECT sync_state FROM pg_stat_replication", socket=mine) == "sync"
            assert servers.sql("SELECT pg_is_in_recovery()", socket=its) == "t"
            servers.sql("SELECT pg_promote()", socket=its)
            servers.sql("CREATE TABLE promoted (a int)", socket=its, within_s=30)
