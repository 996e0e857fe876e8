"""Hostile statements: pieces that write, read files, never end or need much memory, put together by chance."""

from __future__ import annotations

import random
from pathlib import Path

__all__ = ["statement_of"]

_WHOLE = (
    "ATTACH '{p}/x.db' AS x",
    "ATTACH 'file:{p}/secret.txt?mode=ro' AS s",
    "VACUUM",
    "VACUUM INTO '{p}/copy.db'",
    "REINDEX",
    "ANALYZE",
    "BEGIN IMMEDIATE",
    "SAVEPOINT s",
    "PRAGMA {g}",
    "PRAGMA {g} = {v}",
    "INSERT INTO {t} {s}",
    "REPLACE INTO {t} {s}",
    "UPDATE {t} SET rowid = rowid",
    "DELETE FROM {t} RETURNING *",
    "DROP TABLE {t}",
    "ALTER TABLE {t} RENAME TO gone",
    "CREATE TABLE gone AS {s}",
    "CREATE TEMP TABLE gone AS {s}",
    "CREATE VIRTUAL TABLE gone USING fts5 (a)",
    "CREATE VIRTUAL TABLE gone USING csv (filename='{p}/secret.txt')",
    "CREATE TRIGGER gone AFTER INSERT ON {t} BEGIN SELECT 1; END",
    "CREATE VIEW gone AS {s}",
    "INSERT INTO words (words) VALUES ('rebuild')",
    "WITH x AS ({s}) DELETE FROM {t}",
    "EXPLAIN {s}",
    "EXPLAIN QUERY PLAN {s}",
    "{s}",
    "{s}",
    "{s}",
    "{s} UNION ALL {s}",
    "SELECT * FROM ({s}) ORDER BY 1",
    "SELECT ({s}) || ({s})",
    "SELECT count(*) FROM ({s}), ({s})",
    "WITH y AS ({s}) SELECT * FROM y, y AS z",
    "VALUES (({s}))",
)
_SELECTS = (
    "SELECT readfile('{p}/secret.txt')",
    "SELECT load_extension('{p}/secret.txt')",
    "SELECT writefile('{p}/new.txt', 'x')",
    "SELECT edit('x', 'cat {p}/secret.txt')",
    "SELECT fts3_tokenizer('simple', x'00')",
    "SELECT * FROM {t}",
    "SELECT * FROM fsdir('{p}')",
    "SELECT * FROM pragma_{g}",
    "SELECT * FROM pragma_{g}('{t}')",
    "SELECT zeroblob(999999)",
    "SELECT randomblob(1000000000)",
    "SELECT hex(zeroblob(900000))",
    "SELECT printf('%.*c', 1000000000, 'x')",
    "SELECT replace(printf('%.*c', 9999, 'x'), 'x', printf('%.*c', 9999, 'y'))",
    "SELECT group_concat(name) FROM things a, things b",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
    "WITH RECURSIVE n(b) AS (SELECT zeroblob(99999) UNION ALL SELECT b FROM n) SELECT max(b) FROM n",
    "SELECT count(*) FROM things a, things b, things c",
    "SELECT 'a' GLOB '" + "*a" * 200 + "'",
    "SELECT json_extract('" + "[" * 1_500 + "', '$" + "[0]" * 200 + "')",
    "SELECT abs(-9223372036854775808)",
    "SELECT 1 WHERE words MATCH 'a NEAR/999999 b'",
    "SELECT snippet(words, -1, '<script>', '', '', 64) FROM words",
    "SELECT * FROM words WHERE words MATCH '" + "(" * 300 + "'",
    "SELECT sum(1) OVER (ORDER BY a.name, b.name) FROM things a, things b",
    "SELECT " + "+".join("1" for _ in range(400)),
    "SELECT " + ",".join("1" for _ in range(300)),
    "SELECT 1 IN (" + ",".join("1" for _ in range(2_000)) + ")",
    "SELECT ?1, :a, @b",
    "SELECT sqlite_compileoption_get(1), sqlite_version(), sqlite_source_id()",
    "SELECT 1 -- ; DELETE FROM things",
    "SELECT 1 /* ; DELETE FROM things",
    "SELECT 1; DELETE FROM things",
)
_PRAGMAS = (
    "writable_schema",
    "journal_mode",
    "query_only",
    "database_list",
    "table_list",
    "function_list",
    "temp_store_directory",
    "hard_heap_limit",
    "key",
    "user_version",
    "wal_checkpoint",
    "optimize",
    "integrity_check",
    "mmap_size",
    "trusted_schema",
    "data_version",
)
_TABLES = ("things", "words", "words_data", "sqlite_schema", "sqlite_master", "sqlite_temp_schema", "dbstat", "main.t")
_VALUES = ("ON", "OFF", "0", "1", "'{p}'", "999999999", "DELETE")


def statement_of(draw: random.Random, place: Path) -> str:
    """Return a statement that means harm to `place`, or asks for too much."""
    text = draw.choice(_WHOLE)
    for name, choices in (("{s}", _SELECTS), ("{t}", _TABLES), ("{g}", _PRAGMAS), ("{v}", _VALUES), ("{t}", _TABLES)):
        while name in text:
            text = text.replace(name, draw.choice(choices), 1)
    text = text.replace("{g}", draw.choice(_PRAGMAS)).replace("{p}", str(place))
    if draw.random() < 0.15:
        text = draw.choice(("-- SELECT\n", "/**/", " \t\n", "\ufeff", ";", "\x00", "SELECT 1;")) + text
    return text if draw.random() < 0.9 else text.swapcase()
