"""What the tests of the gate share: a contract, an agent that has shaken hands, proposals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loom import Extension, Loom, LoomConfig
from loom.gate import Answer, Gate, ResponsibilityContract, extension

AGENT = "retention-agent"
BY = "operations"
CONTRACT = ResponsibilityContract(
    contract_id="retention",
    version="1.2.0",
    role="offers discounts",
    allowed_policy_types=("retention_discount",),
    limits={"discount_offered": 15.0},
    minimum_confidence=0.5,
)


@asynccontextmanager
async def gated(path: Path, **more: Any) -> AsyncIterator[Loom]:
    """Open a loom with a gate; `more` is for `Gate.open`."""
    own = Extension(
        name="gate",
        projections=extension.projections,
        operations=extension.operations,
        start=lambda loom: Gate.open(loom, **more),
    )
    async with Loom.open(LoomConfig(data=path), by=BY, extensions=[own]) as loom:
        yield loom


class Desk:
    """An agent at the gate: it shakes hands once, and proposes."""

    def __init__(self, loom: Loom, agent: str = AGENT, run_id: str = "run") -> None:
        self.loom = loom
        self.gate = Gate.of(loom)
        self.agent = agent
        self.run_id = run_id
        self.token: str | None = None

    async def arrive(self, contract: ResponsibilityContract = CONTRACT, requirement: str = "1.x") -> Desk:
        await self.gate.contracts.register(contract, by=BY)
        shaken = await self.gate.handshake(
            self.agent, contract_id=contract.contract_id, requirement=requirement, contract_hash=contract.hash
        )
        assert shaken.ok, shaken.code
        self.token = shaken.token
        return self

    async def offer(self, input_id: str, discount: Any = 5.0, **changes: Any) -> Answer:
        """Go through a flow with a proposal; `changes` are to the proposal, those with an underscore to the call."""
        flow = self.gate.flow(self.run_id, input_id)
        compiled = await self.gate.compile(self.agent, flow, {"input": input_id})
        proposal: dict[str, Any] = {
            "policy_kind": "retention_discount",
            "params": {"discount_offered": discount},
            "justification": "worth it",
            "confidence": 0.8,
            "context_hash": compiled.context_hash,
            **{name: value for name, value in changes.items() if not name.startswith("_")},
        }
        call = {name[1:]: value for name, value in changes.items() if name.startswith("_")}
        return await self.gate.submit(self.agent, flow, proposal, **{"token": self.token, **call})
