"""Similarity suggests, says that it does, and changes nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from loom import Loom
from loom.errors import AdmissionError
from loom.precedents.similarity import Similarity
from tests.precedents.test_memory import Keep, Rememberer

pytest.importorskip("numpy", reason="the extra [vector] is not installed")

LETTERS = "abcdefghijklmnopqrstuvwxyz"


async def by_letters(texts: Sequence[str]) -> list[list[float]]:
    return [[float(Counter(text.casefold())[letter]) for letter in LETTERS] for text in texts]


async def test_the_nearest_come_first_and_say_that_they_are_only_suggested(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Rememberer], by="robin") as loom:
        similar = Similarity(loom.queries, by_letters)
        assert await similar.suggest("anything") == ()
        for words in ("a good customer", "zzz", "a goode custommer"):
            await loom.actor(Rememberer, "one").ask(Keep(size=1, region="n", words=words))
        before = await loom.precedents.classes()
        first, second, third = await similar.suggest("a good customer", limit=3)
        assert [first.rationale, second.rationale, third.rationale] == ["a good customer", "a goode custommer", "zzz"]
        assert first.similarity == pytest.approx(1.0)
        assert {each.basis for each in (first, second, third)} == {"suggested by similarity"}
        await loom.actor(Rememberer, "one").ask(Keep(size=1, region="n", words="a good customer again"))
        assert len(await similar.suggest("good", limit=10)) == 4
        assert await loom.precedents.classes() != before  # by the decision, and by nothing that was suggested


async def test_vectors_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    async def wrong(texts: Sequence[str]) -> list[list[float]]:
        return [[float("nan")] for _ in texts]

    async def few(texts: Sequence[str]) -> list[list[float]]:
        return [[1.0]] * (len(texts) + 1)

    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Rememberer], by="robin") as loom:
        await loom.actor(Rememberer, "one").ask(Keep(size=1, region="n", words="a good customer"))
        for embed in (wrong, few):
            with pytest.raises(AdmissionError, match="expected one finite vector for each"):
                await Similarity(loom.queries, embed).suggest("good")
