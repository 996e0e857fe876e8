"""Originals and their replays: walked both ways, the same from any of them, and cut where there are too many."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loom.decisions import DecisionJournalEntry, DecisionLineage
from loom.errors import DecisionNotFoundError
from loom.identity import derived_id
from tests.projections.journals import decision
from tests.projections.reading import Asked, asked


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Asked]:
    async with asked(tmp_path) as loom:
        yield loom


def id_of(name: str) -> str:
    return derived_id("test", name)


def original(name: str) -> DecisionJournalEntry:
    return DecisionJournalEntry(decision=decision(name))


def replay(name: str, of: str) -> DecisionJournalEntry:
    return DecisionJournalEntry(decision=decision(name, origin="replayed", replayed_from=id_of(of), run_id="r"))


def shape(lineage: DecisionLineage) -> list[tuple[int, str]]:
    return [(each.depth, each.decision.decision_id) for each in lineage.members]


async def test_a_lineage_is_the_same_from_the_original_a_replay_and_a_replay_of_that(loom: Asked) -> None:
    await loom.write("discount-agent/acme", original("a"), original("other"))
    await loom.write("replay/1", replay("b1", "a"), replay("b2", "a"))
    await loom.write("replay/2", replay("c", "b1"), replay("unrelated", "other"))
    expected = [(0, id_of("a")), (1, id_of("b1")), (1, id_of("b2")), (2, id_of("c"))]
    for name in ("a", "b1", "b2", "c"):
        lineage = await loom.traces.lineage(id_of(name))
        assert shape(lineage) == expected
        assert lineage.decision.decision_id == id_of(name)
        assert (lineage.original.decision_id, len(lineage.replays)) == (id_of("a"), 3)
        assert (lineage.missing, lineage.cut) == (None, False)
    assert (await loom.traces.get(id_of("a"))).replays == (id_of("b1"), id_of("b2"))


async def test_a_decision_that_nobody_replayed_stands_alone(loom: Asked) -> None:
    await loom.write("discount-agent/acme", original("a"))
    lineage = await loom.traces.lineage(id_of("a")[:12])
    assert (shape(lineage), lineage.replays) == ([(0, id_of("a"))], ())
    with pytest.raises(DecisionNotFoundError, match="is not known"):
        await loom.traces.lineage("zz")


async def test_an_original_that_is_not_in_this_workspace_is_named(loom: Asked) -> None:
    await loom.write("replay/1", replay("b", "far away"), replay("c", "b"))
    for name in ("b", "c"):
        lineage = await loom.traces.lineage(id_of(name))
        assert shape(lineage) == [(0, id_of("b")), (1, id_of("c"))]
        assert lineage.missing == id_of("far away")


async def test_a_link_to_something_later_is_none(loom: Asked) -> None:
    await loom.write("replay/1", replay("a", "b"), replay("b", "a"), replay("self", "self"))
    for name in ("a", "b"):
        lineage = await loom.traces.lineage(id_of(name))
        assert shape(lineage) == [(0, id_of("a")), (1, id_of("b"))]
        assert lineage.missing == id_of("b")
    assert shape(await loom.traces.lineage(id_of("self"))) == [(0, id_of("self"))]


async def test_exactly_as_many_generations_as_are_shown_are_not_cut_and_one_more_is(loom: Asked) -> None:
    await loom.write("replay/1", original("0"), *(replay(str(n), str(n - 1)) for n in range(1, 201)))
    for name in ("0", "100", "200"):
        whole = await loom.traces.lineage(id_of(name))
        assert (whole.cut, len(whole.members), whole.members[-1].depth) == (False, 201, 200)
    await loom.write("replay/1", replay("201", "200"))
    from_above = await loom.traces.lineage(id_of("0"))
    assert (from_above.cut, from_above.members[-1].decision.decision_id) == (True, id_of("200"))
    from_below = await loom.traces.lineage(id_of("201"))
    assert (from_below.cut, from_below.original.decision_id, from_below.missing) == (True, id_of("1"), None)
    assert from_below.decision.decision_id == id_of("201")


async def test_more_replays_than_are_shown_are_cut_by_generation(loom: Asked) -> None:
    await loom.write("replay/1", original("0"), *(replay(f"first {n}", "0") for n in range(999)))
    assert not (await loom.traces.lineage(id_of("first 5"))).cut
    await loom.write("replay/2", replay("second", "first 0"))
    lineage = await loom.traces.lineage(id_of("second"))
    assert (lineage.cut, len(lineage.members)) == (True, 1_000)
    assert id_of("second") not in {each.decision.decision_id for each in lineage.members}
    assert lineage.decision.decision_id == id_of("second")


# --- any forest, from any member ------------------------------------------------------------------


def members(parents: Sequence[int | None], of: int) -> set[int]:
    """Return everything that hangs together with one decision, a link to itself or to something later being none."""
    links = {n: parent for n, parent in enumerate(parents) if parent is not None and parent < n}
    together, before = {of}, set[int]()
    while together != before:
        before = set(together)
        together |= {n for n, parent in links.items() if parent in together}
        together |= {links[n] for n in together if n in links}
    return together


async def _lineages(parents: Sequence[int | None]) -> list[DecisionLineage]:
    with tempfile.TemporaryDirectory() as name:
        async with asked(Path(name)) as loom:
            for n, parent in enumerate(parents):
                entry = original(str(n)) if parent is None else replay(str(n), str(parent))
                await loom.write(f"replay/{n % 3}", entry)
            return [await loom.traces.lineage(id_of(str(n))) for n in range(len(parents))]


@settings(max_examples=40)
@given(st.lists(st.one_of(st.none(), st.integers(0, 14)), min_size=1, max_size=12))
def test_the_walk_gives_the_same_set_in_the_same_order_from_any_member(parents: list[int | None]) -> None:
    lineages = asyncio.run(_lineages(parents))
    for n, lineage in enumerate(lineages):
        together = members(parents, n)
        assert {each.decision.decision_id for each in lineage.members} == {id_of(str(each)) for each in together}
        assert all(lineages[each].members == lineage.members for each in together)
        assert [each.depth for each in lineage.members] == sorted(each.depth for each in lineage.members)
        assert not lineage.cut
