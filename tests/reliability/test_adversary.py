"""R23: ten kinds of attack on a workspace, by one who has all of it, knows the format, and makes every hash again.
Verification has to say so, up to the last checkpoint that is anchored elsewhere, and to say of the rest that it is not.

The control is the same verification without the anchors: what an attacker leaves behind is consistent in itself.
"""

from __future__ import annotations

import asyncio
import inspect
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loom.config import LoomConfig
from loom.journal.findings import DECLARED, Verification
from loom.journal.sqlite import JournalFiles, Reader
from loom.journal.sqlite.verify import verify
from loom.proof.verifying import Evidence, evidence_of, with_evidence
from tests.proof.support import configured, noted, opened
from tests.reliability.attackers import ATTACKS, Victim, attacking
from tests.reliability.board import Tally, row

TIMES = 40


async def made_victim(base: Path) -> tuple[Victim, LoomConfig]:
    """Make a workspace with a backup, a checkpoint after it that is anchored, and entries after that."""
    config = configured(base, at_close=False)
    workspace = base / "data" / "default"
    async with opened(config) as loom:
        part = await noted(loom, 4)
        await part.sign()
    shutil.copytree(workspace, base / "backup")
    async with opened(config) as loom:
        part = await noted(loom, 5)
        signed = await part.sign()
        assert signed is not None
        await noted(loom, 2)
        assert loom.store.acknowledged > signed.size
    for each in (workspace, base / "backup"):
        for name in ("journal.views.db", "journal.tree", "journal.lock"):
            (each / name).unlink(missing_ok=True)
    return Victim(workspace, base / "backup", signed.size), config


async def verified(path: Path, config: LoomConfig) -> tuple[Verification, Evidence]:
    """Verify a workspace as `loom verify` does it."""
    reader = Reader(path)
    try:
        found = await evidence_of(reader, "default", JournalFiles(path), config)
    finally:
        await reader.close()
    result = await asyncio.to_thread(verify, path, workspace="default", anchored=found.anchored, signed=found.signed)
    return with_evidence(result, found), found


@pytest.mark.seconds(60)
@pytest.mark.timeout(280)
@row("R23")
async def test_what_an_attacker_with_sql_changes_up_to_the_last_anchor_is_found(tmp_path: Path, tally: Tally) -> None:
    victim, config = await made_victim(tmp_path)
    sound, evidence = await verified(victim.copied(tmp_path / "copy"), config)
    tally.check(sound.ok, f"the journal does not verify before any attack: {sound.lines()}")
    tally.check([each.size for each in evidence.anchors] == [victim.anchored], f"the anchor reads {evidence.anchors}")
    seen = Counter[str]()
    hidden = Counter[bool]()
    for name, attack in ATTACKS.items():
        for number in range(TIMES):
            tally.tried()
            done: Any = attack.do(victim, tmp_path / "copy", tally.dice)
            assert inspect.isawaitable(done)
            await done
            path = tmp_path / "copy" / "journal.db"
            result, _ = await verified(path, config)
            codes = {each.code for each in result.findings} - DECLARED
            tally.check(not result.ok and codes & attack.verdicts, f"{name} {number}: {sorted(codes)}")
            seen.update(f"{name} → {code}" for code in codes & attack.verdicts)
            if attack.is_hidden:
                hidden[verify(path, workspace="default").ok] += 1
    tally.control(trials=hidden.total(), found=hidden[True])
    tally.note(", ".join(f"{what} {count}" for what, count in sorted(seen.items())))


@pytest.mark.seconds(5)
@row("R23")
async def test_what_is_changed_after_the_last_anchor_is_not_claimed_to_be_checked(tmp_path: Path, tally: Tally) -> None:
    victim, config = await made_victim(tmp_path)
    for _ in range(TIMES // 4):
        tally.tried()
        path = victim.copied(tmp_path / "copy")
        with attacking(path) as db:
            size = db.execute("SELECT max(position) FROM entries").fetchone()[0]
            kept = tally.dice.randrange(victim.anchored + 1, size)
            db.execute("DELETE FROM entries WHERE position > ?", (kept,))
        result, evidence = await verified(path, config)
        tally.check(
            [each.size for each in evidence.anchors] == [victim.anchored], "the anchor covers more than it does"
        )
        tally.check(result.size == kept > victim.anchored, f"it read {result.size}")
