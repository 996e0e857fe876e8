"""Unix sockets: who may connect, and which account is at the other end."""

from __future__ import annotations

import asyncio
import grp
import os
import socket
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import JsonValue

from loom.errors import ConfigError, ControlError
from loom.journal.control import ControlServer, control_call, takes_requests
from loom.journal.peers import is_holder, peer_uid, uid_of_xucred
from loom.journal.sqlite import JournalFiles, WriterLock

GROUP = grp.getgrgid(os.getgid()).gr_name


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


async def handle(op: str, args: Mapping[str, JsonValue], uid: int | None) -> JsonValue:
    return {"op": op, "uid": uid, **args}


async def test_the_system_says_which_account_is_at_the_other_end(tmp_path: Path) -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert peer_uid(one) == os.getuid()
    assert peer_uid(None) is None


@pytest.mark.parametrize(
    ("raw", "uid"),
    [
        (struct.pack("=IIh2x16I", 0, 501, 1, *range(16)), 501),
        (struct.pack("=IIh2x16I", 0, 0, 1, *range(16)), 0),
        (struct.pack("=IIh2x16I", 7, 501, 1, *range(16)), None),
        (b"\0\0\0\0", None),
    ],
)
def test_the_uid_is_read_out_of_what_macos_and_bsd_say(raw: bytes, uid: int | None) -> None:
    assert uid_of_xucred(raw) == uid


def test_where_the_system_says_it_in_the_other_form_it_is_read_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    class Peer:
        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            assert (level, option) == (0, 1)
            return struct.pack("=IIh2x16I", 0, 501, 1, *range(16))[:size]

    monkeypatch.delattr(socket, "SO_PEERCRED", raising=False)
    monkeypatch.setattr(socket, "LOCAL_PEERCRED", 1, raising=False)
    assert peer_uid(Peer()) == 501  # type: ignore[arg-type]
    monkeypatch.delattr(socket, "LOCAL_PEERCRED")
    assert peer_uid(Peer()) is None  # type: ignore[arg-type]


async def test_without_a_group_the_socket_is_its_owners_alone_and_with_one_the_groups(tmp_path: Path) -> None:
    for group, wanted in ((None, (0o600, 0o700)), (GROUP, (0o660, 0o710)), (None, (0o600, 0o710))):
        files = JournalFiles(tmp_path / "w" / "journal.db")
        files.prepare()
        lock = WriterLock(files.lock)
        lock.acquire()
        server = ControlServer(files.socket, handle, group=group)
        path = await server.start()
        assert (mode(path), mode(path.parent)) == wanted
        assert path.lstat().st_gid == os.getgid()
        answer = await control_call(files.lock, "echo", {"a": 1})
        assert answer == {"op": "echo", "uid": os.getuid(), "a": 1}
        await server.close()
        lock.release()


@pytest.mark.parametrize("group", ["no-such-group-as-this", GROUP])
async def test_a_group_that_cannot_be_given_the_socket_is_refused_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.chown", refuse)
    server = ControlServer(tmp_path / "journal.sock", handle, group=group)
    with pytest.raises(ConfigError, match=r"operations\.socket_group"):
        await server.start()


async def test_a_path_that_is_too_long_for_a_socket_is_refused_where_a_group_is_to_find_it(tmp_path: Path) -> None:
    server = ControlServer(tmp_path / ("long" * 30) / "journal.sock", handle, group=GROUP)
    with pytest.raises(ConfigError, match="expected a shorter one"):
        await server.start()


async def test_another_account_is_let_in_by_its_group_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loom.journal.control.peer_uid", lambda _: 54_321)
    for group, refused in ((None, True), (GROUP, False)):
        server = ControlServer(tmp_path / "journal.sock", handle, group=group)
        path = await server.start()
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"op":"echo"}\n')
        said = await reader.readline()
        writer.close()
        await server.close()
        assert (b"owner of the journal" in said) is refused
        assert (b'"uid":54321' in said) is not refused


def test_a_loom_is_asked_that_runs_as_the_owner_of_the_lock_file(tmp_path: Path) -> None:
    lock = tmp_path / "journal.lock"
    lock.touch()
    owner = lock.stat().st_uid
    for uid, holder in ((None, True), (os.getuid(), True), (0, True), (owner, True), (54_321, False)):
        assert is_holder(uid, lock) is holder
    assert not is_holder(54_321, tmp_path / "nothing")


async def test_a_socket_beside_a_lock_file_that_cannot_be_read_is_a_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = JournalFiles(tmp_path / "journal.db")
    assert not takes_requests(files.lock)
    server = ControlServer(files.socket, handle)
    await server.start()
    assert not takes_requests(files.lock), "nobody holds the lock, and it can be looked at"
    files.lock.touch()
    monkeypatch.setattr("os.access", lambda path, _: path != files.lock)
    assert takes_requests(files.lock)
    assert await control_call(files.lock, "echo") == {"op": "echo", "uid": os.getuid()}
    await server.close()
    assert not takes_requests(files.lock)
    with pytest.raises(ControlError) as caught:
        await control_call(files.lock, "echo")
    assert caught.value.type_name == "NobodyListens"
