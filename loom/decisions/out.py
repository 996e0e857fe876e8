"""Export of decisions: rows of chosen columns, as CSV, JSON lines or Parquet, for spreadsheets and other programs.

The content of decisions is untrusted. A spreadsheet reads a cell that begins with a sign as a formula, so such a cell
gets an apostrophe in front in CSV, unless it is a number.
"""

from __future__ import annotations

import csv
import importlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO, TypeAlias

from loom.decisions.trace import DecisionSummary, DecisionWithBody
from loom.errors import AdmissionError

__all__ = ["COLUMNS", "OutFormat", "ParquetRows", "check_columns", "csv_cell", "needs_body", "row_of", "write_rows"]

OutFormat: TypeAlias = Literal["csv", "jsonl", "parquet"]

COLUMNS = (
    "decision_id",
    "decided_at",
    "recorded_at",
    "decision_type",
    "journal",
    "origin",
    "policy_name",
    "policy_version",
    "rule",
    "effect",
    "verdict",
    "is_exception",
    "status",
    "rationale",
    "outcome",
)
"""The default columns."""

_PARTS = ("facts", "outcome", "context")
"""The parts from which a column may take a value, such as `facts.income`, or the whole as JSON."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")


def check_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns; raise `AdmissionError` for an unknown one, and for one that is named twice."""
    for each in columns:
        known = each in DecisionSummary.model_fields or each.partition(".")[0] in _PARTS
        if not known or columns.count(each) > 1:
            raise AdmissionError(
                f"column [{each!r:.80}] is {'named twice' if known else 'not known'}; expected each once, from "
                f"[{', '.join(DecisionSummary.model_fields)}] and [{', '.join(f'{part}.NAME' for part in _PARTS)}]"
            )
    return tuple(columns)


def needs_body(columns: Sequence[str]) -> bool:
    """Tell whether columns need the body of decisions, which a list does not have."""
    return any(each.partition(".")[0] in ("facts", "context") for each in columns)


def row_of(found: DecisionSummary, columns: Sequence[str]) -> dict[str, Any]:
    """Return the values of columns; None for what a decision does not have."""
    return {each: _value(found, each) for each in columns}


def csv_cell(value: object) -> str:
    """Return a value as a cell that no spreadsheet executes: text that begins like a formula is quoted."""
    text = _text(value)
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.match(text) else text


def write_rows(stream: TextIO, rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, form: OutFormat) -> int:
    """Write rows as CSV or as JSON lines, and return their number. Several calls write one file."""
    count = 0
    if form == "csv":
        writer = csv.writer(stream)
        for row in rows:
            writer.writerow([csv_cell(row[each]) for each in columns])
            count += 1
        return count
    for row in rows:
        plain = {each: _json_value(value) for each, value in row.items()}
        stream.write(json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n")
        count += 1
    return count


class ParquetRows:
    """Writes pages of rows into one Parquet file. Every column is text, or empty."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Create a file; raise `AdmissionError` where the extra `parquet` is not installed."""
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise AdmissionError(
                "decisions are to be written as [parquet], and pyarrow is not installed; expected the extra: "
                "pip install 'loom-journal[parquet]', or take csv or jsonl"
            ) from error
        self._columns = tuple(columns)
        self._schema = self._arrow.schema([(each, self._arrow.string()) for each in self._columns])
        self._writer = parquet.ParquetWriter(str(path), self._schema)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add a page."""
        data = {each: [None if row[each] is None else _text(row[each]) for row in rows] for each in self._columns}
        self._writer.write_table(self._arrow.table(data, schema=self._schema))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def _value(found: DecisionSummary, column: str) -> Any:
    part, dot, name = column.partition(".")
    if part not in _PARTS:
        return getattr(found, column)
    if part == "outcome":
        source: Any = found.outcome
    else:
        source = getattr(found.decision, part) if isinstance(found, DecisionWithBody) and found.decision else None
    if not dot or source is None:
        return source
    if name in source:
        return source[name]
    for step in name.split("."):
        source = source.get(step) if isinstance(source, dict) else None
    return source


def _json_value(value: object) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
