"""Add to `tests/golden` what a newer loom writes; nothing that is there is changed.

    python -m tests.golden.adding bodies JOURNAL         one body of each kind and schema that `bodies.jsonl` lacks
    python -m tests.golden.adding journal NAME JOURNAL   the whole journal, and what is read out of it now

`JOURNAL` is the `journal.db` of a workspace whose loom was closed, such as one that a test left under `--basetemp`.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from loom.extension import installed
from loom.journal.entry import KINDS
from tests.golden.reading import HERE, copied, said

__all__ = ["add_bodies", "add_journal", "missing"]

_BODIES = "SELECT kind, schema_version, body FROM entries WHERE body IS NOT NULL ORDER BY position"
_WORKSPACE = "SELECT value FROM meta WHERE key = 'workspace'"


def missing(bodies: Path) -> set[tuple[str, int]]:
    """Return the kinds of loom's own, each with its present schema, of which a file has no body."""
    installed()
    own = {kind: KINDS.get(kind) for kind in KINDS}
    present = {(kind, cls.schema_version) for kind, cls in own.items() if cls and cls.__module__.startswith("loom.")}
    return present - {(each["kind"], int(each["schema_version"])) for each in _lines(bodies)}


def add_bodies(journal: Path, *, bodies: Path) -> list[str]:
    """Append the first body of each kind that a file lacks, as the journal has it; return which were appended."""
    wanted = missing(bodies)
    added = []
    with closing(sqlite3.connect(f"{journal.absolute().as_uri()}?mode=ro", uri=True)) as entries:
        for kind, schema, body in entries.execute(_BODIES):
            if (kind, schema) in wanted:
                wanted.remove((kind, schema))
                line = {"kind": kind, "schema_version": schema, "body": bytes(body).decode()}
                added.append(json.dumps(line, ensure_ascii=False) + "\n")
    with bodies.open("a", encoding="utf-8") as file:
        file.writelines(added)
    return [f"{each['kind']}-{each['schema_version']}" for each in map(json.loads, added)]


def add_journal(journal: Path, *, into: Path) -> None:
    """Pack a journal into a new directory; raise `FileExistsError` where there is one of that name."""
    with tempfile.TemporaryDirectory(prefix="loom-golden-") as scratch:
        packed = Path(scratch, into.name)
        packed.mkdir()
        whole = Path(scratch, "journal.db")
        with closing(sqlite3.connect(journal)) as source, closing(sqlite3.connect(whole)) as target:
            source.backup(target)  # what is still in the write-ahead log comes along
            (workspace,) = target.execute(_WORKSPACE).fetchone()
        with whole.open("rb") as plain, gzip.GzipFile(packed / "journal.db.gz", "wb", mtime=0) as file:
            shutil.copyfileobj(plain, file)
        shutil.copy(journal.with_name("journal.heads"), packed)
        (packed / "workspace.json").write_text(json.dumps(workspace) + "\n", encoding="utf-8")
        expected = asyncio.run(said(copied(packed, Path(scratch, "copy"))))
        if not expected["verified"]:
            raise ValueError(f"journal [{journal}] does not verify; expected one that does: see `loom verify`")
        (packed / "expected.json").write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")
        into.mkdir()
        shutil.copytree(packed, into, dirs_exist_ok=True)


def _lines(bodies: Path) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in bodies.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.golden.adding", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words = parser.add_subparsers(dest="what", required=True)
    for what in ("bodies", "journal"):
        word = words.add_parser(what)
        if what == "journal":
            word.add_argument("name")
        word.add_argument("journal", type=Path)
    given = parser.parse_args()
    if given.what == "journal":
        add_journal(given.journal, into=HERE / given.name)
        print(f"packed as {given.name}: {(HERE / given.name / 'expected.json').read_text()}", end="")
        return
    if added := add_bodies(given.journal, bodies=HERE / "bodies.jsonl"):
        print(f"added: {', '.join(added)}")
    left = ", ".join(sorted(f"{kind}-{schema}" for kind, schema in missing(HERE / "bodies.jsonl")))
    if left and not added:
        sys.exit(f"[{given.journal}] has no entry of [{left}]; expected some: name a journal that has")
    print(f"still without a body: {left}" if left else "every kind has a body of its present schema")


if __name__ == "__main__":
    main()
