"""Somebody who has every file but the keys, knows what loom writes, and tries all that a value can be.

A value counts as confirmed where a digest of a candidate, in any of the forms that loom has for digests, stands in a
file: whole or shortened, in hex, in base64 or as bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from loom.actors.verbs.shared import digest as step_key
from loom.gate.digest import digest as gate_digest
from loom.journal.chain import body_digest
from tests.reliability.forgetters import CANDIDATES, What
from tests.sqlite_files import connected

__all__ = ["Files", "texts_of_files"]

_HEX = re.compile(rb"[0-9a-f]{32,128}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{43}=")
_KEYS = "journal.keys"
_DESK = "support/desk-"
_SHORT = 16
"""How many bytes of a digest are compared: step keys are shortened to these."""


def texts_of_files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of every file, and of what archives hold."""
    for each in sorted(path.rglob("*")):
        if not each.is_file():
            continue
        yield str(each.relative_to(path)), each.read_bytes()
        if zipfile.is_zipfile(each):
            with zipfile.ZipFile(each) as archive:
                for member in archive.namelist():
                    yield f"{each.name}/{member}", archive.read(member)


class Files:
    """All digests that stand in the files, without the keys; and the bodies, with their salts."""

    def __init__(self, path: Path) -> None:
        self._digests: set[bytes] = set()
        self._alone: dict[What, set[str | int]] = {}
        self.commands: dict[str, set[str]] = {}
        """The ids of the commands of each subject, by the names of journals: headers say them."""
        self.bodies: dict[str, list[tuple[bytes, bytes, bytes]]] = {}
        """Body, salt and digest of the entries of each subject."""
        for name, raw in texts_of_files(path):
            if not name.endswith(_KEYS):
                self._take(raw)
        for database in path.rglob("*.db"):
            self._take_rows(database)

    def knows(self, digest: bytes) -> bool:
        """Tell whether a digest stands anywhere."""
        return digest[:_SHORT] in self._digests

    def confirms(self, subject: str, what: What) -> list[str | int]:
        """Return the candidates that a digest in a file confirms."""
        if what not in self._alone:
            self._alone[what] = {each for each in CANDIDATES[what] if any(map(self.knows, forms_alone(each)))}
        ids = self.commands.get(subject, ())
        return [
            each
            for each in CANDIDATES[what]
            if each in self._alone[what] or any(map(self.knows, forms_of(subject, each, ids)))
        ]

    def confirms_by_body(self, subject: str, what: What) -> list[str | int]:
        """Return the candidates with which, in clear in the place of what is sealed, a body has its salted digest."""
        found: list[str | int] = []
        for body, salt, digest in self.bodies.get(subject, ()):
            if b'"$sealed"' in body:
                plain = json.loads(body)
                for candidate in CANDIDATES[what]:
                    text = json.dumps(_filled(plain, candidate), ensure_ascii=False, separators=(",", ":")).encode()
                    if body_digest(salt, text) == digest:
                        found.append(candidate)
        return found

    def _take(self, raw: bytes) -> None:
        for each in _HEX.findall(raw):
            text = each[: len(each) // 2 * 2].decode()
            self._digests.update(bytes.fromhex(text[at : at + 2 * _SHORT]) for at in (0, 64) if len(text) >= at + 32)
        self._digests.update(base64.b64decode(each)[:_SHORT] for each in _BASE64.findall(raw))

    def _take_rows(self, database: Path) -> None:
        """Take the digests that a database keeps as bytes."""
        with connected(f"file:{database}?mode=ro", uri=True) as connection:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            for table in tables:
                for row in connection.execute(f'SELECT * FROM "{table}"'):
                    for value in row:
                        if isinstance(value, bytes) and len(value) == 32:
                            self._digests.add(value[:_SHORT])
                        elif isinstance(value, bytes | str):
                            self._take(value.encode() if isinstance(value, str) else value)
            if "entries" in tables:
                named = "SELECT journal, body, salt, body_digest FROM entries WHERE body IS NOT NULL"
                for journal, *entry in connection.execute(named):
                    self.bodies.setdefault(journal.removeprefix(_DESK), []).append(tuple(entry))
                named = "SELECT DISTINCT journal, command_id FROM entries WHERE command_id IS NOT NULL"
                for journal, command_id in connection.execute(named):
                    self.commands.setdefault(journal.removeprefix(_DESK), set()).add(command_id)


def forms_alone(value: str | int) -> Iterator[bytes]:
    """Yield the digests that loom has, or had, of a value that is a whole with nothing else in it."""
    alone: tuple[JsonValue, ...] = (
        value,
        str(value),
        {"value": value},
        [value],
        [str(value)],
        ["form", "answer", str(value)],
        {"query": str(value)},
        ["/value", value],
        ["value", value],
        ["/facts/value", value],
        ["$query", str(value)],
    )
    for whole in alone:
        yield from _digests(whole)
    yield hashlib.sha256(str(value).encode()).digest()
    yield bytes.fromhex(gate_digest("value", value))


def forms_of(subject: str, value: str | int, commands: Collection[str]) -> Iterator[bytes]:
    """Yield the digests of a value with what stands in clear around it: whose it is, and the id of its command."""
    payload: JsonValue = {"customer": subject, "value": value}
    yield from _digests(payload)
    yield _sha256(json.dumps([subject, "value", value], sort_keys=True, ensure_ascii=False))
    for each in commands:
        yield _sha256(json.dumps([f"proof {each}", payload], sort_keys=True, ensure_ascii=False))


def _digests(whole: JsonValue) -> Iterator[bytes]:
    yield bytes.fromhex(step_key(whole))
    yield _sha256(json.dumps(whole, sort_keys=True, ensure_ascii=False))
    yield _sha256(json.dumps(whole, ensure_ascii=False, separators=(",", ":")))


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _filled(body: Any, candidate: str | int) -> Any:
    """Return a body with a candidate in the place of everything that is sealed."""
    if isinstance(body, dict):
        if "$sealed" in body:
            return candidate
        return {name: _filled(each, candidate) for name, each in body.items()}
    return [_filled(each, candidate) for each in body] if isinstance(body, list) else body
