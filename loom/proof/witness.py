"""A witness: it signs that it has seen a checkpoint, and never two of one log that contradict each other.

It keeps, for each log that it knows, the largest checkpoint it has seen, and signs another only with the proof
that the log begins with that one: C2SP tlog-witness (`add-checkpoint`) and tlog-cosignature. It needs neither the
journal nor loom's config, so that it can be run by others.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from loom.errors import ConfigError
from loom.journal.merkle import EMPTY_ROOT, is_consistent
from loom.journal.private import open_private
from loom.proof.errors import NoteError, WitnessRefusedError
from loom.proof.keys import FileSigner, create_key, verifies
from loom.proof.notes import (
    COSIGNATURE,
    ED25519,
    MAX_NOTE,
    Checkpoint,
    Note,
    Signature,
    VerifyingKey,
    cosignature,
    cosigned_bytes,
)

__all__ = ["Witness", "request_of", "witness_server"]

_OLD = re.compile(r"old (0|[1-9][0-9]{0,15})\Z")
_NAME = re.compile(r"[!-*,-~]{1,200}\Z")
_MOST_HASHES = 63
_MOST_BYTES = MAX_NOTE + 16_384
_KEY, _STATE = "key.pem", "seen.json"


class Witness:
    """A witness whose key and memory are in a directory of its own."""

    def __init__(self, directory: Path, *, now_s: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._now_s = now_s
        self._signer = FileSigner(directory / _KEY)
        with self._kept() as kept:
            self.key = VerifyingKey(kept["name"], self._signer.public, COSIGNATURE)
            """Its public key: what logs name in [checkpoints.witnesses]."""

    @classmethod
    def create(cls, directory: Path, name: str) -> Witness:
        """Make a witness in a new directory; raise `ConfigError` where there is one, or the name cannot be."""
        if not _NAME.match(name):
            raise ConfigError(
                f"name [{name:.60}] is none; expected one like [example.org/witness], without spaces and +"
            )
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"directory [{directory}] cannot be made [{error.strerror}]; choose another") from error
        create_key(directory / _KEY)
        _write(directory / _STATE, {"name": name, "logs": {}})
        return cls(directory)

    def add_log(self, key: VerifyingKey) -> None:
        """Take checkpoints of a log from now on: those that this key has signed, and others of the same name."""
        if key.algorithm != ED25519:
            raise ConfigError(f"key [{key.name:.60}] is that of a witness; expected the key of a log")
        with self._kept() as kept:
            log = kept["logs"].setdefault(key.name, {"keys": [], "size": 0, "root": EMPTY_ROOT.hex()})
            if str(key) not in log["keys"]:
                log["keys"].append(str(key))
            _write(self._directory / _STATE, kept)

    def seen(self) -> dict[str, int]:
        """Return the logs that it knows, and the size of the largest checkpoint that it has signed."""
        with self._kept() as kept:
            return {name: int(log["size"]) for name, log in kept["logs"].items()}

    def add_checkpoint(self, request: str) -> Signature:
        """Sign the checkpoint of a request, once its proof holds; raise `WitnessRefusedError` for any other.

        What was seen is on the disk before the signature leaves.
        """
        try:
            old, proof, note, found = _parsed(request)
        except NoteError as error:
            raise WitnessRefusedError(str(error), status=400) from error
        with self._kept() as kept:
            log = kept["logs"].get(found.origin)
            if log is None:
                raise WitnessRefusedError(
                    f"log [{found.origin:.100}] is not known to this witness; expected one that it knows: add "
                    "its key with `loom witness add`",
                    status=404,
                )
            keys = map(VerifyingKey.parse, log["keys"])
            if not any(key.signature_of(note, verifies) for key in keys):
                raise WitnessRefusedError(
                    f"checkpoint is signed by no known key of [{found.origin:.100}]; expected one: see its key",
                    status=403,
                )
            self._check(int(log["size"]), bytes.fromhex(log["root"]), old, proof, found)
            log["size"], log["root"] = found.size, found.root.hex()
            _write(self._directory / _STATE, kept)
        at_s = int(self._now_s())
        return cosignature(self.key, at_s, self._signer.sign(cosigned_bytes(note.text, at_s)))

    @staticmethod
    def _check(size: int, root: bytes, old: int, proof: Sequence[bytes], found: Checkpoint) -> None:
        """Refuse a log that shrinks or forks, and a request that begins elsewhere."""
        if found.size < size:
            raise WitnessRefusedError(
                f"log shrinks: this witness has seen [{size}] entries, and the checkpoint is of [{found.size}]; "
                "nothing was signed",
                status=409,
                size=size,
            )
        if found.size == size and found.root != root:
            raise WitnessRefusedError(
                f"log forks: this witness has seen another root of [{size}] entries; nothing was signed",
                status=409,
                size=size,
            )
        if old != size:
            raise WitnessRefusedError(
                f"request begins at [{old}]; expected [{size}], which this witness has seen: ask again from there",
                status=409,
                size=size,
            )
        if not is_consistent(old, found.size, proof, root, found.root):
            raise WitnessRefusedError(
                f"proof does not show that the log still begins with the [{size}] entries that this witness has seen: "
                "it forks, or the proof is another's; nothing was signed",
                status=422,
            )

    @contextlib.contextmanager
    def _kept(self) -> Iterator[dict[str, Any]]:
        """Yield what it remembers, while no other process changes it."""
        path = self._directory / _STATE
        try:
            descriptor = open_private(self._directory / "lock", os.O_RDWR)
        except OSError as error:
            raise ConfigError(
                f"there is no witness in [{self._directory}] [{error.strerror}]; expected the directory of one: make "
                "it with `loom witness new`"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                kept = json.loads(path.read_bytes())
                if not isinstance(kept["name"], str) or not isinstance(kept["logs"], dict):
                    raise TypeError("no witness")
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"memory of the witness [{path}] cannot be read [{type(error).__name__}]; expected what it has "
                    "seen: restore a copy, a witness that forgets is none"
                ) from error
            yield kept
        finally:
            os.close(descriptor)


def request_of(old: int, proof: Sequence[bytes], note: Note) -> str:
    """Return what is sent to a witness: the size that it has seen, the proof from there, and the checkpoint."""
    lines = [f"old {old}", *(base64.b64encode(each).decode() for each in proof)]
    return "\n".join(lines) + f"\n\n{note}"


def witness_server(witness: Witness, *, host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    """Return a server that answers `POST /add-checkpoint`, bound and not serving yet."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_POST(self) -> None:
            """Answer one request."""
            try:
                length = int(self.headers.get("Content-Length", ""))
            except ValueError:
                length = -1
            if self.path != "/add-checkpoint":
                self._answer(404, "there is only /add-checkpoint\n")
            elif not 0 <= length <= _MOST_BYTES:
                self._answer(400, f"request needs a length of at most {_MOST_BYTES}\n")
            else:
                self._take(self.rfile.read(length))

        def _take(self, raw: bytes) -> None:
            try:
                line = witness.add_checkpoint(raw.decode())
            except UnicodeDecodeError:
                self._answer(400, "request is no UTF-8\n")
            except WitnessRefusedError as error:
                if error.status == 409 and error.size is not None:
                    self._answer(409, f"{error.size}\n", "text/x.tlog.size")
                else:
                    self._answer(error.status, f"{error}\n")
            except ConfigError as error:
                self._answer(500, f"{error}\n")
            else:
                self._answer(200, str(line))

        def _answer(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
            raw = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return ThreadingHTTPServer((host, port), Handler)


def _parsed(request: str) -> tuple[int, list[bytes], Note, Checkpoint]:
    head, blank, rest = request.partition("\n\n")
    lines = head.split("\n")
    match = _OLD.match(lines[0])
    if match is None or not blank or len(lines) > _MOST_HASHES + 1:
        raise NoteError("request is none; expected [old SIZE], hashes in base64, an empty line and a checkpoint")
    proof = []
    for line in lines[1:]:
        try:
            proof.append(base64.b64decode(line, validate=True))
        except ValueError as error:
            raise NoteError(f"hash [{line:.60}] is no base64; expected 32 bytes") from error
    note = Note.parse(rest)
    found = Checkpoint.parse(note.text)
    if int(match[1]) > found.size:
        raise NoteError(f"request begins at [{match[1]}], after the checkpoint of [{found.size}]: the log shrinks")
    return int(match[1]), proof, note, found


def _write(path: Path, kept: dict[str, Any]) -> None:
    """Replace what is remembered, and sync it."""
    part = path.with_suffix(".part")
    descriptor = open_private(part, os.O_WRONLY | os.O_TRUNC)
    try:
        raw = json.dumps(kept, indent=1).encode()
        if os.write(descriptor, raw) != len(raw):
            raise OSError(28, "it was written in part")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(part, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
