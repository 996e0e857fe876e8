"""The statements with which published tables are made and written in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from loom.journal.postgres.connecting import quoted
from loom.publishing.capture import PublishedTable, Rows

__all__ = [
    "BUILDING",
    "SCHEMA",
    "WORDS",
    "columns_by_place",
    "create",
    "delete",
    "grant",
    "next_name",
    "upsert",
]

BUILDING = "__next"
"""What the names of tables end with that are not filled yet."""

WORDS = "words"
"""The column with the words of a row, and the configuration of text search that they are made with."""

SCHEMA = """
CREATE TABLE published_views (
  name text NOT NULL,
  building boolean NOT NULL,
  version integer NOT NULL,
  shape text NOT NULL,
  position bigint NOT NULL,
  entry_hash bytea NOT NULL,
  tables text[] NOT NULL,
  problem text,
  published_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (name, building)
);

CREATE TABLE published_from (
  one smallint PRIMARY KEY DEFAULT 1 CHECK (one = 1),
  format integer NOT NULL,
  workspace text NOT NULL,
  unaccent boolean NOT NULL
);

CREATE TEXT SEARCH CONFIGURATION words (COPY = pg_catalog.simple);
"""

_MOST_CHARACTERS = 100_000  # a tsvector has one megabyte at most
_YEAR_1_US, _YEAR_9999_US = -62_135_596_800_000_000, 253_402_300_799_999_999


def next_name(table: str) -> str:
    """Return the name of a table while it is filled."""
    return f"{table}{BUILDING}"


def create(table: PublishedTable, name: str, *, schema: str) -> Iterator[str]:
    """Yield the statements that make a table under a name: its columns, times that people can read, its words."""
    columns = [f"{quoted(column)} {kind}" for column, kind in zip(table.columns, table.types, strict=True)]
    columns += [f"{quoted(made)} {expression}" for made, expression in _made(table, schema)]
    key = ", ".join(map(quoted, table.key))
    yield f"CREATE TABLE {quoted(name)} ({', '.join(columns)}, PRIMARY KEY ({key}))"
    for index in table.indexes:
        yield f"CREATE INDEX ON {quoted(name)} ({', '.join(map(quoted, index))})"
    if table.text:
        yield f"CREATE INDEX ON {quoted(name)} USING gin ({quoted(_words_of(table))})"


def _words_of(table: PublishedTable) -> str:
    """Return the name of the column with the words of a row."""
    return WORDS if WORDS not in table.columns else f"{WORDS}_of_{table.name}"


def _made(table: PublishedTable, schema: str) -> Iterator[tuple[str, str]]:
    for column in table.columns:
        readable = column.removesuffix("_us")
        if column.endswith("_at_us") and table.type_of(column) == "bigint" and readable not in table.columns:
            moment = f"to_timestamp(({quoted(column)} / 1000000.0)::double precision)"
            bounded = f"CASE WHEN {quoted(column)} BETWEEN {_YEAR_1_US} AND {_YEAR_9999_US} THEN {moment} END"
            yield readable, f"timestamptz GENERATED ALWAYS AS ({bounded}) STORED"
    if table.text:
        text = " || ' ' || ".join(f"coalesce({quoted(each)}::text, '')" for each in table.text)
        configuration = f"{quoted(schema)}.{WORDS}".replace("'", "''")
        words = f"to_tsvector('{configuration}'::regconfig, left({text}, {_MOST_CHARACTERS}))"
        yield _words_of(table), f"tsvector GENERATED ALWAYS AS ({words}) STORED"


def upsert(table: PublishedTable, name: str) -> str:
    """Return the statement that writes rows, given as an array for each column."""
    columns = ", ".join(map(quoted, table.columns))
    arrays = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(table.types, 1))
    others = [each for each in table.columns if each not in table.key]
    changes = ", ".join(f"{quoted(each)} = excluded.{quoted(each)}" for each in others)
    return (
        f"INSERT INTO {quoted(name)} ({columns}) SELECT * FROM unnest({arrays}) "  # noqa: S608 - names of a projection
        f"ON CONFLICT ({', '.join(map(quoted, table.key))}) DO {f'UPDATE SET {changes}' if others else 'NOTHING'}"
    )


def delete(table: PublishedTable, name: str) -> str:
    """Return the statement that deletes rows, given as an array for each column of the key."""
    key = ", ".join(map(quoted, table.key))
    arrays = ", ".join(f"${place}::{table.type_of(each)}[]" for place, each in enumerate(table.key, 1))
    return f"DELETE FROM {quoted(name)} WHERE ({key}) IN (SELECT * FROM unnest({arrays}))"  # noqa: S608


def columns_by_place(rows: Rows, width: int) -> Iterator[list[Any]]:
    """Yield each column of some rows, as `upsert` and `delete` take them."""
    for place in range(width):
        yield [row[place] for row in rows]


def grant(name: str, role: str) -> str:
    """Return the statement that lets a role read a table."""
    return f"GRANT SELECT ON {quoted(name)} TO {quoted(role)}"
