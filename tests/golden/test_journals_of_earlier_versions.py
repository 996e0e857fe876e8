"""Journals that an earlier loom wrote verify, show and audit as they did; entries of every kind are read.

What is under `tests/golden` is never changed: `bodies.jsonl` has bodies of every kind and schema, as they were written
when these were new (a new kind or schema adds some), and each directory has a journal of one wing, with what was read
out of it then.
"""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.circuits import Circuits
from loom.circuits.entries import CircuitEnteredEntry
from loom.errors import ErasedError
from loom.extension import installed
from loom.integrations.checkpoints import CheckpointSavedEntry
from loom.journal.entry import KINDS, UnknownEntry
from loom.journal.sqlite.verify import verify
from loom.sealing import MASTER_KEY
from loom.web.keys import KeyIssuedEntry
from tests.golden import sealed
from tests.golden.adding import missing
from tests.golden.reading import GOLDEN, HERE, copied, said

installed()  # the kinds of wings are known once their extensions are, and that of keys with the API
assert {KeyIssuedEntry.kind, CheckpointSavedEntry.kind} <= set(KINDS)

BODIES = [json.loads(line) for line in (HERE / "bodies.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("golden", [each for each in GOLDEN if each.name != "sealed"], ids=lambda path: path.name)
async def test_a_golden_journal_verifies_shows_and_audits_as_it_did(tmp_path: Path, golden: Path) -> None:
    expected = json.loads((golden / "expected.json").read_text(encoding="utf-8"))

    assert await said(copied(golden, tmp_path)) == expected


@pytest.mark.parametrize("stored", BODIES, ids=lambda stored: f"{stored['kind']}-{stored['schema_version']}")
def test_a_stored_body_of_every_kind_is_read_by_its_class(stored: dict[str, str]) -> None:
    body = stored["body"].encode()

    entry = KINDS.decode(stored["kind"], int(stored["schema_version"]), body)

    assert not isinstance(entry, UnknownEntry)
    assert entry.kind == stored["kind"]


def test_every_kind_of_looms_has_bodies_of_its_present_schema() -> None:
    lacking = missing(HERE / "bodies.jsonl")

    assert lacking == set(), (
        "write entries of these kinds into a journal, and add their bodies with "
        "`python -m tests.golden.adding bodies JOURNAL`; bodies of earlier schemas stay"
    )


async def test_what_an_earlier_vault_sealed_opens_and_what_it_erased_stays_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(sealed.MASTER).decode())
    journal = copied(HERE / "sealed", tmp_path)
    shutil.copy(HERE / "sealed" / "journal.keys", journal.with_suffix(".keys"))
    journal.with_suffix(".keys").chmod(0o600)

    assert verify(journal).ok
    async with sealed.opened(tmp_path) as loom:
        [ada, *_] = await stored(loom, "circuits/ada")
        [bob] = await stored(loom, "circuits/bob")
        fields = Circuits.of(loom).fields

        assert await fields.reveal({"email": ada["inputs"]["email"]}, subject="ada") == {"email": sealed.ADA["email"]}
        with pytest.raises(ErasedError):
            await fields.reveal({"email": bob["inputs"]["email"]}, subject="bob")


async def stored(loom: Loom, journal: str) -> list[dict[str, Any]]:
    """Return the bodies of the executions in a journal."""
    return [
        json.loads(recorded.body or b"")
        async for recorded in loom.store.read(journal)
        if recorded.kind == CircuitEnteredEntry.kind
    ]
