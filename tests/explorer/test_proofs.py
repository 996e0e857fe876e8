"""Pages show which signed checkpoint covers a decision, with the proof, and how far checkpoints and anchors reach."""

from __future__ import annotations

import json
from pathlib import Path

from loom.journal.merkle import is_included
from loom.proof import Checkpoints
from loom.proof.config import AnchorsConfig, CheckpointsConfig
from loom.proof.extension import extension
from loom.proof.keys import create_key
from tests.explorer.support import DiscountAgent, RequestDiscount, house


async def test_a_decision_shows_its_proof_once_a_checkpoint_covers_it(tmp_path: Path) -> None:
    create_key(tmp_path / "key.pem")
    checkpoints = CheckpointsConfig(key_file=tmp_path / "key.pem", every_entries=100_000, every_s=3_600)
    anchors = AnchorsConfig(directories=(tmp_path, tmp_path / "missing"))
    sections = {"sections": {"checkpoints": checkpoints, "anchors": anchors}}
    async with house(tmp_path / "data", extensions=[extension], sections=sections) as place:
        loom = place.loom()
        await loom.actor(DiscountAgent, "acme").ask(RequestDiscount(percent=5), by="robin")
        browser = await place.signed_in("operator")
        assert "none has been signed yet" in (await browser.open("/house")).text
        [found] = [each async for each in loom.store.read("discount-agent/acme") if each.kind == "decision"]
        decision_id = json.loads(found.body or b"")["decision"]["decision_id"]
        assert "signed checkpoint" not in (await browser.open(f"/decisions/{decision_id}")).text
        signed = await loom.part(Checkpoints).sign()
        assert signed is not None
        page = (await browser.open(f"/decisions/{decision_id}")).text
        assert f"A signed checkpoint of {signed.size} entries covers it" in page
        shown = json.loads((await browser.open(f"/decisions/{decision_id}.json")).text)["integrity"]["proven"]
        path = [bytes.fromhex(each) for each in shown["path"]]
        leaf = bytes.fromhex(shown["leaf"])
        assert is_included(leaf, found.position - 1, signed.size, path, signed.checkpoint.root)
        said = (await browser.open("/house")).text
        assert f"the last one covers {signed.size} entries" in said
        assert "was not written" in said, "the directory that is not there"
        assert f"has the checkpoint of {signed.size} entries" in said
