"""Check the references of decisions: each must name an earlier entry of the same turn, with the digest of its body."""

from __future__ import annotations

import json
from collections.abc import Iterator

from loom.journal.chain import Header
from loom.journal.findings import Findings
from loom.journal.kinds import ENDINGS, CommandReceivedEntry

__all__ = ["StrayReferences"]

_REFERRING = "decision"
_MARK = b'"refers":'


class StrayReferences:
    """Takes the entries of a journal one after the other; memory is bounded by the turns that have not ended."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._open: dict[tuple[str, str], dict[int, str]] = {}

    def take(self, header: Header, body: bytes | None, digest: bytes) -> None:
        """Keep the digest of an entry, and check the references of a decision against the entries of its turn."""
        if header.command_id is None:
            return
        turn = (header.journal, header.command_id)
        if header.kind in ENDINGS:
            self._open.pop(turn, None)
            return
        if header.kind == CommandReceivedEntry.kind:
            self._open[turn] = {}
        known = self._open.get(turn, {})
        if header.kind == _REFERRING and body is not None and _MARK in body:
            for sequence, said in _references(body):
                if known.get(sequence) != said:
                    problem = "not an earlier one of its turn" if sequence not in known else "other than it was"
                    self._findings.add(
                        "STRAY_REFERENCE",
                        f"{header.journal} sequence {header.sequence} refers to {sequence}, which is {problem}",
                        position=header.position,
                        journal=header.journal,
                        sequence=header.sequence,
                    )
        known[header.sequence] = digest.hex()


def _references(body: bytes) -> Iterator[tuple[int, str]]:
    """Yield sequence and digest of what a decision refers to."""
    for references in (json.loads(body)["decision"].get("refers") or {}).values():
        for sequence, digest, *_ in references:
            yield int(sequence), str(digest)
