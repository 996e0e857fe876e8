"""Law 7, for projections: no clock, no chance, no I/O; time and ids come in through the entry."""

from __future__ import annotations

import ast
import contextlib
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

from loom.journal import Recorded
from loom.projections import Projection, digest
from loom.projections.sql import quoted, statements
from tests.projections.every import every_projection, golden_workspaces

MODULES = sorted({type(each).__module__ for each in every_projection()})
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


@pytest.mark.parametrize("module", MODULES)
def test_nothing_impure_is_in_reach_of_a_projection(module: str) -> None:
    source = sys.modules[module].__file__

    assert source is not None
    assert impurities(Path(source).read_text(encoding="utf-8")) == []


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


def folded(workspaces: list[list[Recorded]]) -> list[str]:
    """Return the digest of the views of each workspace."""
    said = []
    for entries in workspaces:
        with contextlib.closing(sqlite3.connect(":memory:")) as view:
            for projection in every_projection():
                fold(entries, projection, view)
            said.append(digest(view))
    return said


def fold(entries: list[Recorded], projection: Projection, view: sqlite3.Connection) -> None:
    for statement in statements(projection.schema):
        view.execute(statement)
    for each in entries:
        if projection.kinds is None or each.kind in projection.kinds:
            projection.apply(each, view)


def _forbidden(name: str) -> Callable[..., NoReturn]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError(f"a projection called {name}")

    return refuse


async def test_no_projection_asks_a_clock_or_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    workspaces = await golden_workspaces()
    before = folded(workspaces)
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
        after = folded(workspaces)
    assert after == before


@pytest.mark.parametrize("projection", every_projection(), ids=lambda each: each.name)
async def test_every_projection_finds_something_to_fold_in_the_golden_journals(projection: Projection) -> None:
    rows = 0
    for entries in await golden_workspaces():
        with contextlib.closing(sqlite3.connect(":memory:")) as view:
            fold(entries, projection, view)
            rows += sum(
                view.execute(f"SELECT count(*) FROM {quoted(table)}").fetchone()[0] for table in projection.tables
            )

    assert rows > 0, (
        "no law is tested with rows of this projection: pack a journal that has its kinds into tests/golden with "
        "`python -m tests.golden.adding journal NAME JOURNAL`"
    )


FOLD = """
import asyncio
from tests.laws.test_law_7_projections_are_pure import folded
from tests.projections.every import golden_workspaces

print(folded(asyncio.run(golden_workspaces())))
"""


async def test_neither_hash_seed_nor_time_zone_changes_a_view() -> None:
    said = set()
    for seed, zone in (("0", "UTC"), ("1", "Asia/Tokyo"), ("4711", "America/New_York")):
        done = subprocess.run(  # noqa: ASYNC221 - nothing else is going on
            [sys.executable, "-c", FOLD],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        )
        said.add(done.stdout.decode().strip())
    assert said == {str(folded(await golden_workspaces()))}
