"""The gate: one decision from its context to the monitor's tick, with few earlier decisions and with many."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

from loom import Loom, LoomConfig
from loom.gate import Gate, ResponsibilityContract, extension

CONTRACT = ResponsibilityContract(
    contract_id="bench",
    version="1.0.0",
    role="bench",
    allowed_policy_types=("retention_discount",),
    limits={"discount_offered": 15.0},
)


async def decisions_s(path: Path, *, earlier: int, count: int) -> list[float]:
    """Return how long decisions take, one after the other, once there are so many earlier ones."""
    async with Loom.open(LoomConfig(data=path), by="bench", extensions=[extension]) as loom:
        gate = Gate.of(loom)
        await gate.contracts.register(CONTRACT, by="bench")

        async def agent(name: str) -> str | None:
            shaken = await gate.handshake(name, contract_id="bench", requirement="1.x", contract_hash=CONTRACT.hash)
            return shaken.token

        async def offer(name: str, token: str | None, number: int) -> None:
            flow = gate.flow("run", f"{name}-{number}")
            compiled = await gate.compile(name, flow, {"input": number})
            proposal = {
                "policy_kind": "retention_discount",
                "params": {"discount_offered": 5.0},
                "justification": "so",
                "confidence": 0.9,
                "context_hash": compiled.context_hash,
            }
            answer = await gate.submit(name, flow, proposal, token=token)
            assert answer.executed, answer

        async def many(name: str, upto: int) -> None:
            token = await agent(name)
            for number in range(upto):
                await offer(name, token, number)

        measured = "measured"
        token = await agent(measured)
        others = 15
        began = time.perf_counter()
        share = earlier // (others + 1)
        await asyncio.gather(*(many(f"other-{each}", share) for each in range(others)))
        for number in range(share):
            await offer(measured, token, number)
        await loom.reactors.reached()
        await loom.reached()
        if earlier > 1_000:
            print(f"laid down {earlier} decisions in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        times = []
        for number in range(count):
            started = time.perf_counter()
            await offer(measured, token, 10_000_000 + number)
            await loom.reactors.reached()
            times.append(time.perf_counter() - started)
        return times
