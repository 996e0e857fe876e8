"""Two looms on one journal append to the same control journals: one of two loses the race, and its entry comes after.

Each of these journals has no owner. In every test both looms have seen the same last entry before one of them appends:
the other is refused by the store once at least, and its caller does not hear of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from loom.decisions import DecisionObservedEntry
from loom.decisions.entries import OutcomeObservedEntry
from loom.decisions.outcomes import OUTCOME_JOURNAL
from loom.engine.local import LocalEngine
from loom.enrichment import Enricher
from loom.errors import SequenceConflictError
from loom.history.reading import PythonRows
from loom.journal import Append, JournalStore, Receipt, TurnAbandonedEntry
from loom.journal.appending import RACES, append_last
from loom.precedents.resolutions import CONTRADICTION_JOURNAL, ContradictionResolvedEntry
from loom.runtime import Loom
from tests.contracts.shared_journal_store import SharedPlace
from tests.enrichment.agents import CountingCritic
from tests.history.support import bank, rows
from tests.journal.support import collected, note, received
from tests.postgres_server import Place, Server
from tests.precedents.test_contradictions import Clerk, cases, laid_down
from tests.shared.place import ReferencePlace, served

T = TypeVar("T")


class Member(Loom):
    """A loom whose journal is at a place."""

    place: ClassVar[SharedPlace]

    async def open_store(self) -> JournalStore:
        return await self.place.open()


@pytest.fixture(params=["reference", "postgresql"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ReferencePlace | Place]:
    if request.param == "reference":
        async with served(tmp_path) as reference:
            yield reference
    else:
        server: Server = request.getfixturevalue("postgres")
        on_server = Place(server, tmp_path)
        yield on_server
        await on_server.close()


@pytest.fixture
async def looms(place: SharedPlace, tmp_path: Path) -> AsyncIterator[tuple[Loom, Loom]]:
    Member.place = place
    async with _member(tmp_path / "one") as one, _member(tmp_path / "other") as other:
        yield one, other


@asynccontextmanager
async def _member(directory: Path) -> AsyncIterator[Loom]:
    directory.mkdir()
    url = f"sqlite:////{directory}/journal.db"
    critic = CountingCritic()
    async with Member.open(url, actors=[Clerk], by="robin", critic=critic, engine=lambda _: LocalEngine()) as loom:
        yield loom


def meet(patch: pytest.MonkeyPatch, looms: tuple[Loom, Loom], verb: str, of: Callable[..., bool]) -> Counter[str]:
    """Have the first call of each loom wait for that of the other; return who lost a race how often, as it happens."""
    barrier = asyncio.Barrier(2)
    lost: Counter[str] = Counter()

    def met(name: str, call: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        waits = True

        async def through(*given: Any) -> T:
            nonlocal waits
            if waits and of(*given):
                waits = False
                await barrier.wait()
            try:
                return await call(*given)
            except SequenceConflictError:
                lost[name] += 1
                raise

        return through

    for name, loom in zip(("one", "other"), looms, strict=True):
        patch.setattr(loom.store, verb, met(name, getattr(loom.store, verb)))
    return lost


def on(journal: str) -> Callable[[Append], bool]:
    return lambda append: append.journal == journal


async def caught_up(looms: tuple[Loom, Loom]) -> None:
    """Have the views of both show what is in the journal."""
    for loom in looms:
        await loom.reached(await loom.store.refresh())


async def imported(loom: Loom, count: int = 4) -> str:
    """Import decisions, and return the run."""
    done = await loom.history.load(rows(count), bank(), by="vera")
    assert done.written == count
    return done.run_id


async def test_outcomes_that_two_observe_at_once_are_all_kept(
    looms: tuple[Loom, Loom], monkeypatch: pytest.MonkeyPatch
) -> None:
    await imported(looms[0])
    await caught_up(looms)
    decision = (await looms[0].traces.find())[0].decision_id
    lost = meet(monkeypatch, looms, "append", on(OUTCOME_JOURNAL))

    await asyncio.gather(
        *(
            loom.outcomes.observe(decision, correct=True, by=f"{who}", feedback=f"{number}")
            for who, loom in enumerate(looms)
            for number in range(5)
        )
    )

    said = [each.entry for each in await collected(looms[0].store.read(OUTCOME_JOURNAL))]
    assert lost.total() > 0
    assert Counter((each.observed_by, each.feedback) for each in said if isinstance(each, OutcomeObservedEntry)) == {
        (f"{who}", f"{number}"): 1 for who in range(2) for number in range(5)
    }


async def test_one_file_of_outcomes_that_two_import_at_once_is_observed_once(
    looms: tuple[Loom, Loom], monkeypatch: pytest.MonkeyPatch
) -> None:
    await imported(looms[0])
    await caught_up(looms)
    lost = meet(monkeypatch, looms, "append", on(OUTCOME_JOURNAL))
    given: list[Mapping[str, object]] = [{"case": f"L-{number}", "ok": "yes"} for number in range(1, 5)]

    reports = await asyncio.gather(
        *(
            loom.history.load_outcomes(PythonRows(given), {"own_id": "case", "correct": "ok"}, by="vera", source="bank")
            for loom in looms
        )
    )

    assert lost.total() == 1
    assert sorted((each.new, each.written) for each in reports) == [(4, 0), (4, 4)]
    assert len(await collected(looms[0].store.read(OUTCOME_JOURNAL))) == 4


async def test_two_imports_into_the_same_journals_at_once_are_both_whole(
    looms: tuple[Loom, Loom], monkeypatch: pytest.MonkeyPatch
) -> None:
    meet(monkeypatch, looms, "own_ids", lambda ids: not ids)  # both have found that there is no journal of this type
    again: Counter[str] = Counter()
    meet(monkeypatch, looms, "append", lambda append: bool(again.update([append.journal])))

    first, second = rows(60)[:30], rows(60)[30:]
    done = await asyncio.gather(
        looms[0].history.load(first, bank(), by="vera"), looms[1].history.load(second, bank(), by="vera")
    )

    assert [each.written for each in done] == [30, 30]
    assert any(journal.startswith("mortgage/") for journal in again), "one of them has lost a race"
    found = [each for each in await collected(looms[0].store.read_all()) if each.journal.startswith("mortgage/")]
    ids = [each.entry.source.own_id for each in found if isinstance(each.entry, DecisionObservedEntry)]
    assert Counter(ids) == {f"L-{number}": 1 for number in range(1, 61)}


async def test_enrichments_of_two_are_all_kept(looms: tuple[Loom, Loom], monkeypatch: pytest.MonkeyPatch) -> None:
    """As when another process is elected, and the one before still writes what it has asked for."""
    run = await imported(looms[0])
    await caught_up(looms)
    lost = meet(monkeypatch, looms, "append", on("loom/enrichment"))

    done = await asyncio.gather(
        *(Enricher.enrich_import(loom.enricher, run, by="vera") for loom in looms if loom.enricher is not None)
    )

    assert lost.total() > 0
    assert [each.failed for each in done] == [0, 0]
    assert min(each.enriched for each in done) > 0


async def test_a_contradiction_that_two_resolve_at_once_is_resolved_twice(
    looms: tuple[Loom, Loom], monkeypatch: pytest.MonkeyPatch
) -> None:
    await laid_down(looms[0], cases(60, seed=3, planted=True))
    await caught_up(looms)
    found = (await looms[0].precedents.contradictions()).listed[0]
    lost = meet(monkeypatch, looms, "append", on(CONTRADICTION_JOURNAL))

    await asyncio.gather(
        *(
            loom.contradictions.resolve(found.situation, stands=found.outcomes[0].words, by=f"{who}", reason="so")
            for who, loom in enumerate(looms)
        )
    )

    said = [each.entry for each in await collected(looms[0].store.read(CONTRADICTION_JOURNAL))]
    assert lost.total() == 1
    assert sorted(each.by for each in said if isinstance(each, ContradictionResolvedEntry)) == ["0", "1"]


async def test_turns_without_code_are_abandoned_by_two_at_once(
    looms: tuple[Loom, Loom], monkeypatch: pytest.MonkeyPatch
) -> None:
    await looms[0].store.append(Append("gone/1", 0, (received("c-0"), received("c-1"))))
    await caught_up(looms)
    lost = meet(monkeypatch, looms, "append", on("gone/1"))

    await asyncio.gather(
        *(loom.turns.abandon(f"c-{number}", by="vera", reason="no code") for number, loom in enumerate(looms))
    )

    left = [
        each for each in await collected(looms[0].store.read("gone/1")) if isinstance(each.entry, TurnAbandonedEntry)
    ]
    assert lost.total() == 1
    assert {each.command_id for each in left} == {"c-0", "c-1"}


async def test_one_who_loses_every_race_hears_of_it_in_the_end(
    place: SharedPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused so often has another reason than a race."""
    store, faster = await place.open(), await place.open()
    append, tries = store.append, 0

    async def late(given: Append) -> Receipt:
        nonlocal tries
        tries += 1
        await faster.append(Append(given.journal, given.expected, (note("faster"),)))
        return await append(given)

    monkeypatch.setattr(store, "append", late)
    with pytest.raises(SequenceConflictError):
        await append_last(store, "loom/notes", (note("late"),))
    assert tries == RACES
    assert len(await collected(store.read("loom/notes"))) == RACES
