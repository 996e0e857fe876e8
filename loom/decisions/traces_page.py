"""Fold a page of entries into the view of traces: a turn that begins and ends in the page needs no row of its own.

The result is the same as folding entry by entry. A decision of such a turn is written once, with the final status of
its turn, instead of first as open and then updated.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from loom.decisions.entries import DECISIONS
from loom.decisions.rows import written_decision
from loom.journal.entry import Recorded
from loom.journal.kinds import CommandReceivedEntry

__all__ = ["TracesPage"]

_AMONG = (
    "(journal, command_id) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:turns))"
)
_KNOWN = f"""
SELECT journal, command_id FROM trace_turns WHERE {_AMONG}
UNION SELECT journal, command_id FROM trace_divergences WHERE {_AMONG}
UNION SELECT journal, command_id FROM trace_decisions WHERE status = 'open' AND {_AMONG}
"""  # noqa: S608 - constants only

_Turn = tuple[str, str | None]
Write = Callable[[Recorded, Mapping[str, Any], Mapping[str, Any]], None]
"""Writes a decision, with what it takes over from the command of its turn, and the status of the turn."""


class TracesPage:
    """The fold of one page. `apply` folds a single entry, `write` a decision of a turn of the page."""

    def __init__(
        self,
        view: sqlite3.Connection,
        *,
        apply: Callable[[Recorded, sqlite3.Connection], None],
        write: Write,
        about: Collection[str],
        statuses: Mapping[str, str],
    ) -> None:
        self._view = view
        self._apply = apply
        self._write = write
        self._about = about
        self._statuses = statuses
        self._known: set[_Turn] = set()
        """Turns that are not in this page alone: they are folded entry by entry."""
        self._begun: dict[_Turn, Recorded] = {}
        self._ended: dict[_Turn, tuple[Recorded, str]] = {}
        self._waiting: list[tuple[Recorded, Mapping[str, Any]]] = []

    def fold(self, page: Sequence[Recorded]) -> None:
        """Fold entries in order."""
        received = {(each.journal, each.command_id) for each in page if each.kind == CommandReceivedEntry.kind}
        if received:
            self._known.update(self._view.execute(_KNOWN, {"turns": json.dumps(sorted(map(list, received), key=str))}))
        for recorded in page:
            self._take(recorded)
        self._flush()
        for received_first in self._begun.values():
            self._apply(received_first, self._view)

    def _take(self, recorded: Recorded) -> None:
        turn, kind = (recorded.journal, recorded.command_id), recorded.kind
        if turn not in self._begun:
            if kind == CommandReceivedEntry.kind and turn not in self._known and recorded.plain is not None:
                self._begun[turn] = recorded
                return
            if kind in DECISIONS or kind in ("run_ended", "failure_lifted"):
                self._flush()  # decisions are written in the order of their positions
            self._known.add(turn)
            self._apply(recorded, self._view)
        elif kind in DECISIONS and (decision := written_decision(recorded)) is not None:
            self._waiting.append((recorded, decision))
        elif kind in self._statuses:
            self._ended[turn] = (self._begun.pop(turn), self._statuses[kind])
            self._known.add(turn)
        elif kind != CommandReceivedEntry.kind:
            self._flush()
            self._let_go(turn)
            self._apply(recorded, self._view)

    def _flush(self) -> None:
        """Write the waiting decisions. A turn that has not ended yet gets a row, and is then folded entry by entry."""
        waiting, self._waiting = self._waiting, []
        for recorded, decision in waiting:
            turn = (recorded.journal, recorded.command_id)
            received, status = self._ended.get(turn) or (self._begun.get(turn), "open")
            command = {} if received is None else received.plain or {}
            self._write(recorded, decision, {**{name: command.get(name) for name in self._about}, "status": status})
        for turn in {(recorded.journal, recorded.command_id) for recorded, _ in waiting}:
            self._let_go(turn)

    def _let_go(self, turn: _Turn) -> None:
        received = self._begun.pop(turn, None)
        if received is not None:
            self._known.add(turn)
            self._apply(received, self._view)
