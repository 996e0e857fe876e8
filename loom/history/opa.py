"""Decision logs of Open Policy Agent, as rows: one event a line, its nested values by dotted path.

A cell is named as in the event: `decision_id`, `timestamp`, `path`, `result`, `input.user.role`. OPA's console writes
other lines between them, which are no rows. What was masked or erased in the log is not there, so its fact is open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from loom.history.reading import JsonLines, RawRow

__all__ = ["OpaLog"]

_MESSAGE = "Decision Log"
_NEEDED = ("decision_id", "timestamp")


@dataclass
class OpaLog(JsonLines):
    """A decision log in JSON lines; with `policy_path`, only the events of that path, such as `loans/allow`."""

    policy_path: str | None = None

    def again(self) -> str:
        """Return the digest of the file and the path as they are now."""
        if self.policy_path is None:
            return super().again()
        return hashlib.sha256(f"{super().again()}\n{self.policy_path}".encode()).hexdigest()

    def read(self) -> Iterator[RawRow]:
        """Yield the events; a line that is none says so."""
        for row in super().read():
            if row.problem is not None:
                yield row
                continue
            if row.cells.get("msg", _MESSAGE) != _MESSAGE:
                continue  # the console's own lines
            if self.policy_path is not None and row.cells.get("path") != self.policy_path:
                continue
            yield _event(row)


def _event(row: RawRow) -> RawRow:
    if missing := [name for name in _NEEDED if not isinstance(row.cells.get(name), str)]:
        return RawRow(row.number, {}, f"has no [{', '.join(missing)}]; expected an event of OPA's decision log")
    cells: dict[str, object] = {}
    twice = _flatten(row.cells, "", cells)
    if twice is not None:
        return RawRow(row.number, {}, f"names [{twice}] twice, as a path and as a name with dots")
    return RawRow(row.number, cells)


def _flatten(values: Mapping[str, object], prefix: str, into: dict[str, object]) -> str | None:
    """Put nested values into one level, by dotted path; return a path that occurs twice, if one does."""
    for name, value in values.items():
        path = f"{prefix}{name}"
        if path in into:
            return path
        if isinstance(value, dict) and value:
            into[path] = None  # taken: a name with dots may not stand for a part of it
            if (twice := _flatten(value, f"{path}.", into)) is not None:
                return twice
        else:
            into[path] = value
    return None
