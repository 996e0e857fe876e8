"""Keyed attributes: classes of sealed facts, which nobody can guess at, and which are gone with their subject."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest

from loom import Actor, Command, Evaluation, Facts, Loom, LoomConfig, Params, policy
from loom.decisions.entries import DecisionJournalEntry, PrecedentReferencedEntry
from loom.errors import ActorFailedError, AdmissionError, InvalidNameError
from loom.journal.sqlite import JournalFiles
from loom.policies.canonical import Json
from loom.precedents import Bin, EquivalenceRule, Exact, FromContext, Precedents, SetOf
from loom.projections.read_only import open_views_for_reading
from loom.projections.verifying import verify_views
from loom.replay.selection import Selection
from loom.sealing import MASTER_KEY, Sealed, SealingConfig, check_subject, is_sealed
from loom.sealing.vault import CLASSES
from loom.workspace import own_projections
from tests.sqlite_files import connected

POSTCODES = [str(code) for code in range(10_110, 10_120)]
POSTCODE = POSTCODES[5]


class Place(Facts):
    postcode: Annotated[str, Sealed()]
    guarantor_id: str = ""
    income: Annotated[int | None, Sealed(subject="guarantor_id")] = None
    region: str = "n"


@policy("place", Params(), examples=[Place(postcode="1")])
def place(params: Params, facts: Place) -> Evaluation:
    return Evaluation(effect="allow", rule="any", why="it is")


class Judge(Command[list[str]]):
    subject_field = "customer_id"

    customer_id: str
    postcode: Annotated[str, Sealed()] = POSTCODE
    guarantor_id: str = ""
    income: int | None = None
    fails: bool = False


class Desk(Actor[None]):
    actor_type = "desk"
    policy = place
    equivalence = EquivalenceRule("by-postcode", attributes=[Exact("postcode", keyed=True), "region"], outcome=["yes"])

    async def execute(self, command: Judge) -> list[str]:
        if command.guarantor_id:
            await self.gather_context(
                system="s",
                entity="e",
                query="q",
                fetcher=lambda: 1,
                protect={"$result": "seal"},
                subject=command.guarantor_id,
            )
        facts = Place(postcode=command.postcode, guarantor_id=command.guarantor_id, income=command.income)
        self.evaluate(facts)
        found = await self.find_precedents(facts)
        await self.record_decision(rationale="because", outcome={"yes": True})
        if command.fails:
            raise ValueError("no")
        return [each.journal for each in found]


class Unkeyed(Desk):
    actor_type = "unkeyed"
    equivalence = EquivalenceRule("unkeyed", attributes=["postcode"], outcome=["yes"])


class ByRegion(Desk):
    actor_type = "by-region"
    equivalence = EquivalenceRule("by-region", attributes=["region"], outcome=["yes"])


ACTORS = [Desk, Unkeyed, ByRegion]
_CLASSED = "SELECT journal, rule, situation, precedent FROM precedents WHERE precedent IS NOT NULL ORDER BY position"
_SEALED = "SELECT position, subject, generation FROM precedent_sealed ORDER BY position, subject"
_COUNTS = "SELECT precedent, support FROM precedent_classes UNION ALL SELECT precedent, support FROM precedent_supports"


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())


@asynccontextmanager
async def opened(path: Path, *, sealing: bool = True, resume: bool = True) -> AsyncIterator[Loom]:
    config = LoomConfig(data=path, sections={"sealing": SealingConfig(enabled=sealing)})
    async with Loom.open(config, by="mira", actors=ACTORS, resume=resume) as loom:
        yield loom


async def ask(loom: Loom, name: str, cls: type[Actor[Any]] = Desk, **said: Any) -> list[str]:
    command = Judge.model_validate({"customer_id": name, **said})
    found: list[str] = await loom.actor(cls, name.replace("-", "")).ask(command, id="one")
    return found


async def tables(loom: Loom) -> tuple[list[tuple[Any, ...]], ...]:
    found = [await loom.queries.fetch(each, names=("precedents",)) for each in (_CLASSED, _COUNTS, _SEALED)]
    return tuple([tuple(row) for row in rows] for rows in found)


async def decision_of(loom: Loom, journal: str) -> Any:
    [found] = [each.entry async for each in loom.store.read(journal) if isinstance(each.entry, DecisionJournalEntry)]
    return found.decision


def raw(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())


async def test_equal_sealed_facts_of_two_subjects_are_of_one_class_until_one_is_erased(tmp_path: Path) -> None:
    files = JournalFiles(tmp_path / "default" / "journal.db")
    async with opened(tmp_path) as loom:
        assert await ask(loom, "c-7") == []
        assert await ask(loom, "c-8") == ["desk/c7"]
        assert await ask(loom, "c-9", postcode=POSTCODES[1]) == []
        decision = await decision_of(loom, "desk/c8")
        assert decision.precedent_class is None
        assert is_sealed(decision.sealed_class)
        [looked] = [
            each.entry async for each in loom.store.read("desk/c8") if isinstance(each.entry, PrecedentReferencedEntry)
        ]
        assert (looked.situation, looked.found[0].situation, looked.found[0].precedent) == (None, None, None)
        assert is_sealed(looked.sealed_situation)
        assert [each.verdict async for each in loom.replay.verify("desk/c8")] == ["same"]
        [largest, _] = await loom.precedents.classes()
        assert largest.support == 2
        assert [each.journal for each in await loom.precedents.members(largest.precedent)] == ["desk/c8", "desk/c7"]
        assert len(await loom.memory.search(alike=largest.situation)) == 2
        held = await tables(loom)
        assert [row[0] for row in held[0]] == ["desk/c7", "desk/c8", "desk/c9"]
        await loom.rebuild()
        assert await tables(loom) == held
        assert list(loom.queries.differences) == []
    found = await verify_views(files, own_projections())
    assert (found.ok, set(found.counts)) == (True, {"SEALED", "UNKNOWN"})
    async with opened(tmp_path) as loom:
        await loom.subjects.erase("c-7", by="vera", reason="she asked for it")
        after = await tables(loom)
        assert [row[0] for row in after[0]] == ["desk/c8", "desk/c9"]
        assert {support for _, support in after[1]} == {1}
        assert [row[1:] for row in after[2]] == [("c-8", 1), ("c-9", 1)]
        assert await ask(loom, "c-10") == ["desk/c8"]
        assert list(loom.queries.differences) == []
        grown = await tables(loom)
    assert (await verify_views(files, own_projections())).ok
    files.views.unlink()
    async with opened(tmp_path) as loom:
        assert await tables(loom) == grown, "an index that is folded again has no row of the erased, too"
        assert await ask(loom, "c-11") == ["desk/c10", "desk/c8"]


def guesses(postcode: str) -> list[str]:
    """Return the digests that somebody without a key can make of a postcode."""
    rule = Desk.equivalence
    assert rule is not None
    plain = {"postcode": postcode, "region": "n"}
    forms = [postcode.encode(), json.dumps(postcode).encode(), json.dumps(["postcode", postcode]).encode()]
    hashed = [hashlib.sha256(each).hexdigest() for each in forms]
    keyed = [hmac.digest(key, each, "sha256").hex() for key in (b"", bytes(32)) for each in forms]
    made: list[str] = []
    for digest in [*hashed, *keyed, *(f"hmac-sha256:{each}" for each in keyed)]:

        def key_of(name: str, material: Json, digest: str = digest) -> str:
            return digest

        alike = rule.classify(plain, {"yes": True}, key_of=key_of)
        made += [alike.situation, alike.precedent]
    open_rule = EquivalenceRule("by-postcode", attributes=["postcode", "region"], outcome=["yes"])
    alike = open_rule.classify(plain, {"yes": True})
    return [*hashed, *keyed, *made, alike.situation, alike.precedent]


async def test_no_digest_confirms_a_sealed_value_without_the_keys(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await ask(loom, "c-7")
        await ask(loom, "c-8")
        sealed = (await decision_of(loom, "desk/c7")).sealed_class
        assert loom.subjects.vault is not None
        alike: Any = await loom.subjects.vault.open(sealed, subject="c-7")
        [(_, *held), _] = (await tables(loom))[0]
        assert held == [alike["rule"], alike["situation"], alike["precedent"]], "control: what the index has"
        journal = b"".join([each.body or b"" async for each in loom.store.read_all()])
        for key in ("situation", "precedent"):
            assert alike[key].encode() not in journal
            assert alike[key].encode() in raw(tmp_path), "control: the views have it"
        await loom.subjects.erase("c-7", by="vera", reason="she asked for it")
    everything = raw(tmp_path)
    assert not [each for postcode in POSTCODES for each in guesses(postcode) if each.encode() in everything]


async def test_a_class_of_facts_of_two_subjects_goes_with_either_of_them(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        for number, erased in enumerate(("c-1", "g-2"), start=1):
            await ask(loom, f"c-{number}", guarantor_id=f"g-{number}", income=7)
            sealed = (await tables(loom))[2]
            assert {row[1] for row in sealed} == {f"c-{number}", f"g-{number}"}
            await loom.subjects.erase(erased, by="vera", reason="asked for")
            assert await tables(loom) == ([], [], [])


async def test_a_turn_that_failed_is_taken_out_of_the_counts_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await ask(loom, "c-7")
        with pytest.raises(ActorFailedError):
            await ask(loom, "c-8", fails=True)
        assert {support for _, support in (await tables(loom))[1]} == {1}
        await loom.subjects.erase("c-8", by="vera", reason="she asked for it")
        assert {support for _, support in (await tables(loom))[1]} == {1}
        await loom.rebuild()
        assert {support for _, support in (await tables(loom))[1]} == {1}


async def test_without_a_vault_decisions_have_no_class_until_there_is_one_again(tmp_path: Path) -> None:
    files = JournalFiles(tmp_path / "default" / "journal.db")
    async with opened(tmp_path) as loom:
        await ask(loom, "c-7")
        await ask(loom, "c-8", cls=ByRegion)
        held = await tables(loom)
        [(_, _, situation, _), *_] = held[0]
    async with open_views_for_reading(files, own_projections()) as queries:
        precedents = Precedents(queries)
        assert await precedents.find(situation=situation) == (), "nothing confirms that it is of this class"
        found = await precedents.find(facets={"region": "n"})
        assert [(each.journal, each.situation is None) for each in found] == [
            ("by-region/c8", False),
            ("desk/c7", True),
        ]
        assert list(queries.differences) == []
    files.views.unlink()
    async with opened(tmp_path, sealing=False, resume=False) as loom:
        assert [row[0] for row in (await tables(loom))[0]] == ["by-region/c8"]
    async with opened(tmp_path) as loom:
        assert await tables(loom) == held
        assert list(loom.queries.differences) == []


async def test_a_row_that_claims_another_class_is_not_believed(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await ask(loom, "c-7")
        assert len((await tables(loom))[0]) == 1
    with connected(JournalFiles(tmp_path / "default" / "journal.db").views) as views:
        views.execute("UPDATE precedents SET situation = ?", ("0" * 64,))
    async with opened(tmp_path) as loom:
        assert await loom.precedents.find(situation="0" * 64) == ()
        assert [each for each in loom.queries.differences if "situation" in each]


async def test_rules_that_are_not_keyed_are_as_before(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await ask(loom, "c-7", cls=ByRegion)
        decision = await decision_of(loom, "by-region/c7")
        assert decision.precedent_class == ByRegion.equivalence.classify({"region": "n"}, {"yes": True})
        assert decision.sealed_class is None
        with pytest.raises(ActorFailedError, match="AdmissionError"):
            await ask(loom, "c-8", cls=Unkeyed)
        assert (await loom.policies.audit(Selection(origin="any"))).counts == {"sealed": 1}
    rule = EquivalenceRule(
        "all", attributes=["a", Bin("b", low=0, high=1), SetOf("c"), FromContext("d")], outcome=["yes"]
    )
    assert "keyed" not in json.dumps(rule.document())
    keyed = EquivalenceRule(
        "all",
        outcome=["yes"],
        attributes=[
            Exact("a", keyed=True),
            Bin("b", low=0, high=1, keyed=True),
            SetOf("c", keyed=True),
            FromContext(Exact("d", keyed=True)),
        ],
    )
    assert EquivalenceRule.from_document(keyed.document()) == keyed
    assert keyed.hash != rule.hash
    with pytest.raises(AdmissionError, match="not at hand"):
        keyed.situation_key({"a": 1, "b": 0, "c": []}, context={"d": 1})
    with pytest.raises(AdmissionError, match="keyed attribute"):
        EquivalenceRule("outcome", attributes=["a"], outcome=[Exact("yes", keyed=True)])
    with pytest.raises(InvalidNameError):
        check_subject(CLASSES)
