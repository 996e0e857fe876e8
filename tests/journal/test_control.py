"""The control socket: real sockets, for the owner only, unmoved by garbage and by clients that come and go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import JsonValue

from loom.errors import ApprovalAnsweredError, ControlError
from loom.journal.control import ControlServer, control_call
from loom.journal.sqlite import JournalFiles, WriterLock


class Desk:
    """Stands in for a running loom: a lock, a server, and some operations."""

    def __init__(self, directory: Path) -> None:
        self.files = JournalFiles(directory / "journal.db")
        self.lock = WriterLock(self.files.lock)
        self.asked: list[tuple[str, Mapping[str, JsonValue]]] = []
        self.open = asyncio.Event()
        self.waiting = 0
        self.server = ControlServer(self.files.socket, self.handle, max_requests=3, io_timeout_s=0.2, grace_s=0.05)

    async def start(self) -> Path:
        self.lock.acquire()
        path = await self.server.start()
        self.lock.describe(pid=os.getpid(), socket=str(path))
        return path

    async def stop(self) -> None:
        await self.server.close()
        self.lock.release()

    async def call(self, op: str, **args: JsonValue) -> JsonValue:
        return await control_call(self.files.lock, op, args, timeout_s=5.0)

    async def handle(self, op: str, args: Mapping[str, JsonValue], uid: int | None) -> JsonValue:
        self.asked.append((op, args))
        match op:
            case "echo":
                return dict(args)
            case "large":
                return "x" * 4_000_000
            case "refuse":
                raise ApprovalAnsweredError("approval [7] was answered before")
            case "foreign":
                raise ControlError("from far away", type_name="SomethingElse")
            case "break":
                raise KeyError("a defect")
            case "nonsense":
                return float("nan")
            case "wait":
                self.waiting += 1
                await self.open.wait()
                return None
        raise ControlError(f"operation [{op}] is not known")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what no event tells of: the tests' own timeout bounds it."""
        while not condition():
            await asyncio.sleep(0)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.start()
    yield desk
    await desk.stop()


async def spoken(path: Path, raw: bytes, *, end: bool = False) -> bytes:
    """Send bytes as they are and return all that comes back."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    with contextlib.suppress(OSError):
        writer.write(raw)
        await writer.drain()
        if end:
            writer.write_eof()
    try:
        return await reader.read()
    except OSError:
        return b""
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_an_operation_is_answered_with_what_it_returns(desk: Desk) -> None:
    assert await desk.call("echo", id="7", deep={"x": [1, None, "ü\n"]}) == {"id": "7", "deep": {"x": [1, None, "ü\n"]}}
    assert desk.asked == [("echo", {"id": "7", "deep": {"x": [1, None, "ü\n"]}})]
    assert await desk.call("large") == "x" * 4_000_000


@pytest.mark.parametrize(
    ("op", "type_name", "message"),
    [
        ("refuse", "ApprovalAnsweredError", "approval [7] was answered before"),
        ("foreign", "SomethingElse", "from far away"),
        ("unheard", "ControlError", "operation [unheard] is not known"),
        ("break", "KeyError", "see the log of the running loom"),
        ("nonsense", "AdmissionError", "finite"),
    ],
)
async def test_an_error_comes_back_with_its_type_and_its_message(
    desk: Desk, op: str, type_name: str, message: str
) -> None:
    with pytest.raises(ControlError) as refused:
        await desk.call(op)
    assert refused.value.type_name == type_name
    assert message in str(refused.value)
    assert await desk.call("echo") == {}


async def test_the_socket_is_for_its_owner_only_from_the_first_moment_and_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path)
    monkeypatch.setattr(os, "chmod", lambda *_: None)  # what would come a moment too late
    before = os.umask(0)
    try:
        path = await desk.start()
    finally:
        os.umask(before)
    assert path == desk.files.socket
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    await desk.stop()
    assert not path.exists()


async def test_another_user_is_turned_away_even_if_they_got_hold_of_the_socket(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loom.journal.control.peer_uid", lambda peer: 54_321)
    answer = json.loads(await spoken(desk.files.socket, b'{"op":"echo"}\n'))
    assert "owner" in answer["error"]["message"]
    assert desk.asked == []


async def test_a_socket_of_another_user_is_not_asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 12_345)
    monkeypatch.setattr("struct.unpack", lambda form, raw: (1, 54_321, 1))
    with pytest.raises(ControlError, match="another user"):
        await desk.call("echo")
    assert desk.asked == []


async def test_a_path_that_is_too_long_leads_to_a_private_directory_named_in_the_lock_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    desk = Desk(deep)
    path = await desk.start()
    assert path.parent != deep
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert WriterLock(desk.files.lock).holder() == {"pid": os.getpid(), "socket": str(path)}
    assert await desk.call("echo", a=1) == {"a": 1}
    await desk.stop()
    assert not path.exists()


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A directory with a shorter name than pytest's own."""
    directory = Path(tempfile.mkdtemp())
    yield directory
    shutil.rmtree(directory)


async def test_a_private_runtime_directory_is_used_where_there_is_one_and_no_other_is_made(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    temporary = Path(tempfile.mkdtemp())
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    desk = Desk(deep)
    path = await desk.start()
    assert path.parent == runtime
    assert await desk.call("echo", a=1) == {"a": 1}
    await desk.stop()
    assert os.listdir(runtime) == []
    assert os.listdir(temporary) == []
    os.chmod(runtime, 0o755)
    again = await desk.start()
    assert again.parent == temporary / f"loom-{os.getuid()}"
    await desk.stop()
    shutil.rmtree(temporary)


async def test_sockets_of_long_paths_share_one_directory_of_the_account(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(runtime))
    desk = Desk(deep)
    path = await desk.start()
    assert path.parent.parent == runtime
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert await desk.call("echo", a=1) == {"a": 1}
    await desk.stop()
    assert os.listdir(path.parent) == []
    assert await desk.start() == path
    await desk.stop()


@pytest.mark.parametrize("taken", ["open", "link", "file"])
async def test_a_directory_that_another_account_may_have_made_is_not_used(
    tmp_path: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch, taken: str
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(runtime))
    name = runtime / f"loom-{os.getuid()}"
    match taken:
        case "open":
            name.mkdir()
            name.chmod(0o777)
        case "link":
            (private := runtime / "private").mkdir(0o700)
            name.symlink_to(private)
        case _:
            name.touch()
    desk = Desk(deep)
    path = await desk.start()
    assert runtime not in path.parents
    assert await desk.call("echo", a=1) == {"a": 1}
    await desk.stop()
    assert not path.parent.exists()


async def test_a_socket_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(desk.files.socket))
    left.close()
    await desk.start()
    assert await desk.call("echo", a=1) == {"a": 1}
    await desk.stop()


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.files.socket.write_text("precious")
    with pytest.raises(ControlError, match="cannot be opened"):
        await desk.start()
    assert desk.files.socket.read_text() == "precious"
    await desk.stop()


async def test_closing_does_not_remove_the_socket_of_a_successor(desk: Desk) -> None:
    desk.files.socket.unlink()
    successor = ControlServer(desk.files.socket, desk.handle)
    await successor.start()
    await desk.server.close()
    assert desk.files.socket.exists()
    await successor.close()
    await successor.close()


GARBAGE = [
    b"\n",
    b"hello\n",
    b"[]\n",
    b"null\n",
    b'{"op":5}\n',
    b'{"args":{}}\n',
    b'{"op":"echo","args":[]}\n',
    b'{"op":"echo","args":{},"surplus":1}\n',
    b'{"op":"echo","op":"break"}\n',
    b'{"op":"echo","args":{"x":NaN}}\n',
    b'{"op":"echo","args":{"x":1e999}}\n',
    b'"\xff\xfe"\n',
    b"[" * 100_000 + b"\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
]


@pytest.mark.parametrize("raw", GARBAGE)
async def test_garbage_is_answered_with_an_error_and_reaches_no_operation(desk: Desk, raw: bytes) -> None:
    answer = json.loads(await spoken(desk.files.socket, raw))
    assert answer["error"]["type"] == "ControlError"
    assert desk.asked == []
    assert await desk.call("echo") == {}


async def test_random_bytes_harm_nothing(desk: Desk) -> None:
    dice = random.Random(5)
    for _ in range(50):
        await spoken(desk.files.socket, dice.randbytes(dice.randrange(2_000)), end=True)
    assert await desk.call("echo", a=1) == {"a": 1}


async def test_a_request_without_end_is_cut_off_at_its_bound(desk: Desk) -> None:
    await spoken(desk.files.socket, b"x" * 3_000_000)
    assert await desk.call("echo") == {}
    with pytest.raises(ControlError, match="shorten it"):
        await desk.call("echo", text="x" * 1_100_000)


async def test_clients_that_send_nothing_or_half_or_vanish_hold_nobody_up(desk: Desk) -> None:
    held = [await asyncio.open_unix_connection(str(desk.files.socket)) for _ in range(8)]
    for number, (_, writer) in enumerate(held):
        if number % 2:
            writer.write(b'{"op":"ec')
    assert await desk.call("echo", a=1) == {"a": 1}
    held[0][1].transport.abort()
    for reader, writer in held[1:]:
        assert await reader.read() == b""
        writer.transport.abort()


async def test_a_client_that_does_not_read_its_answer_is_given_up(desk: Desk) -> None:
    _, writer = await asyncio.open_unix_connection(str(desk.files.socket), limit=2)
    writer.write(b'{"op":"large"}\n')
    await desk.until(lambda: bool(desk.asked) and not desk.server._serving)
    writer.transport.abort()
    assert await desk.call("echo") == {}


async def test_a_client_that_goes_away_while_its_operation_is_in_work_does_not_stop_it(desk: Desk) -> None:
    _, writer = await asyncio.open_unix_connection(str(desk.files.socket))
    writer.write(b'{"op":"wait"}\n')
    await desk.until(lambda: desk.waiting == 1)
    writer.transport.abort()
    assert await desk.call("echo", a=1) == {"a": 1}
    assert desk.server._in_work == 1
    desk.open.set()
    await desk.until(lambda: not desk.server._in_work)


async def test_only_so_many_requests_are_in_work_and_the_others_are_told(desk: Desk) -> None:
    waiting = [asyncio.create_task(desk.call("wait")) for _ in range(3)]
    await desk.until(lambda: desk.waiting == 3)
    with pytest.raises(ControlError, match=r"\[3\] requests are in work"):
        await desk.call("echo")
    desk.open.set()
    assert await asyncio.gather(*waiting) == [None] * 3
    assert await desk.call("echo") == {}


async def test_only_so_many_clients_get_through_the_door(desk: Desk) -> None:
    held = [await asyncio.open_unix_connection(str(desk.files.socket)) for _ in range(12)]
    await desk.until(lambda: len(desk.server._serving) == 12)
    with pytest.raises(ControlError) as refused:
        await desk.call("echo")
    assert refused.value.type_name == "NoAnswer"
    for _, writer in held:
        writer.transport.abort()
    await desk.until(lambda: not desk.server._serving)
    assert await desk.call("echo") == {}


async def test_closing_ends_what_is_in_work_and_its_client_learns_that_it_cannot_know(desk: Desk) -> None:
    waiting = asyncio.create_task(desk.call("wait"))
    await desk.until(lambda: desk.waiting == 1)
    await desk.server.close()
    with pytest.raises(ControlError, match="look whether it was done") as refused:
        await waiting
    assert refused.value.type_name == "NoAnswer"


async def test_a_client_waits_only_as_long_as_it_was_told(desk: Desk) -> None:
    with pytest.raises(ControlError, match="no answer within") as refused:
        await control_call(desk.files.lock, "wait", timeout_s=0.05)
    assert refused.value.type_name == "NoAnswer"


@pytest.mark.parametrize("state", ["no lock file", "lock not held", "no socket", "dead socket", "long path"])
async def test_it_is_said_clearly_when_nobody_listens(tmp_path: Path, state: str) -> None:
    directory = tmp_path / ("d" * 100 if state == "long path" else "d")
    directory.mkdir()
    desk = Desk(directory)
    if state == "lock not held":
        await desk.start()
        await desk.stop()
    elif state != "no lock file":
        desk.lock.acquire()
    if state == "dead socket":
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(desk.files.socket))
        left.close()
    with pytest.raises(ControlError, match="no loom takes requests") as refused:
        await desk.call("echo")
    assert refused.value.type_name == "NobodyListens"
    desk.lock.release()
