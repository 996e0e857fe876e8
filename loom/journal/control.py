"""The control socket: how a shell reaches the one process that writes a journal.

A Unix socket next to the journal file, for its owner only, or for a group by config. If that path is too long for a
socket, the socket for the owner is in a private runtime directory that the lock file names. The operating system
identifies the account at the other end. Each request and each answer is one line of JSON:

    {"op": "approvals.grant", "args": {"id": "…"}}
    {"ok": …}   or   {"error": {"type": "ApprovalAnsweredError", "message": "…", "kind": "conflict"}}
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from pydantic import JsonValue

from loom.background import Background, stopped
from loom.errors import KINDS_OF_ANSWERS, AdmissionError, AnswerKind, ConfigError, ControlError, LoomError
from loom.journal.admission import Limits, json_value, parse_json
from loom.journal.peers import group_id_of, is_holder, is_socket, listen, peer_uid, private_directories
from loom.journal.sqlite.files import WriterLock
from loom.telemetry import get_logger, log_answer

__all__ = ["ControlServer", "Handler", "control_call", "runs_workspace", "takes_requests"]

Handler = Callable[[str, Mapping[str, JsonValue], int | None], Awaitable[JsonValue]]
"""Runs the named operation with its arguments and returns plain JSON; raises `LoomError` to refuse it.

The third argument is the uid of the account that asks; None if the operating system does not report it.
"""

_MAX_PATH = 100  # sun_path holds 108 bytes on Linux, 104 elsewhere
_MAX_REQUEST = 1_048_576
_DOOR = 4
"""How many clients may be connected for each request that may be in work."""
_MAX_ANSWER = 64 * 1_048_576
_ANSWER = Limits(max_bytes=_MAX_ANSWER, max_depth=64, max_nodes=5_000_000)

_log = get_logger(__name__)


async def check_group(path: Path, group: str) -> None:
    """Raise `ConfigError` if a loom could not give its control socket to a group; no file is left behind.

    `path` is the path of the socket.
    """
    if len(os.fsencode(path)) > _MAX_PATH:
        raise _too_long_for_a_group(path)
    with tempfile.TemporaryDirectory(prefix="loom-") as directory:
        trial = ControlServer(Path(directory, "control.sock"), _no_answer, group=group)
        await trial.start()
        await trial.close()


async def _no_answer(name: str, arguments: Mapping[str, JsonValue], uid: int | None) -> JsonValue:
    return None


def _too_long_for_a_group(path: Path) -> ConfigError:
    return ConfigError(
        f"control socket [{path}] has a path of more than [{_MAX_PATH}] bytes; expected a shorter one, "
        "as the group finds it only next to the journal: move the data, or unset operations.socket_group"
    )


class ControlServer:
    """Answers requests over the control socket of a journal; only the holder of its writer lock may start one."""

    def __init__(
        self,
        path: Path,
        handler: Handler,
        *,
        group: str | None = None,
        max_requests: int = 16,
        io_timeout_s: float = 10.0,
        grace_s: float = 2.0,
        background: Background | None = None,
    ) -> None:
        self._background = background or Background()
        self._wanted = path
        self._handler = handler
        self._group = group
        self._max_requests = max_requests
        self._io_timeout_s = io_timeout_s
        self._grace_s = grace_s
        self._path: Path | None = None
        self._identity: tuple[int, int] | None = None
        self._directory: Path | None = None
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Future[None]] = set()
        self._in_work = 0

    async def start(self) -> Path:
        """Listen, and return the path of the socket, which the caller writes into the lock file.

        Raises `ControlError` if the socket cannot be created, and `ConfigError` if it cannot be given to its group.
        """
        group_id = None if self._group is None else group_id_of(self._group)
        path = self._place()
        try:
            listening = listen(path, group_id)
        except OSError as error:
            self._remove_directory()
            raise ControlError(
                f"control socket [{path}] cannot be opened [{error.strerror}]; expected a place for one: "
                "make room in the journal's directory, or set XDG_RUNTIME_DIR"
            ) from error
        found = os.lstat(path)
        self._path, self._identity = path, (found.st_dev, found.st_ino)
        self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=_MAX_REQUEST)
        return path

    async def close(self) -> None:
        """Stop taking requests, wait briefly for those in work, and remove the socket. Closing twice is harmless."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._remove_socket()
        if self._serving:
            await asyncio.wait(self._serving, timeout=self._grace_s)
        await stopped(*self._serving)
        await server.wait_closed()
        self._remove_directory()

    def _place(self) -> Path:
        if len(os.fsencode(self._wanted)) <= _MAX_PATH:
            return self._wanted
        if self._group is not None:
            raise _too_long_for_a_group(self._wanted)
        name = f"loom-{hashlib.sha256(os.fsencode(self._wanted)).hexdigest()[:16]}.sock"
        for directory in private_directories():
            if len(os.fsencode(directory)) + len(name) < _MAX_PATH:
                return Path(directory, name)
        self._directory = Path(tempfile.mkdtemp(prefix="loom-", dir="/tmp"))
        return self._directory / "control.sock"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        if len(self._serving) >= _DOOR * self._max_requests:
            # Not at once, as asyncio is still busy connecting it. The writer is kept until then: one that is collected
            # before its transport closes warns, from Python 3.13 on.
            loop.call_soon(lambda: writer.transport.abort())
            return
        task = self._background.start(self._serve(reader, writer), name="loom-control")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; a client that disconnects, stalls or sends invalid data costs a bounded time only."""
        try:
            answer = await self._answer(reader, writer)
            async with asyncio.timeout(self._io_timeout_s):
                writer.write(answer)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client is gone: no one can get the answer
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        try:
            async with asyncio.timeout(self._io_timeout_s):
                line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            return _failure(_too_long(f"more than [{_MAX_REQUEST}]"))
        uid = peer_uid(writer.get_extra_info("socket"))
        if self._group is None and uid not in (
            None,
            os.getuid(),
            0,
        ):  # with a group, the file modes decide who may connect
            return _failure(
                ControlError(
                    "the control socket is for the owner of the journal: run this as that user", kind="refused"
                )
            )
        if self._in_work >= self._max_requests:
            return _failure(
                ControlError(
                    f"[{self._in_work}] requests are in work; expected fewer: try again in a moment", kind="busy"
                )
            )
        self._in_work += 1
        try:
            return await self._handled(line, uid)
        finally:
            self._in_work -= 1

    async def _handled(self, line: bytes, uid: int | None) -> bytes:
        try:
            op, args = _parsed(line)
            return _line({"ok": json_value(await self._handler(op, args, uid), limits=_ANSWER)})
        except LoomError as error:
            log_answer(_log, "control_answered", error)
            return _failure(error)
        except Exception as error:  # a defect in an operation must not end the loom
            _log.exception("control_failed")
            message = f"the operation failed [{error!r:.200}]: see the log of the running loom"
            return _failure(ControlError(message, type_name=type(error).__name__))

    def _remove_socket(self) -> None:
        """Remove the socket if it is still ours: a later loom may have created its own there."""
        if self._path is None or self._identity is None:
            return
        with contextlib.suppress(OSError):
            found = os.lstat(self._path)
            if (found.st_dev, found.st_ino) == self._identity:
                self._path.unlink()

    def _remove_directory(self) -> None:
        directory, self._directory = self._directory, None
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)


async def control_call(
    lock_path: Path, op: str, args: Mapping[str, JsonValue] | None = None, *, timeout_s: float = 30.0
) -> JsonValue:
    """Ask the process that holds the lock at `lock_path` for an operation and return its answer.

    Raises `ControlError`: with type, kind and message of the error that the operation raised; or with the `type_name`
    `NobodyListens` if no process listens; or `NoAnswer` if no answer came, although the operation may have been done.
    """
    request = _line({"op": op, "args": dict(args or {})})
    if len(request) > _MAX_REQUEST:
        raise _too_long(f"[{len(request)}]")
    path = _socket_of(lock_path)
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(path, limit=_MAX_ANSWER)
    except (OSError, TimeoutError) as error:
        raise _no_listener(lock_path, f"its socket [{path}] does not answer [{error!r}]") from error
    try:
        if not is_holder(peer_uid(writer.get_extra_info("socket")), lock_path):
            raise _no_listener(lock_path, f"its socket [{path}] belongs to another user")
        async with asyncio.timeout(timeout_s):
            writer.write(request)
            await writer.drain()
            answer = await reader.readuntil(b"\n")
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ControlError(
            f"operation [{op}] had no answer within [{timeout_s}] s [{type(error).__name__}]; expected one: "
            "look whether it was done before you try again",
            type_name="NoAnswer",
            kind="busy",
        ) from error
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return _result(op, answer)


def _result(op: str, answer: bytes) -> JsonValue:
    match parse_json(answer):
        case {"ok": value}:
            return value
        case {"error": {"type": str(type_name), "message": str(message), **rest}}:
            raise ControlError(message, type_name=type_name, kind=_kind(rest.get("kind"), type_name))
    raise ControlError(f"operation [{op}] had an answer that makes no sense; expected ok or error: see the loom's log")


def takes_requests(lock_path: Path) -> bool:
    """Tell whether a loom seems to take requests for a journal: it holds the lock, or a group's socket is there."""
    return WriterLock(lock_path).held() or _is_group_socket(lock_path)


def runs_workspace(about: Mapping[str, object] | None) -> bool:
    """Tell by what the holder of a lock wrote into it whether it runs the workspace: it names its socket once it does.

    One that opens the workspace holds the lock, too, as does one that waits for its turn on a server.
    """
    return "socket" in (about or {})


def _is_group_socket(lock_path: Path) -> bool:
    """Tell whether there is a socket next to a lock file of another account, which this account may not read."""
    unreadable = os.path.lexists(lock_path) and not os.access(lock_path, os.R_OK)
    return unreadable and is_socket(lock_path.with_suffix(".sock"))


def _socket_of(lock_path: Path) -> str:
    lock = WriterLock(lock_path)
    beside = lock_path.with_suffix(".sock")
    if _is_group_socket(lock_path):
        return str(beside)
    if not lock.held():
        raise _no_listener(lock_path, "no process holds it")
    named = (lock.holder() or {}).get("socket")
    path = named if isinstance(named, str) else str(beside)
    if len(os.fsencode(path)) > _MAX_PATH:
        raise _no_listener(lock_path, "its process does not listen yet")
    return path


def _no_listener(lock_path: Path, why: str) -> ControlError:
    return ControlError(
        f"no loom takes requests for the journal of lock file [{lock_path}]: {why}; expected a running one: "
        "start it, or wait until it has started",
        type_name="NobodyListens",
        kind="busy",
    )


def _parsed(line: bytes) -> tuple[str, Mapping[str, JsonValue]]:
    try:
        request = parse_json(line)
    except AdmissionError as error:
        raise ControlError(
            f"request is not JSON [{error!s:.200}]; expected one line of it: correct the client", kind="invalid"
        ) from error
    match request:
        case {"op": str(op), "args": dict(args), **rest} if not rest:
            return op, args
        case {"op": str(op), **rest} if not rest:
            return op, {}
    raise ControlError(
        'request makes no sense; expected [{"op": text, "args": object}]: correct the client', kind="invalid"
    )


def _too_long(size: str) -> ControlError:
    return ControlError(f"request has {size} bytes; expected at most [{_MAX_REQUEST}]: shorten it", kind="invalid")


def _failure(error: LoomError) -> bytes:
    type_name = error.type_name if isinstance(error, ControlError) else type(error).__name__
    message = str(error).encode(errors="replace").decode()
    return _line({"error": {"type": type_name, "message": message, "kind": error.kind}})


def _kind(said: object, type_name: str) -> AnswerKind:
    """Return the kind of an answer. A loom of an earlier version does not send it: then the class name gives it."""
    known = next((kind for kind in KINDS_OF_ANSWERS if kind == said), None)
    if known is not None:
        return known
    return next((each.kind for each in _classes(LoomError) if each.__name__ == type_name), "fault")


def _classes(of: type[LoomError]) -> Iterator[type[LoomError]]:
    for each in of.__subclasses__():
        yield each
        yield from _classes(each)


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
