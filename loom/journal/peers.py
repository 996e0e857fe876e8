"""Unix sockets: who may connect to one, and which account is at its other end."""

from __future__ import annotations

import contextlib
import grp
import os
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from loom.errors import ConfigError

__all__ = [
    "group_id_of",
    "is_holder",
    "is_socket",
    "listen",
    "peer_uid",
    "private_directories",
    "uid_of_xucred",
]

_SOL_LOCAL = 0
_XUCRED_BYTES = 128  # more than any system's struct has


def listen(path: Path, group_id: int | None) -> socket.socket:
    """Bind a socket that no other account can open for a moment, in the place of one that a dead process left.

    It is then opened to its group, and so is the way through its directory.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(OSError):  # on Linux the mode is taken over by bind, so that no umask matters
            os.fchmod(listening.fileno(), 0o600)
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise FileExistsError(None, "another file has its name")
            os.unlink(path)
        listening.bind(str(path))
        if group_id is None:
            os.chmod(path, 0o600)
        else:
            _open_to_group(path, group_id)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def private_directories() -> Iterator[str]:
    """Yield the directories for sockets that no other account may enter: that of the session, then one of loom's own.

    Loom's own lies below the temporary directory, and is made once it is asked for. Another account may have taken its
    name: it is used only if it is private, and never through a link.
    """
    session = os.environ.get("XDG_RUNTIME_DIR", "")
    if _is_private(session):
        yield session
    own = os.path.join(tempfile.gettempdir(), f"loom-{os.getuid()}")
    with contextlib.suppress(OSError):
        os.mkdir(own, 0o700)
    if _is_private(own) and not os.path.islink(own):
        yield own


def _is_private(directory: str) -> bool:
    """Tell whether a directory belongs to this account, and no other account may enter it."""
    try:
        found = os.stat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def group_id_of(name: str) -> int:
    """Return the id of a group by its name; raise `ConfigError` where there is none."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(
            f"group [{name}] of [operations.socket_group] is not known to this machine; expected one that there is: "
            "make it, or name another"
        ) from None


def _open_to_group(path: Path, group_id: int) -> None:
    """Let the members of a group connect to a socket, and pass through its directory without listing it."""
    try:
        os.chown(path, -1, group_id)
        os.chmod(path, 0o660)
        if not os.stat(path.parent).st_mode & stat.S_IXOTH:
            os.chown(path.parent, -1, group_id)
            os.chmod(path.parent, stat.S_IMODE(os.stat(path.parent).st_mode) | stat.S_IXGRP)  # noqa: S103 - no reading
    except PermissionError as error:
        raise ConfigError(
            f"control socket [{path}] cannot be given to the group of [operations.socket_group] [{error.strerror}]; "
            "expected one that this account is a member of: add it to the group, or name another"
        ) from error


def peer_uid(peer: socket.socket | None) -> int | None:
    """Return the uid of the account at the other end of a Unix socket; None where the system does not say."""
    if peer is None:
        return None
    if (option := getattr(socket, "SO_PEERCRED", None)) is not None:  # Linux: struct ucred, of when it connected
        _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
        return int(uid)
    if (option := getattr(socket, "LOCAL_PEERCRED", None)) is not None:  # macOS and BSD: struct xucred
        return uid_of_xucred(peer.getsockopt(_SOL_LOCAL, option, _XUCRED_BYTES))
    return None


def uid_of_xucred(raw: bytes) -> int | None:
    """Return the uid in a `struct xucred`: an unsigned version, which is 0, the uid, and then the groups."""
    if len(raw) < 8:
        return None
    version, uid = struct.unpack_from("=II", raw)
    return int(uid) if version == 0 else None


def is_holder(uid: int | None, lock_path: Path) -> bool:
    """Tell whether the other end runs as this account, as root, or as the one that owns the lock file."""
    if uid is None:
        return True  # the modes of socket and directory have to do
    try:
        owner = os.lstat(lock_path).st_uid
    except OSError:
        owner = os.getuid()
    return uid in (os.getuid(), 0, owner)


def is_socket(path: Path) -> bool:
    """Tell whether a path is a socket; a link to one is none."""
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False
