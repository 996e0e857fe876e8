"""Similarity: decisions with similar text, as a hint for a person only.

An optional layer with vectors from the user's own model (extra `vector`). Its results are labelled as suggestions: it
groups nothing, counts nothing, and is not used by precedents, drift or mining.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import AfterValidator

from loom.config import Section, function_named
from loom.config.models import importable
from loom.decisions.confirming import confirmed_decisions
from loom.errors import AdmissionError, ConfigError, EmbeddingError
from loom.identity import check_limit
from loom.precedents.index import ROW, confirmable_row
from loom.projections import Queries

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

__all__ = ["Embed", "Similarity", "SimilarityConfig", "check_nearness", "usable"]

Embed: TypeAlias = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
"""Turns texts into vectors of one length."""

_PAGE = 500
_DIGITS = 6
"""Digits of a similarity that is shown or journaled: further ones differ from machine to machine."""
_AFTER = """
SELECT position, decision_id, rationale, excluded FROM precedents WHERE position > :after AND excluded IS NULL
ORDER BY position LIMIT :limit
"""


class SimilarityConfig(Section):
    """The section `similarity` of the config: `embed` names the function that turns texts into vectors."""

    embed: Annotated[str, AfterValidator(importable)]
    """`package.module:function`, an `async def` that takes texts and returns as many vectors."""

    def function(self) -> Embed:
        """Import the function; raise `ConfigError` where there is none of that name."""
        embed: Embed = function_named(self.embed, key="similarity.embed", that="turns texts into vectors")
        return embed


class Similarity:
    """Keeps the vectors of rationales in memory, and updates them at each query."""

    def __init__(self, queries: Queries, embed: Embed) -> None:
        """Prepare; raise `ConfigError` where the extra is missing. Nothing is embedded yet."""
        try:
            import numpy
        except ImportError as error:
            raise ConfigError(
                "similarity needs a package that is not installed [numpy]; expected the extra [vector]: "
                "pip install 'loom-journal[vector]'"
            ) from error
        self._numpy = numpy
        self._queries = queries
        self._embed = embed
        self._catching_up = asyncio.Lock()
        self._pages: list[NDArray[float32]] = []
        self._rows: dict[int, int] = {}
        self._after = 0

    async def nearest(
        self, text: str, positions: Sequence[int], *, min_similarity: float | None, limit: int
    ) -> dict[int, float]:
        """Return, from the decisions at some positions, those that are nearest to a text, nearest first, by cosine.

        Equal ones are ordered by position, newest first, so that the same query has the same result. Raises
        `EmbeddingError` where the function that turns texts into vectors fails, or returns invalid ones.
        """
        check_limit(limit)
        if not positions:
            return {}
        async with self._catching_up:
            await self._catch_up()
            known = [at for at in positions if at in self._rows]
            if not known:
                return {}
            asked = (await self._embedded([text]))[0]
            matrix = self._matrix()
        near = (matrix[[self._rows[at] for at in known]] @ asked).tolist()
        ranked = sorted(((round(value, _DIGITS), at) for value, at in zip(near, known, strict=True)), reverse=True)
        least = -math.inf if min_similarity is None else min_similarity
        return {at: value for value, at in ranked[:limit] if value >= least}

    async def _catch_up(self) -> None:
        while True:
            bounds = {"after": self._after, "limit": _PAGE}
            rows = await self._queries.fetch(_AFTER, bounds, names=("precedents",))
            if not rows:
                return
            hits = await confirmed_decisions(
                self._queries, rows, table="precedents", make_row=confirmable_row, names=ROW
            )
            if hits:
                vectors = await self._embedded([each.row["rationale"] for each in hits])
                first = len(self._rows)
                self._rows |= {each.row["position"]: first + number for number, each in enumerate(hits)}
                self._pages.append(vectors)
            self._after = rows[-1]["position"]

    def _matrix(self) -> NDArray[float32]:
        """Return all vectors, one row each, in one array that is made once after each addition."""
        if len(self._pages) > 1:
            self._pages = [self._numpy.concatenate(self._pages)]
        return self._pages[0]

    async def _embedded(self, texts: list[str]) -> NDArray[float32]:
        try:
            given = await self._embed(texts)
            vectors = self._numpy.asarray(given, dtype=self._numpy.float32)
        except Exception as error:
            raise EmbeddingError(
                f"[{len(texts)}] texts could not be turned into vectors [{type(error).__name__}: {error}]; expected "
                "one vector for each: check the function that similarity uses"
            ) from error
        lengths = self._numpy.linalg.norm(vectors, axis=1) if vectors.ndim == 2 else None
        if lengths is None or len(vectors) != len(texts) or not self._numpy.isfinite(lengths).all():
            raise EmbeddingError(
                f"vectors of [{len(texts)}] texts are of shape [{vectors.shape}]; expected one finite vector for each: "
                "check the function that similarity uses"
            )
        if self._pages and vectors.shape[1] != self._pages[0].shape[1]:
            raise EmbeddingError(
                f"vectors have [{vectors.shape[1]}] numbers; expected [{self._pages[0].shape[1]}]: one model for all"
            )
        unit: NDArray[float32] = vectors / self._numpy.maximum(lengths, 1e-12)[:, None]
        return unit


def check_nearness(similar_to: str | None, min_similarity: float | None) -> None:
    """Raise `AdmissionError` for a minimum similarity without a text, or one that no cosine has."""
    if min_similarity is None:
        return
    if similar_to is None:
        raise AdmissionError(
            f"a minimum similarity [{min_similarity}] is given without a text; expected [similar_to]: give the text"
        )
    if not -1 <= min_similarity <= 1:
        raise AdmissionError(
            f"minimum similarity is [{min_similarity}]; expected a cosine [-1 to 1]: 1 is the same direction"
        )


def usable(similarity: Similarity | None) -> Similarity:
    """Return similarity; raise `ConfigError` where no embedding function is set."""
    if similarity is None:
        raise ConfigError(
            "similar decisions were requested, but [no embedding function] is set; expected "
            "[similarity.embed] in the config, or `Loom.open(…, embed=…)`: name a function of yours"
        )
    return similarity
