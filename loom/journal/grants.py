"""Check grants against the requests that they answer: no person grants a request made in their own name."""

from __future__ import annotations

import json
from typing import TypeAlias

from loom.identity import same_person
from loom.journal.chain import Header
from loom.journal.findings import Findings
from loom.journal.kinds import ENDINGS

__all__ = ["Grants"]

_Turn: TypeAlias = tuple[str, str | None]


class Grants:
    """Takes entries in order. Memory is bounded by the requests of turns that have no end yet."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._requesters: dict[_Turn, dict[str, str]] = {}
        """By turn and approval id: the person who requested it."""

    def take(self, header: Header, body: bytes) -> None:
        """Check one entry whose body matches its digest."""
        turn = (header.journal, header.command_id)
        if header.kind in ENDINGS:
            self._requesters.pop(turn, None)
        elif header.kind == "approval_requested":
            said = json.loads(body)
            if said.get("requested_by") is not None:
                self._requesters.setdefault(turn, {})[str(said["approval_id"])] = str(said["requested_by"])
        elif header.kind == "approval_answered":
            self._answer(header, json.loads(body), self._requesters.get(turn, {}))

    def _answer(self, header: Header, said: dict[str, object], requesters: dict[str, str]) -> None:
        requester, by = requesters.get(str(said["approval_id"])), said.get("by")
        if said.get("granted") is True and by is not None and requester and same_person(str(by), requester):
            self._findings.add(
                "SELF_GRANTED",
                f"{header.journal} sequence {header.sequence} (position {header.position}): [{by}] granted approval "
                f"[{str(said['approval_id'])[:12]}], which was asked for by [{requester}]",
                position=header.position,
                journal=header.journal,
                sequence=header.sequence,
            )
