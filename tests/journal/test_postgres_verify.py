"""`verify` and `doctor` find in PostgreSQL what they find in a file, and what an owner of the tables did to them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from loom.journal import Append, PrunedEntry, draft
from loom.journal.places import NodeFiles
from loom.journal.postgres.verify import verify_server
from loom.journal.verifying import verify_journal
from tests.journal.support import fill, mark, note, received
from tests.postgres_server import PASSWORD, QUOTED, Place

SWITCHED_OFF = "SET session_replication_role = replica"  # as an owner may who wants no trigger to run

DONE = {
    "UPDATE entries SET body = convert_to('{\"text\":\"x\"}', 'UTF8') WHERE position = 2": {"TAMPERED"},
    "UPDATE entries SET recorded_at_us = recorded_at_us + 1 WHERE position = 2": {"TAMPERED"},
    "UPDATE entries SET body = NULL, salt = NULL WHERE position = 2": {"TAMPERED"},
    "DELETE FROM entries WHERE position = 2": {"MISSING"},
    "DELETE FROM entries WHERE position >= 8": {"TRUNCATED"},
    "DELETE FROM commands": {"INDEX_DAMAGED"},
    "UPDATE own_ids SET position = 1": {"INDEX_DAMAGED"},
    "UPDATE tail SET position = 3": {"TAMPERED"},
    "UPDATE heads SET sequence = 1": {"TAMPERED"},
    "UPDATE meta SET value = '9' WHERE key = 'format'": {"SCHEMA_CHANGED"},
    "ALTER TABLE entries DISABLE TRIGGER append_only_delete": {"SCHEMA_CHANGED"},
    "DROP TRIGGER append_only_update ON entries_1": {"SCHEMA_CHANGED"},
    "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'": {
        "SCHEMA_CHANGED"
    },
}


async def written(place: Place) -> Path:
    """Write some entries, and return the directory of the node that did."""
    store = await place.open(node="one")
    await store.append(Append("a/1", 0, [note(), received("c-1"), note("gone")]))
    await store.append(Append("a/2", 0, [mark("decision_observed", "bank:1")]))
    await fill(store, {"a/3": 4})
    await store.append(
        Append(
            "loom/pruned",
            0,
            [draft(PrunedEntry(journal="a/1", first_sequence=3, last_sequence=3, reason="x", by="dana"))],
        )
    )
    await store.prune_bodies("a/1", [(3, 3)])
    await store.close()
    return store.files.directory


async def test_what_was_done_to_the_tables_is_found(place: Place) -> None:
    directory = await written(place)
    heads = directory / "journal.heads"
    sound = await verify_server(place.url(), heads, workspace="default")
    assert (sound.ok, sound.size, sound.anchored_through, set(sound.counts)) == (True, 9, 9, {"PRUNED"})
    connection = await place.connect()
    await connection.execute(SWITCHED_OFF)
    missed: dict[str, Any] = {}
    for statement, codes in DONE.items():
        before = connection.transaction()
        await before.start()
        await connection.execute(statement)
        found = await _verified_on(connection, place, heads)
        await before.rollback()
        if not codes <= found.keys():
            missed[statement] = dict(found)
    await connection.close()
    assert missed == {}
    assert (await verify_server(place.url(), heads)).ok


async def _verified_on(connection: Any, place: Place, heads: Path) -> dict[str, int]:
    """Verify what one transaction sees: nothing of it is kept."""
    from loom.journal.postgres.verify import _ServerVerifier
    from loom.journal.roots import RootsSeen

    verifier = _ServerVerifier(place.url(), workspace="default", roots=RootsSeen(), progress=lambda *_: None)

    class Inside:
        def __getattr__(self, name: str) -> Any:
            return getattr(connection, name)

        def transaction(self, **_: Any) -> Any:
            return connection.transaction()

    return (await verifier.verify(Inside(), verifier.heads_in(heads))).counts


async def test_the_shell_verifies_and_looks_at_a_journal_on_a_server(place: Place, tmp_path: Path) -> None:
    await written(place)
    files = NodeFiles(tmp_path / "two", place.url())
    assert (await verify_journal(files, workspace="default")).ok
    url = place.server.url(schema=place.schema).replace(f":{QUOTED}", "")
    verified = shell("verify", "--journal", url, directory=tmp_path)
    assert "VERIFIED through size 9" in verified.stdout
    looked = shell("doctor", "--journal", url, directory=tmp_path)
    assert "PostgreSQL" in looked.stdout
    assert "triggers refuse changes" in looked.stdout
    assert "fsync" in looked.stdout  # off in tests
    listed = shell("journal", "--journal", url, directory=tmp_path)
    assert "a/3" in listed.stdout
    assert PASSWORD not in verified.stdout + verified.stderr + looked.stdout + looked.stderr


def shell(*given: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loom.cli", *given],
        env={**os.environ, "PGPASSWORD": PASSWORD, "COLUMNS": "200"},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
