"""Every public reader that takes a limit refuses one below 1, whatever is behind it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from loom import Loom
from loom.drift import Window
from loom.errors import OutOfRangeError
from loom.extension import installed

FILLED: dict[str, Any] = {
    "text": "delay",
    "name": "town",
    "precedent": "0" * 64,
    "baseline": Window(),
    "current": Window(),
    "of": "spring",
    "journal": "agent/a",
}
"""What readers need as well; what it says does not matter, as nothing is looked up."""


def readers(loom: Loom) -> Iterator[tuple[str, Any]]:
    """Yield every public method with a limit of every public part of a loom, by its name."""
    parts = {name: getattr(loom, name) for name in dir(loom) if not name.startswith("_")}
    parts |= {f"parts[{name}]": part for name, part in loom.parts.items()}
    for part, value in parts.items():
        for name in dir(value):
            if name.startswith("_"):
                continue
            method = inspect.getattr_static(value, name)
            if inspect.isfunction(method) and "limit" in inspect.signature(method).parameters:
                yield f"{part}.{name}", getattr(value, name)


@pytest.mark.parametrize("limit", [-1, 0])
async def test_a_limit_below_one_is_refused_by_every_reader(limit: int) -> None:
    async with Loom.open("sqlite://", extensions=list(installed().values())) as loom:
        found = dict(readers(loom))
        assert len(found) > 12
        for name, read in found.items():
            needed = {
                each.name: FILLED[each.name]
                for each in inspect.signature(read).parameters.values()
                if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
            }
            with pytest.raises(OutOfRangeError, match=r"expected \[1 or more\]"):
                assert not await read(**needed, limit=limit), name
