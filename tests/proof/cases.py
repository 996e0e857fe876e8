"""Cases out of journals, with notes that the tests sign themselves."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loom import Loom
from loom.cli.demo.agent import DiscountAgent, RequestDiscount
from loom.cli.demo.waiting import asked
from loom.journal.sqlite import JournalFiles, Reader
from loom.proof.case import Place, case_of
from loom.proof.tree import tree_of
from loom.proof.verify import canonical, pack, unpack

__all__ = ["INSTANCE", "REDACTABLE", "Made", "Signer", "changed", "made", "told"]

INSTANCE = "0190b3e4-5f6a-7b8c-9d0e-1f2a3b4c5d6e"


class Signer:
    """A key of a log, which signs notes as C2SP has them."""

    def __init__(self, name: str, seed: int = 1) -> None:
        self.name = name
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"key %d" % seed).digest())
        self.public = self._key.public_key().public_bytes_raw()
        self.fingerprint = hashlib.sha256(self.public).hexdigest()
        self.key_id = hashlib.sha256(name.encode() + b"\n\x01" + self.public).digest()[:4]
        self.vkey = f"{name}+{self.key_id.hex()}+{base64.b64encode(bytes([1]) + self.public).decode()}"

    def note(self, text: str) -> bytes:
        """Return a text with this key's signature."""
        signed = self.key_id + self._key.sign(text.encode())
        return f"{text}\n\u2014 {self.name} {base64.b64encode(signed).decode()}\n".encode()

    def checkpoint(self, size: int, root: bytes) -> bytes:
        """Return a signed checkpoint of the log that the key is of."""
        return self.note(f"{self.name}\n{size}\n{base64.b64encode(root).decode()}\n")


@dataclass(frozen=True)
class Made:
    """A case, its signer, and what is in it."""

    raw: bytes
    signer: Signer
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def case(self) -> dict[str, Any]:
        """What `case.json` says."""
        said: dict[str, Any] = json.loads(self.files["case.json"])
        return said


REDACTABLE = "journal: {redactable: [context_gathered, approval_answered]}\n"


def told(directory: Path, more: str = "") -> Path:
    """Write a workspace in which two discounts were asked for: one within the limit, one with consent."""
    config = directory / "loom.config.yaml"
    text = f"data: data\nworkspace: discounts\nmodules: [loom.cli.demo.agent]\n{more}"
    config.write_text(text, encoding="utf-8")

    async def tell() -> Path:
        async with Loom.open(config, by="robin") as loom:
            agent = loom.actor(DiscountAgent, "emea")
            await agent.ask(RequestDiscount(customer_id="delta-retail", percent=8), id="within", by="robin")
            async with asyncio.TaskGroup() as group:
                asking = agent.ask(RequestDiscount(customer_id="borealis", percent=15), id="over", by="robin")
                waiting = group.create_task(asking)
                approval = await asked(loom, "over")
                await loom.approvals.grant(approval.approval_id, by="dana", comment="on our side")
            await waiting
            return loom.files.journal

    return asyncio.run(tell())


async def made(journal: Path, *without: str) -> Made:
    """Return the signed case of the last decision of a journal, without some fields."""
    files = JournalFiles(journal)
    reader = Reader(files.journal)
    try:
        workspace = await reader.workspace() or ""
        chosen = [each async for each in reader.read_all() if each.kind == "decision"][-1]
        decision = json.loads(chosen.body or b"{}")["decision"]["decision_id"]
        signer = Signer(f"loom/{INSTANCE}/{workspace}")
        place = Place(decision, chosen.journal, chosen.sequence)
        with closing(tree_of(files)) as tree:
            note = signer.checkpoint(tree.extend(), tree.root())
            case = await case_of(
                reader, tree, place, workspace=workspace, checkpoint=note, key=signer.vkey, without=without
            )
    finally:
        await reader.close()
    return Made(case.raw, signer, unpack(case.raw))


def changed(made: Made, change: Callable[[dict[str, Any]], object] = lambda _: None, **files: bytes | None) -> bytes:
    """Return a case with other contents, written as one: `change` gets `case.json`, `files` replace by stem."""
    case = made.case
    change(case)
    found = {**made.files, "case.json": canonical(case)}
    for name in list(found):
        if name.partition(".")[0] in files:
            raw = files[name.partition(".")[0]]
            if raw is None:
                del found[name]
            else:
                found[name] = raw
    return pack(found)
