"""What golden journals say: what a newer loom reads out of them has to be what the loom that wrote them read.

A golden journal is a directory with `journal.db.gz`, `journal.heads` and `expected.json`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from examples.discount_evolution import DiscountDesk
from examples.onboarding_drop_off import Persona
from loom import Actor, Loom
from loom.config import LoomConfig
from loom.extension import installed
from loom.journal.sqlite.verify import verify
from loom.replay import Selection

HERE = Path(__file__).parent
GOLDEN = sorted(path.parent for path in HERE.glob("*/journal.db.gz"))
ACTORS: tuple[type[Actor[Any]], ...] = (DiscountDesk, Persona)
"""The actors of the journals that no extension brings."""


def copied(golden: Path, directory: Path) -> Path:
    """Unpack a golden journal to where it may be opened, as the only workspace of a data directory; return its path."""
    name: str = json.loads((golden / "workspace.json").read_text(encoding="utf-8"))
    workspace = directory / name
    workspace.mkdir(mode=0o700, parents=True)
    with gzip.open(golden / "journal.db.gz") as packed, (workspace / "journal.db").open("wb") as target:
        shutil.copyfileobj(packed, target)
    shutil.copy(golden / "journal.heads", workspace / "journal.heads")
    return workspace / "journal.db"


async def said(journal: Path) -> dict[str, Any]:
    """Return what a copy says: whether it verifies, its entries, its audit and every decision in it."""
    verified = verify(journal)
    last = verified.size
    config = LoomConfig(data=journal.parent.parent)
    async with Loom.open(
        config,
        workspace=journal.parent.name,
        actors=ACTORS,
        by="robin",
        resume=False,
        extensions=list(installed().values()),
    ) as loom:
        await loom.rebuild()
        hashes = [recorded.entry_hash.hex() async for recorded in loom.store.read_all(until=last)]
        audited = await loom.policies.audit(Selection(origin="any"))
        decisions = [
            json.loads(recorded.body or b"null")["decision"]["decision_id"]
            async for recorded in loom.store.read_all(until=last)
            if recorded.kind == "decision"
        ]
        traces = [(await loom.traces.get(each)).decision for each in decisions]
    return {
        "verified": verified.ok,
        "entries": len(hashes),
        "hashes": _digest(hashes),
        "decisions": len(traces),
        "traces": _digest([_shown(each) for each in traces]),
        "audit": {"decisions": audited.decisions, "confirmed": audited.confirmed, "counts": audited.counts},
    }


def _shown(decision: Any) -> dict[str, Any]:
    """Return what may not change of a decision, whatever fields a newer loom adds."""
    plain: dict[str, Any] = decision.model_dump(mode="json")
    kept = (
        "decision_id",
        "decision_type",
        "rationale",
        "policy",
        "facts",
        "outcome",
        "is_exception",
        "exception_reason",
        "context",
        "parent_decision_id",
        "run_id",
        "origin",
        "replayed_from",
    )
    evaluation = plain["evaluation"] or {}
    return {**{name: plain[name] for name in kept}, "effect": evaluation.get("effect"), "why": evaluation.get("why")}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
