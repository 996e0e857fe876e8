"""Law 5: judging again and running again leave every entry of every journal as it was, bytes and hashes."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom import Loom
from loom.replay import Selection
from tests.replay.test_judging import V1, Ask, Seller
from tests.sqlite_files import connected

FACTS = st.fixed_dictionaries(
    {},
    optional={
        "percent": st.one_of(st.integers(-5, 80), st.none(), st.text(max_size=3)),
        "industry": st.sampled_from(["health", "retail"]),
        "more": st.booleans(),
    },
)


def everything(path: Path) -> list[tuple[Any, ...]]:
    with connected(f"file:{path}/journal.db?mode=ro", uri=True) as connection:
        return connection.execute("SELECT * FROM entries ORDER BY position").fetchall()


async def judged(path: Path, cases: list[dict[str, Any]], limit: int) -> None:
    async with Loom.open(f"sqlite:///{path}/journal.db", actors=[Seller], by="robin") as loom:
        for facts in cases:
            await loom.actor(Seller, "one").ask(Ask(facts=facts))
        version = await loom.policies.register(V1.with_params(limit=limit), by="robin")
        before = everything(path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loom.store, "submit", _refuse)
            patch.setattr(loom.store, "extend", _refuse)
            patch.setattr(loom.store, "append", _refuse)
            found = await loom.replay.judge(Selection(), under=version.version)
            again = await loom.replay.run(Selection(), under=version.version)
            own = await loom.replay.judge(Selection(), under=V1.version_hash)
            audit = await loom.policies.audit()
        assert everything(path) == before
        kept = await loom.replay.judge(Selection(), under=version.version, keep=True)
        assert everything(path)[: len(before)] == before
    assert found.cases == len(again.cases) == len(cases)
    assert (own.flipped, own.defects) == (0, ())
    assert audit.verdict == ("sound" if audit.confirmed else "unconfirmed")
    assert (kept.flipped, kept.unchanged) == (found.flipped, found.unchanged)
    known = found.unchanged + found.flipped
    assert known + found.indeterminate + sum(found.not_replayable.values()) == len(cases)


def _refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("a replay wrote")


@pytest.mark.sqlite("the tables of the file")
@settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.lists(FACTS, max_size=6), st.integers(0, 50))
def test_judging_any_decisions_again_touches_nothing_and_makes_nothing_up(
    cases: list[dict[str, Any]], limit: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(judged(Path(directory), cases, limit))
