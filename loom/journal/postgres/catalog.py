"""Whether the tables of a journal still guard themselves: triggers and functions, compared with what made them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from loom.journal.postgres.connecting import Connection, schema_text

__all__ = ["schema_changes"]

_FUNCTION = re.compile(r"^CREATE FUNCTION (\w+)\(.*?AS \$\$(.*?)\$\$;", re.MULTILINE | re.DOTALL)
_TRIGGER = re.compile(r"^CREATE TRIGGER (\w+) [^;]*? ON (\w+) ([^;]*?)EXECUTE FUNCTION (\w+)\(\)", re.MULTILINE)
_OF_ENTRIES = re.compile(r"'CREATE TRIGGER (\w+) .*?EXECUTE FUNCTION (\w+)\(\)'", re.DOTALL)
_ENTRIES = "entries"

_FOUND_FUNCTIONS = """
SELECT proname, prosrc FROM pg_proc WHERE pronamespace = $1::regnamespace
"""
_FOUND_TRIGGERS = """
SELECT relname, tgname, tgenabled::text AS enabled, tgqual IS NOT NULL AS conditional, proname
FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid JOIN pg_proc ON pg_proc.oid = tgfoid
WHERE relnamespace = $1::regnamespace AND NOT tgisinternal
"""
_PARTITIONS = """
SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = (quote_ident($1) || '.entries')::regclass
"""


async def schema_changes(connection: Connection, schema: str) -> dict[str, str]:
    """Return name → what is wrong with it, for functions and triggers that are not what they were made as.

    It reads the catalog only. The condition of a trigger is not compared, only whether it has one.
    """
    quoted = await connection.fetchval("SELECT quote_ident($1)", schema)
    functions = {row["proname"]: row["prosrc"] for row in await connection.fetch(_FOUND_FUNCTIONS, quoted)}
    changes = {
        f"function {name}": "is missing" if name not in functions else "was changed"
        for name, body in _functions().items()
        if functions.get(name) != body
    }
    changes |= {f"function {name}": "was added" for name in functions.keys() - _functions().keys()}
    partitions = [row["relname"] for row in await connection.fetch(_PARTITIONS, schema)]
    expected = {(table, name): (condition, function) for table, name, condition, function in _triggers(partitions)}
    found = {(row["relname"], row["tgname"]): row for row in await connection.fetch(_FOUND_TRIGGERS, quoted)}
    for (table, name), (conditional, function) in expected.items():
        row = found.get((table, name))
        if row is None:
            changes[f"trigger {name} of {table}"] = "is missing"
        elif row["enabled"] not in ("O", "A"):
            changes[f"trigger {name} of {table}"] = "is switched off"
        elif (row["conditional"], row["proname"]) != (conditional, function):
            changes[f"trigger {name} of {table}"] = "was changed"
    changes |= {f"trigger {name} of {table}": "was added" for table, name in found.keys() - expected.keys()}
    return changes


@cache
def _functions() -> dict[str, str]:
    return dict(_FUNCTION.findall(schema_text()))


def _triggers(partitions: list[str]) -> Iterator[tuple[str, str, bool, str]]:
    for name, table, condition, function in _TRIGGER.findall(schema_text()):
        yield table, name, "WHEN" in condition, function
    joined = re.sub(r"'\s*\n\s*'", "", _functions()["guard_entries"])
    for name, function in _OF_ENTRIES.findall(joined):
        for table in (_ENTRIES, *partitions):
            yield table, name, False, function
