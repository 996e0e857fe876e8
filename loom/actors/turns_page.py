"""Folds a page of entries into the view of turns: a turn that begins in it is written once, as it is at the end.

The result is the same as that of folding entry by entry, with one statement for most turns instead of one per entry.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Sequence

from loom.journal.entry import Recorded
from loom.journal.kinds import ENDINGS, CommandReceivedEntry, TurnFailedEntry

__all__ = ["ABOUT", "fold_page"]

ABOUT = ("command_type", "by", "identity_source", "via", "correlation_id", "causation_id")
"""The fields of a command that are in its row."""

_AMONG = (
    "(journal, command_id) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:turns))"
)
_KNOWN = f"""
SELECT journal, command_id FROM turns WHERE {_AMONG} UNION SELECT journal, command_id FROM turn_open WHERE {_AMONG}
"""  # noqa: S608 - constants only
_COLUMNS = (
    "journal",
    "command_id",
    "actor_type",
    "actor_key",
    *ABOUT,
    "received_position",
    "received_sequence",
    "received_at_us",
    "last_position",
    "decisions",
    "ended",
    "ended_at_us",
    "error_type",
    "error_message",
)
_INSERT = f"""
INSERT INTO turns ({", ".join(_COLUMNS)}) VALUES ({", ".join("?" * len(_COLUMNS))}) ON CONFLICT DO NOTHING
"""  # noqa: S608
_TOUCHES = frozenset({"turn_started", "turn_continued", "turn_parked", "wait_ended", "approval_reminded"})

_Turn = tuple[str, str]


class _Begun:
    """A turn that begins in a page: the values of its row."""

    __slots__ = ("decisions", "end", "last_position", "received")

    def __init__(self, received: Recorded) -> None:
        self.received = received
        self.last_position = received.position
        self.decisions = 0
        self.end: tuple[object, ...] = (None, None, None, None)

    def take(self, recorded: Recorded) -> None:
        self.last_position = recorded.position
        if recorded.kind in ENDINGS:
            failed = recorded.entry if recorded.kind == TurnFailedEntry.kind else None
            error = (failed.type_name, failed.message) if isinstance(failed, TurnFailedEntry) else (None, None)
            self.end = (recorded.kind.removeprefix("turn_"), recorded.recorded_at_us, *error)
        elif recorded.kind == "decision":
            self.decisions += 1

    def row(self) -> tuple[object, ...]:
        first = self.received
        actor_type, _, actor_key = first.journal.partition("/")
        said = first.plain or {}
        return (
            first.journal,
            first.command_id,
            actor_type,
            actor_key,
            *[said.get(name) for name in ABOUT],
            first.position,
            first.sequence,
            first.recorded_at_us,
            self.last_position,
            self.decisions,
            *self.end,
        )


def fold_page(
    page: Sequence[Recorded],
    view: sqlite3.Connection,
    apply: Callable[[Recorded, sqlite3.Connection], None],
    *,
    special: Collection[str],
) -> None:
    """Fold entries in order; `special` are the kinds that change more in a row than the progress of its turn.

    A turn that is in the view already, or has an entry of a special kind, is folded by `apply`.
    """
    received = {(each.journal, each.command_id) for each in page if each.kind == CommandReceivedEntry.kind}
    known: set[_Turn] = set()
    if received:
        known.update(view.execute(_KNOWN, {"turns": json.dumps(sorted(map(list, received), key=str))}))
    begun: dict[_Turn, _Begun] = {}
    for recorded in page:
        if recorded.command_id is None:
            continue
        turn = (recorded.journal, recorded.command_id)
        there = begun.get(turn)
        if there is None:
            if recorded.kind == CommandReceivedEntry.kind and turn not in known:
                begun[turn] = _Begun(recorded)
                continue
            known.add(turn)
            apply(recorded, view)
        elif recorded.kind == CommandReceivedEntry.kind:
            continue  # the first counts
        elif recorded.kind in ENDINGS or recorded.kind in _TOUCHES or recorded.kind not in special:
            there.take(recorded)
        else:
            view.execute(_INSERT, begun.pop(turn).row())
            known.add(turn)
            apply(recorded, view)
    view.executemany(_INSERT, [each.row() for each in begun.values()])
