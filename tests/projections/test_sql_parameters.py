"""Parameters of statements, as the sqlite3 of every Python takes them."""

from __future__ import annotations

import re
from pathlib import Path

import loom

NUMBERED = re.compile(r"[\s(,=]\?\d")


def test_no_statement_numbers_its_parameters_which_sqlite3_refuses_for_a_sequence_from_python_3_14_on() -> None:
    root = Path(loom.__file__).parent
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for path in sorted(path for path in root.rglob("*") if path.suffix in {".py", ".sql"})
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if NUMBERED.search(line)
    ]
    assert not found, "name them, or say `excluded` in an upsert"
