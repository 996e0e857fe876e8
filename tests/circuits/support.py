"""A loom with circuits, and a circuit that fails where it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from loom import Extension, Loom, LoomConfig
from loom.circuits import Circuit, CircuitDefinition, Circuits, Result, extension

__all__ = ["failing", "wired"]


@asynccontextmanager
async def wired(path: Path, *circuits: Circuit) -> AsyncIterator[Loom]:
    own = Extension(
        name="circuits",
        projections=extension.projections,
        start=lambda loom: Circuits.open(loom, circuits=circuits),
    )
    async with Loom.open(LoomConfig(data=path), by="mira", extensions=[own]) as loom:
        yield loom


def failing(mode: str, *, fail: Any = None, **more: Any) -> Circuit:
    """A circuit that fails where `fail(inputs)` is true, and says which input it got where not."""

    def run(inputs: Mapping[str, Any]) -> Result:
        if fail is None or fail(inputs):
            raise RuntimeError("no luck")
        return Result(outputs={"said": f"fine {inputs.get('creativity', inputs['word'])}"})

    kept = {name: more.pop(name) for name in ("alternates", "rewrite") if name in more}
    definition = CircuitDefinition.model_validate(
        {
            "circuit_id": "CX09_MINE",
            "category": "test",
            "purpose": "to fail",
            "inputs": ("word",),
            "optional": ("creativity",),
            "outputs": ("said",),
            "failure_mode": mode,
            "success_metric": "none",
            **more,
        }
    )
    return Circuit(definition, run, **kept)
