"""Similarity suggests, says that it does, and changes nothing else; filters come first, a least similarity after."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from pydantic import JsonValue

from loom import Actor, Command, Loom, PrecedentReferencedEntry
from loom.config import LoomConfig
from loom.decisions import PrecedentFound, PrecedentReference
from loom.errors import AdmissionError, ConfigError, EmbeddingError
from loom.journal.entry import KINDS
from loom.precedents.search import Precedents
from loom.precedents.similarity import Similarity, SimilarityConfig
from tests.cli.support import configured, invoke
from tests.precedents.embedding import by_letters
from tests.precedents.test_memory import RULE, Keep, Rememberer

pytest.importorskip("numpy", reason="the extra [vector] is not installed")

KEPT = (
    (1, "n", "a good customer"),
    (2, "n", "zzz"),
    (1, "s", "a goode custommer"),
    (1, "n", "a rather good customer of ours"),
)


class Suggest(Command[list[str]]):
    text: str
    least: float | None = None
    region: str | None = None
    name_them: bool = False


class Suggester(Actor[None]):
    actor_type = "suggester"
    policy = RULE

    async def execute(self, command: Suggest) -> list[str]:
        facets: dict[str, JsonValue] | None = None if command.region is None else {"region": command.region}
        found = await self.find_precedents(similar_to=command.text, min_similarity=command.least, facets=facets)
        self.evaluate({"size": 1, "region": "n"})
        named = [PrecedentReference(decision_id=each.decision_id) for each in found] if command.name_them else None
        await self.record_decision(rationale="as it was suggested", precedents=named)
        return [each.rationale for each in found]


@pytest.fixture
async def loom(tmp_path: Path) -> AsyncIterator[Loom]:
    source = f"sqlite:///{tmp_path}/journal.db"
    async with Loom.open(source, actors=[Rememberer, Suggester], by="robin", embed=by_letters) as opened:
        for size, region, words in KEPT:
            await opened.actor(Rememberer, "one").ask(Keep(size=size, region=region, words=words))
        yield opened


async def looked_up(loom: Loom) -> PrecedentReferencedEntry:
    found = [each.entry async for each in loom.store.read("suggester/s")]
    [seen] = [each for each in found if isinstance(each, PrecedentReferencedEntry)]
    return seen


async def suggest(loom: Loom, similar: Similarity, text: str, *, limit: int = 5) -> tuple[PrecedentFound, ...]:
    return await Precedents(loom.queries, similarity=similar).find(similar_to=text, limit=limit)


# --- over decisions ----------------------------------------------------------------------------


async def test_the_nearest_come_first_and_say_that_they_are_only_suggested(loom: Loom) -> None:
    similar = Similarity(loom.queries, by_letters)
    before = await loom.precedents.classes()
    first, second, *_ = await suggest(loom, similar, "a good customer", limit=4)
    assert [first.rationale, second.rationale] == ["a good customer", "a goode custommer"]
    assert first.similarity == pytest.approx(1.0)
    assert {each.basis for each in (first, second)} == {"suggested by similarity"}
    assert await loom.precedents.classes() == before
    await loom.actor(Rememberer, "one").ask(Keep(size=1, region="n", words="a good customer again"))
    assert len(await suggest(loom, similar, "good", limit=10)) == 5


async def test_a_store_without_decisions_has_none_to_suggest(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", by="robin", embed=by_letters) as empty:
        assert await empty.precedents.find(similar_to="anything") == ()
        assert await empty.memory.search(similar_to="anything") == ()


async def test_filters_come_before_the_nearest_and_a_least_similarity_after(loom: Loom) -> None:
    async def found(**asked: object) -> list[str]:
        return [each.rationale for each in await loom.precedents.find(similar_to="a good customer", **asked)]  # type: ignore[arg-type]

    assert await found(limit=1) == ["a good customer"]
    assert await found(facets={"region": "s"}, limit=1) == ["a goode custommer"]
    assert await found(facets={"region": "n"}, min_similarity=0.999) == ["a good customer"]
    assert await found(text="ours") == ["a rather good customer of ours"]
    assert await found(text="ours", min_similarity=0.999) == []
    assert await found(decision_type="nothing") == []
    assert len(await found()) == 4
    assert len(await found(min_similarity=0.5)) == 3
    kind = await loom.precedents.of((await loom.memory.search(text="zzz"))[0].decision_id)
    assert kind is not None
    assert await found(precedent=kind.precedent) == ["zzz"]


async def test_what_is_found_by_similarity_is_labelled_and_what_is_found_otherwise_is_not(loom: Loom) -> None:
    near = await loom.precedents.find(similar_to="a good customer", limit=2)
    assert [each.basis for each in near] == ["suggested by similarity"] * 2
    assert near[0].similarity == 1.0
    assert near[1].similarity is not None
    assert near[1].similarity < 1
    assert {(each.basis, each.similarity) for each in await loom.precedents.find(text="good")} == {(None, None)}


async def test_memory_takes_it_together_with_the_other_filters(loom: Loom) -> None:
    found = await loom.memory.search(similar_to="a good customer", outcome={"level": 1}, facets={"region": "n"})
    assert [each.rationale for each in found] == ["a good customer", "a rather good customer of ours"]
    assert found[0].similarity == 1.0
    assert {each.similarity for each in await loom.memory.search()} == {None}
    assert await loom.memory.search(
        similar_to="a good customer", min_similarity=0.999, actor_type="rememberer", limit=9
    )
    assert await loom.memory.search(similar_to="a good customer", actor_type="nobody") == ()
    [one] = await loom.memory.search(similar_to="zzz", limit=1)
    assert one.rationale == "zzz"
    with pytest.raises(AdmissionError, match="similar decisions were requested after position"):
        await loom.memory.search(similar_to="a good customer", after=5)


async def test_a_least_similarity_needs_a_text_and_a_cosine(loom: Loom) -> None:
    for search in (loom.precedents.find, loom.memory.search):
        with pytest.raises(AdmissionError, match="without a text"):
            await search(min_similarity=0.5)
        for least in (1.5, -2.0, float("nan")):
            with pytest.raises(AdmissionError, match="expected a cosine"):
                await search(similar_to="a", min_similarity=least)


async def test_a_decision_whose_turn_failed_is_not_suggested(loom: Loom) -> None:
    class Fail(Command[None]):
        pass

    class Failing(Actor[None]):
        actor_type = "failing"

        async def execute(self, command: Fail) -> None:
            await self.record_decision(rationale="a good customer")
            raise RuntimeError("no")

    with pytest.raises(Exception, match="no"):
        await loom.actor(Failing, "f").ask(Fail())
    assert len(await loom.precedents.find(similar_to="a good customer", limit=9)) == 4
    assert len(await loom.memory.search(similar_to="a good customer", limit=9)) == 4


async def test_asked_by_many_at_once_each_decision_is_embedded_once(loom: Loom) -> None:
    seen: list[str] = []

    async def counting(texts: Sequence[str]) -> list[list[float]]:
        seen.extend(texts)
        return await by_letters(texts)

    similar = Similarity(loom.queries, counting)
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(suggest(loom, similar, "good"))
    assert sorted(seen) == sorted([*(words for _, _, words in KEPT), *["good"] * 5])


# --- from an actor -----------------------------------------------------------------------------


async def test_an_actor_sees_suggestions_and_its_journal_says_that_they_are(loom: Loom) -> None:
    said = await loom.actor(Suggester, "s").ask(Suggest(text="a good customer", least=0.5, region="n"))
    assert said == ["a good customer", "a rather good customer of ours"]
    seen = await looked_up(loom)
    assert (seen.similar_to, seen.min_similarity, seen.facets) == ("a good customer", 0.5, {"region": "n"})
    assert {each.basis for each in seen.found} == {"suggested by similarity"}
    assert seen.position is not None
    [decision] = await loom.traces.find(actor_type="suggester")
    assert (await loom.traces.get(decision.decision_id)).decision.precedents == ()


async def test_a_suggestion_is_a_precedent_only_where_the_agent_names_it(loom: Loom) -> None:
    await loom.actor(Suggester, "s").ask(Suggest(text="zzz", least=0.9, name_them=True))
    [decision] = await loom.traces.find(actor_type="suggester")
    [named] = (await loom.traces.get(decision.decision_id)).decision.precedents
    assert named.decision_id == (await looked_up(loom)).found[0].decision_id


async def test_a_replay_is_fed_the_suggestions_that_were_seen_and_embeds_nothing() -> None:
    asked = 0

    async def counting(texts: Sequence[str]) -> list[list[float]]:
        nonlocal asked
        asked += 1
        return await by_letters(texts)

    async with Loom.open("sqlite://", actors=[Rememberer, Suggester], by="robin", embed=counting) as loom:
        await loom.actor(Rememberer, "one").ask(Keep(size=1, region="n", words="a good customer"))
        await loom.actor(Suggester, "s").ask(Suggest(text="good"))
        before = asked
        [decision] = await loom.traces.find(actor_type="suggester")
        assert decision.policy_version is not None
        verified = await loom.replay.run([decision.decision_id], under=decision.policy_version)
        assert [each.verdict for each in verified.cases] == ["unchanged"]
        assert asked == before


async def test_without_a_function_the_look_up_fails_live_as_any_other_does(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Suggester], by="robin") as loom:
        with pytest.raises(ConfigError, match=r"similarity\.embed"):
            await loom.precedents.find(similar_to="good")
        with pytest.raises(ConfigError, match=r"similarity\.embed"):
            await loom.memory.search(similar_to="good", actor_type="suggester")
        with pytest.raises(Exception, match="ConfigError"):
            await loom.actor(Suggester, "s").ask(Suggest(text="good"))
        seen = await looked_up(loom)
        assert seen.failure is not None
        assert seen.failure.type_name == "ConfigError"


async def test_a_function_that_fails_or_hangs_is_a_failed_look_up(tmp_path: Path) -> None:
    async def broken(texts: Sequence[str]) -> list[list[float]]:
        raise ConnectionError("no model today")

    async def hanging(texts: Sequence[str]) -> list[list[float]]:
        await asyncio.Event().wait()
        return []

    for kind, embed, timeout_s in (("EmbeddingError", broken, 60), ("TimeoutError", hanging, 0.05)):
        config = LoomConfig.model_validate({"data": tmp_path, "actors": {"lookup_timeout_s": timeout_s}})
        opened = Loom.open(config, workspace=kind, actors=[Rememberer, Suggester], by="robin", embed=embed)
        async with opened as loom:
            await loom.actor(Rememberer, "one").ask(Keep(size=1, region="n", words="a good customer"))
            with pytest.raises(Exception, match=kind):
                await loom.actor(Suggester, "s").ask(Suggest(text="good"))
            seen = await looked_up(loom)
            assert seen.failure is not None
            assert seen.failure.type_name == kind


async def test_vectors_that_make_no_sense_are_refused(loom: Loom) -> None:
    async def wrong(texts: Sequence[str]) -> list[list[float]]:
        return [[float("nan")] for _ in texts]

    async def few(texts: Sequence[str]) -> list[list[float]]:
        return [[1.0]] * (len(texts) + 1)

    async def words(texts: Sequence[str]) -> list[list[str]]:
        return [["no number"] for _ in texts]

    for embed in (wrong, few):
        with pytest.raises(EmbeddingError, match="expected one finite vector for each"):
            await suggest(loom, Similarity(loom.queries, embed), "good")
    with pytest.raises(EmbeddingError, match="could not be turned into vectors"):
        await suggest(loom, Similarity(loom.queries, words), "good")  # type: ignore[arg-type]
    lengths = iter((2, 3))

    async def two_models(texts: Sequence[str]) -> list[list[float]]:
        return [[1.0] * next(lengths)] * len(texts)

    with pytest.raises(EmbeddingError, match="one model for all"):
        await suggest(loom, Similarity(loom.queries, two_models), "good")


def test_a_look_up_of_before_is_read_as_one_without_similarity() -> None:
    found = {
        "decision_id": "a" * 64,
        "journal": "rememberer/one",
        "decision_type": "exception",
        "rationale": "good",
        "outcome": {"granted": True},
        "is_exception": True,
        "recorded_at": "2026-01-01T00:00:00Z",
        "situation": None,
        "precedent": None,
        "superseded": None,
    }
    body = {"step": None, "situation": None, "facets": None, "text": "good", "found": [found], "failure": None}
    for version, more in ((1, {}), (2, {"position": 12})):
        read = KINDS.decode("precedent_referenced", version, json.dumps({**body, **more}).encode())
        assert isinstance(read, PrecedentReferencedEntry)
        assert (read.similar_to, read.min_similarity, read.position) == (None, None, more.get("position"))
        assert read.found == (PrecedentFound.model_validate(found),)
        assert read.found[0].basis is None


# --- from a config, and from the shell ---------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = configured(tmp_path_factory.mktemp("similar"), module="tests.precedents.test_memory")
    with config.open("a", encoding="utf-8") as file:
        file.write("\nsimilarity:\n  embed: tests.precedents.embedding:by_letters\n")

    async def fill() -> None:
        async with Loom.open(config, by="robin") as loom:
            for size, region, words in KEPT:
                await loom.actor(Rememberer, "one").ask(Keep(size=size, region=region, words=words))
            assert (await loom.precedents.find(similar_to="zzz", limit=1))[0].rationale == "zzz"

    asyncio.run(fill())
    return config


@pytest.mark.parametrize("shell", ["decisions", "precedents"])
def test_the_shell_suggests_with_filters_and_a_minimum_and_says_what_it_is(made: Path, shell: str) -> None:
    near = invoke(shell, "--similar-to", "a good customer", "--json", config=made).json
    assert [each["rationale"] for each in near[:2]] == ["a good customer", "a goode custommer"]
    assert near[0]["similarity"] == 1.0
    least = invoke(shell, "--similar-to", "a good customer", "--min-similarity", "0.999", "--json", config=made).json
    assert [each["rationale"] for each in least] == ["a good customer"]
    south = invoke(shell, "--similar-to", "a good customer", "-f", "region=s", "--json", config=made).json
    assert [each["rationale"] for each in south] == ["a goode custommer"]
    said = invoke(shell, "--similar-to", "a good customer", config=made)
    assert said.code == 0
    assert "suggested by similarity" in said.err
    assert "1.00" in said.out
    assert "near" not in invoke(shell, "--text", "customer", config=made).out


def test_the_shell_says_what_is_missing(made: Path, tmp_path: Path) -> None:
    assert invoke("decisions", "--min-similarity", "0.5", config=made).code == 2
    assert invoke("precedents", "--min-similarity", "0.5", config=made).code == 2
    assert invoke("decisions", "--similar-to", "x", "--min-similarity", "2", config=made).code == 2
    plain = invoke("decisions", "--similar-to", "x", "--journal", str(made.parent / "data" / "w"))
    assert plain.code != 0
    assert "similarity.embed" in plain.err


@pytest.mark.parametrize(
    ("embed", "problem"),
    [
        ("tests.precedents.embedding", "expected a function"),
        ("tests.precedents.embedding:LETTERS", "expected a function"),
        ("tests.precedents.embedding:nothing", "cannot be imported"),
        ("no.such.module:embed", "cannot be imported"),
    ],
)
def test_a_config_that_names_no_function_is_refused(embed: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        SimilarityConfig(embed=embed).function()
