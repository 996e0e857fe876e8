"""The circuits and the master key of the golden journal `sealed`, which has one erased subject and one that is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loom import Loom, LoomConfig
from loom.circuits import Circuits, Result, circuit, extension
from loom.extension import Extension
from loom.sealing import SealingConfig

MASTER = bytes(range(32))
ADA = {"email": "ada@example.org", "name": "Ada Lovelace", "born": "1815-12-10", "phone": "+44 20 7946", "plan": "pro"}
BOB = {**ADA, "email": "bob@example.org", "name": "Bob Byron"}


@circuit(
    "CX20_WELCOME",
    category="test",
    inputs=("email", "name", "born", "phone", "plan"),
    outputs=("letter", "to"),
    failure_mode="escalate_to_admin",
    success_metric="opened",
    fields={"email": "seal", "name": "mask", "born": "hash", "phone": "drop", "letter": "seal", "to": "mask"},
)
def welcome(inputs: Mapping[str, Any]) -> Result:
    """Write a letter."""
    return Result(outputs={"letter": f"Dear customer {inputs['email']}", "to": inputs["name"]})


@asynccontextmanager
async def opened(data: Path, workspace: str = "default") -> AsyncIterator[Loom]:
    """Open the workspace with the vault that lies in it; the master key is in the environment."""
    own = Extension(
        name="circuits",
        projections=extension.projections,
        sections=extension.sections,
        operations=extension.operations,
        start=lambda loom: Circuits.open(loom, circuits=(welcome,)),
    )
    config = LoomConfig(data=data, sections={"sealing": SealingConfig(enabled=True)})
    async with Loom.open(config, workspace=workspace, by="mira", extensions=[own]) as loom:
        yield loom
