"""Values of imported rows that are sealed for whom they are about, before anything of a row is kept.

What is sealed comes out the same for the same own id, value and key: a row that is imported again is recognised, and
its digest says nothing to who has no key.
"""

from __future__ import annotations

import hmac
import json
import secrets
from typing import Any

from pydantic import JsonValue

from loom.errors import ErasedError, ImportMapError, InvalidNameError
from loom.history.map import ImportMap
from loom.history.rows import Prepared, Problem
from loom.sealing import Erasures, Vault, Withheld, check_subject

__all__ = ["RowSealing"]


class RowSealing:
    """Seals values of rows by a map. Where nothing is to be written, no key is made."""

    def __init__(self, given: ImportMap, vault: Vault | None, erasures: Erasures | None, *, writes: bool) -> None:
        self._is_needed = bool(given.sealed())
        self._vault = vault
        self._erasures = erasures
        self._writes = writes
        self._passing = secrets.token_bytes(32)
        if self._is_needed and vault is None:
            raise ImportMapError(
                f"map seals [{', '.join(sorted(given.sealed()))}], and there is no vault; expected one: turn on "
                "sealing: in the config, or mask, hash or drop"
            )

    async def sealed(self, prepared: Prepared) -> tuple[Prepared, list[Problem]]:
        """Return a row with its values sealed, and what is wrong with their subjects."""
        if not prepared.seals or self._vault is None:
            return prepared, []
        content: dict[str, Any] = json.loads(json.dumps(prepared.content))
        problems: list[Problem] = []
        for path, subject in prepared.seals.items():
            section, _, name = path.partition(".")
            try:
                content[section][name] = await self._one(prepared, path, content[section][name], subject)
            except _BadSubjectError as error:
                problems.append(Problem(prepared.row, path, error.code, str(error)))
        return prepared.with_content(content), problems

    async def _one(self, prepared: Prepared, path: str, value: JsonValue, subject: str | None) -> JsonValue:
        vault = self._vault
        if subject is None or vault is None:
            raise _BadSubjectError("no_subject", f"[{path}] is sealed, and the row names no subject; expected one")
        try:
            check_subject(subject)
        except InvalidNameError as error:
            raise _BadSubjectError("bad_subject", f"[{path}] is sealed: {error}") from error
        if str(value) in (subject, prepared.own_id, prepared.journal.partition("/")[2]):
            raise _BadSubjectError(
                "in_clear",
                f"[{path}] is sealed, and is the subject, the own id or the key; expected names that are "
                "not personal, as they are written in clear",
            )
        try:
            keys = await (vault.keys(subject) if self._writes else vault.known(subject))
            if keys is not None:
                return keys.seal(value, about=f"/{path}", once=f"import {prepared.header_id}")
            if self._erasures is not None:
                self._erasures.check(subject)
        except ErasedError as error:
            raise _BadSubjectError("erased", f"[{path}] is sealed for a subject who was erased: {error}") from error
        said = json.dumps([subject, path, value]).encode()  # there is no key yet: it cannot be in the journal
        return Withheld("hash", hmac.digest(self._passing, said, "sha256").hex()).as_json()


class _BadSubjectError(ValueError):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
