"""Files that rows come out of: CSV, JSON lines, and one SELECT on an SQLite file, each read row by row.

Nothing is kept but the row at hand, whatever the size of the file. What is read is never run: a formula is text.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TextIO
from urllib.parse import quote

from loom.errors import AdmissionError, ImportRefusedError
from loom.journal.admission import parse_json
from loom.journal.sqlite.connection import APPLICATION_ID

__all__ = ["CsvFile", "JsonLines", "PythonRows", "RawRow", "Rows", "SqliteSelect", "rows_in"]

_MAX_LINE = 1_048_576
_MAX_COLUMNS = 1_000
_BLOCK = 1 << 20
_STEPS = 100_000  # of SQLite's machine, between two looks at how many there have been
_MOST_STEPS = 200_000  # of these


class RawRow(NamedTuple):
    """One row as it was read: its number, from 1, its cells by column, and what is wrong with the whole row."""

    number: int
    cells: Mapping[str, object]
    problem: str | None = None


class Rows(Protocol):
    """Where rows come from."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def digest(self) -> str:
        """The SHA-256 of what it holds, in hex."""
        ...

    def again(self) -> str:
        """Return the digest of what it holds now."""
        ...

    def columns(self) -> Collection[str] | None:
        """Return the columns that every row has; None where each row says its own."""
        ...

    def read(self) -> Iterator[RawRow]:
        """Yield the rows, in order."""
        ...


@dataclass
class _File:
    """A file, by what it held when it was first looked at."""

    path: Path
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.digest = self.again()

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.name

    def again(self) -> str:
        """Return the digest of the file as it is now."""
        return _digest_of(self.path)


@dataclass
class CsvFile(_File):
    """A file of comma-separated values in UTF-8, the names of its columns in the first line."""

    delimiter: str = ","

    def columns(self) -> Collection[str]:
        """Return the names in the first line; raise `ImportRefusedError` if one occurs twice, or there is none."""
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            try:
                names = next(self._lines(file), [])
            except csv.Error as error:
                raise _unreadable(self.name, f"line 1: {error}") from error
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice or not any(names) or len(names) > _MAX_COLUMNS:
            problem = f"names [{', '.join(twice)}] twice" if twice else f"names [{len(names)}] columns"
            raise _unreadable(self.name, f"its first line {problem}; expected 1 to {_MAX_COLUMNS}, each once")
        return names

    def read(self) -> Iterator[RawRow]:
        """Yield the rows; one that has another number of cells than the first line says so."""
        names = list(self.columns())
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            lines, number = self._lines(file), 0
            next(lines)
            while True:
                number += 1
                try:
                    cells = next(lines)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield RawRow(number, {}, f"cannot be read [{error}]")
                    continue
                if not cells:
                    number -= 1  # an empty line is no row
                elif len(cells) != len(names):
                    yield RawRow(number, {}, f"has [{len(cells)}] cells; expected [{len(names)}], as the first line")
                else:
                    yield RawRow(number, dict(zip(names, cells, strict=True)))

    def _lines(self, file: TextIO) -> Iterator[list[str]]:
        return csv.reader(_bounded(file), delimiter=self.delimiter, strict=True)


@dataclass
class JsonLines(_File):
    """A file with one JSON object in each line, in UTF-8."""

    def columns(self) -> None:
        """Return None: each object has its own names."""

    def read(self) -> Iterator[RawRow]:
        """Yield the rows; a line that is no object says so."""
        with self.path.open("rb") as file:
            number = 0
            while line := file.readline(_MAX_LINE + 1):
                if len(line) > _MAX_LINE:
                    number += 1
                    yield RawRow(number, {}, f"has more than [{_MAX_LINE}] bytes")
                    while line and not line.endswith(b"\n"):
                        line = file.readline(_MAX_LINE)
                elif line.strip():
                    number += 1
                    yield _object(number, line)


@dataclass
class SqliteSelect(_File):
    """One SELECT on an SQLite file, which is opened for reading only; never a journal.

    The digest is that of the file and the statement. Rows come in the order of the statement: say ORDER BY in it.
    """

    select: str

    def __post_init__(self) -> None:
        with closing(self._connected()):  # which refuses a journal: it may not be opened by its name
            super().__post_init__()

    def again(self) -> str:
        """Return the digest of file and statement as they are now."""
        return hashlib.sha256(_digest_of(self.path).encode() + b"\n" + self.select.encode()).hexdigest()

    def columns(self) -> Collection[str]:
        """Return the names of what is selected."""
        with closing(self._connected()) as connection:
            return self._named(self._executed(connection))

    def read(self) -> Iterator[RawRow]:
        """Yield the rows."""
        with closing(self._connected()) as connection:
            cursor = self._executed(connection)
            names = self._named(cursor)
            try:
                for number, row in enumerate(cursor, start=1):
                    yield RawRow(number, dict(zip(names, row, strict=True)))
            except sqlite3.Error as error:
                raise _unreadable(self.name, f"it stopped with [{error}]") from error

    def _executed(self, connection: sqlite3.Connection) -> sqlite3.Cursor:
        try:
            cursor = connection.execute(self.select)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise _unreadable(self.name, f"it does not take the statement [{error}]") from error
        if cursor.description is None:
            raise _unreadable(self.name, "the statement selects nothing; expected one SELECT")
        return cursor

    def _named(self, cursor: sqlite3.Cursor) -> list[str]:
        names = [str(each[0]) for each in cursor.description]
        if len(set(names)) != len(names):
            raise _unreadable(self.name, "the statement names a column twice; expected each once: use AS")
        return names

    def _connected(self) -> sqlite3.Connection:
        """Open the file for reading only, with nothing allowed but reading, and only so much of it."""
        try:
            connection = sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro", uri=True)
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            application = connection.execute("PRAGMA application_id").fetchone()[0]
        except sqlite3.Error as error:
            raise _unreadable(self.name, f"it cannot be opened [{error}]") from error
        if application == APPLICATION_ID:
            connection.close()
            raise _unreadable(self.name, "it is a journal of loom's; expected another database")
        steps = iter(range(_MOST_STEPS))
        connection.set_progress_handler(lambda: 0 if next(steps, None) is not None else 1, _STEPS)
        connection.set_authorizer(_only_reading)
        return connection


@dataclass
class PythonRows:
    """Rows that a program passes."""

    rows: list[Mapping[str, object]]
    name: str = "rows"
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.digest = self.again()

    def again(self) -> str:
        """Return the digest of the rows as they are now."""
        said = hashlib.sha256()
        for row in self.rows:
            said.update(repr(sorted((str(key), repr(value)) for key, value in row.items())).encode(errors="replace"))
            said.update(b"\n")
        return said.hexdigest()

    def columns(self) -> None:
        """Return None: each row has its own names."""

    def read(self) -> Iterator[RawRow]:
        """Yield the rows."""
        for number, row in enumerate(self.rows, start=1):
            yield RawRow(number, row)


def rows_in(path: str | Path, *, select: str | None = None, delimiter: str = ",") -> Rows:
    """Return the rows of a file by how its name ends: `.csv`, `.jsonl` or `.ndjson`; or those that `select` gives."""
    file = Path(path)
    if not file.is_file():
        raise ImportRefusedError(f"there is no file at [{file}]; expected one to import: check the path")
    if select is not None:
        return SqliteSelect(file, select)
    ending = file.suffix.lower()
    if ending in (".csv", ".tsv", ".txt"):
        return CsvFile(file, delimiter="\t" if ending == ".tsv" else delimiter)
    if ending in (".jsonl", ".ndjson"):
        return JsonLines(file)
    raise _unreadable(file.name, "its name does not say what it is; expected .csv, .tsv, .jsonl, or a SELECT on SQLite")


def _object(number: int, line: bytes) -> RawRow:
    try:
        said: Any = parse_json(line.decode())
    except (AdmissionError, UnicodeDecodeError) as error:
        return RawRow(number, {}, f"is no JSON [{error}]")
    if not isinstance(said, dict):
        return RawRow(number, {}, f"is a {type(said).__name__}; expected an object")
    return RawRow(number, said)


def _bounded(file: TextIO) -> Iterator[str]:
    while line := file.readline(_MAX_LINE + 1):
        if len(line) > _MAX_LINE:
            while line and not line.endswith("\n"):
                line = file.readline(_MAX_LINE)
            raise csv.Error(f"line of more than {_MAX_LINE} characters")
        yield line


def _digest_of(path: Path) -> str:
    said = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                said.update(block)
    except OSError as error:
        raise _unreadable(path.name, f"it cannot be read [{error.strerror}]") from error
    return said.hexdigest()


def _only_reading(action: int, *_: object) -> int:
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


def _unreadable(name: str, problem: str) -> ImportRefusedError:
    return ImportRefusedError(f"file [{name}] cannot be imported: {problem} (nothing was written)")


def shown(value: object) -> str:
    """Return a cell as a report shows it, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, default=repr, ensure_ascii=True)
    return ascii(text[:60])[1:-1] + ("…" if len(text) > 60 else "")
