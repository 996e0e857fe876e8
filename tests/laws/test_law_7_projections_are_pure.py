"""Law 7, for projections: no clock, no chance, no I/O; time and ids come in through the entry."""

from __future__ import annotations

import ast
import os
import random
import secrets
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from loom.actors import turns_view
from loom.actors.turns_view import TurnsProjection
from loom.decisions import (
    ApprovalsProjection,
    EnrichmentsProjection,
    RunEndedEntry,
    RunsProjection,
    RunStartedEntry,
    TracesProjection,
    approvals_view,
    enrichments_view,
    runs_view,
    traces_view,
)
from loom.journal import Recorded
from loom.precedents import PrecedentsProjection, index
from loom.projections import Projection, digest
from loom.projections.sql import statements
from tests.projections.journals import open_store, whole_turn, write

MODULES = [turns_view, approvals_view, traces_view, enrichments_view, runs_view, index]
IMPURE_MODULES = {"asyncio", "os", "pathlib", "random", "secrets", "socket", "subprocess", "tempfile", "time", "uuid"}
IMPURE_NAMES = {"now", "utcnow", "today", "open", "SystemClock", "new_id", "hash", "id", "urandom"}


def impurities(source: str) -> list[str]:
    """Return what in a module could bring a clock, chance or I/O into a projection."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [alias.name for alias in names if alias.name.partition(".")[0] in IMPURE_MODULES]
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in IMPURE_MODULES:
                found.append(module)
            case ast.ImportFrom(names=names):
                found += [alias.name for alias in names if alias.name in IMPURE_NAMES]
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_NAMES:
                found.append(name)
            case ast.Call(func=ast.Attribute(attr=name)) if name in IMPURE_NAMES:
                found.append(name)
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_nothing_impure_is_in_reach_of_a_projection(module: object) -> None:
    assert impurities(Path(module.__file__).read_text(encoding="utf-8")) == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from datetime import datetime\ndatetime.now()",
        "from os import urandom",
        "open('x')",
        "hash('x')",
    ],
)
def test_what_is_impure_is_found(source: str) -> None:
    assert impurities(source)


def projections() -> list[Projection]:
    return [
        TurnsProjection(), TracesProjection(), ApprovalsProjection(), PrecedentsProjection(), RunsProjection(),
        EnrichmentsProjection(),
    ]  # fmt: skip


async def recorded(directory: Path) -> list[Recorded]:
    store = await open_store(directory)
    for number in range(5):
        await write(store, "discount-agent/a", *whole_turn(f"n{number}", percent=5 * number), command_id=f"c{number}")
    await write(store, "loom/runs", RunStartedEntry(run_id="r", run_kind="simulation", by="ana", seed=7))
    await write(store, "loom/runs", RunEndedEntry(run_id="r", status="completed", by="ana"))
    entries = [each async for each in store.read_all()]
    await store.close()
    return entries


def folded(entries: list[Recorded]) -> str:
    view = sqlite3.connect(":memory:")
    for projection in projections():
        for statement in statements(projection.schema):
            view.execute(statement)
        for each in entries:
            if projection.kinds is None or each.kind in projection.kinds:
                projection.apply(each, view)
    said = digest(view)
    view.close()
    return said


def _forbidden(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError(f"a projection called {name}")

    return refuse


async def test_no_projection_asks_a_clock_or_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = await recorded(tmp_path)
    before = folded(entries)
    with monkeypatch.context() as patched:
        for owner, name in (
            (time, "time"),
            (time, "time_ns"),
            (time, "monotonic"),
            (random, "random"),
            (os, "urandom"),
            (os, "open"),
            (secrets, "token_bytes"),
            (uuid, "uuid4"),
        ):
            patched.setattr(owner, name, _forbidden(name))
        patched.setattr("builtins.open", _forbidden("open"))
        after = folded(entries)
    assert after == before


FOLD = """
import asyncio, sys
from pathlib import Path
from loom.journal.sqlite import Reader
from tests.laws.test_law_7_projections_are_pure import folded

async def main() -> None:
    reader = Reader(Path(sys.argv[1]))
    print(folded([each async for each in reader.read_all()]))
    await reader.close()

asyncio.run(main())
"""


async def test_neither_hash_seed_nor_time_zone_changes_a_view(tmp_path: Path) -> None:
    entries = await recorded(tmp_path)
    said = set()
    for seed, zone in (("0", "UTC"), ("1", "Asia/Tokyo"), ("4711", "America/New_York")):
        done = subprocess.run(  # noqa: ASYNC221 - nothing else is going on
            [sys.executable, "-c", FOLD, str(tmp_path / "journal.db")],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        )
        said.add(done.stdout.decode().strip())
    assert said == {folded(entries)}
