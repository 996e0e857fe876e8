"""Similarity: decisions whose words are near to others, as a hint to a person and as nothing else.

An optional layer with numbers from a model of the user's own (extra `vector`). It suggests, and says that it does: it
groups nothing, counts nothing, and feeds neither precedents nor drift nor mining.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from loom.decisions.confirming import confirmed_decisions
from loom.errors import AdmissionError, ConfigError
from loom.identity import check_limit
from loom.precedents.index import ROW, precedent_row
from loom.projections import Queries

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

__all__ = ["Embed", "Hint", "Similarity"]

Embed: TypeAlias = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
"""Turns texts into vectors of one length."""

_PAGE = 500
_AFTER = """
SELECT position, decision_id, rationale, excluded FROM precedents WHERE position > :after AND excluded IS NULL
ORDER BY position LIMIT :limit
"""


class Hint(BaseModel):
    """A decision whose rationale is near to what was asked. `basis` says what that is worth: a suggestion."""

    model_config = ConfigDict(frozen=True)

    basis: Literal["suggested by similarity"] = "suggested by similarity"
    decision_id: str
    rationale: str
    similarity: float


class Similarity:
    """Keeps the vectors of rationales in memory, and brings them up to date when it is asked."""

    def __init__(self, queries: Queries, embed: Embed) -> None:
        """Prepare; raise `ConfigError` where the extra is missing. Nothing is embedded yet."""
        try:
            import numpy
        except ImportError as error:
            raise ConfigError(
                "similarity needs a package that is not there [numpy]; expected the extra [vector]: "
                "pip install 'loom-journal[vector]'"
            ) from error
        self._numpy = numpy
        self._queries = queries
        self._embed = embed
        self._known: list[tuple[str, str]] = []
        self._vectors: list[NDArray[float32]] = []
        self._after = 0

    async def suggest(self, text: str, *, limit: int = 5) -> tuple[Hint, ...]:
        """Return the decisions whose rationale is nearest to a text, nearest first, by cosine."""
        check_limit(limit)
        await self._catch_up()
        if not self._known:
            return ()
        [asked] = await self._embedded([text])
        near = self._numpy.stack(self._vectors) @ asked
        # Equal ones by id, so that the same question has the same answer.
        order = sorted(range(len(near)), key=lambda index: (-float(near[index]), self._known[index][0]))
        return tuple(
            Hint(decision_id=self._known[i][0], rationale=self._known[i][1], similarity=float(near[i]))
            for i in order[:limit]
        )

    async def _catch_up(self) -> None:
        while True:
            bounds = {"after": self._after, "limit": _PAGE}
            rows = await self._queries.fetch(_AFTER, bounds, names=("precedents",))
            if not rows:
                return
            hits = await confirmed_decisions(self._queries, rows, table="precedents", told=precedent_row, names=ROW)
            if hits:
                self._vectors += await self._embedded([each.row["rationale"] for each in hits])
                self._known += [(each.row["decision_id"], each.row["rationale"]) for each in hits]
            self._after = rows[-1]["position"]

    async def _embedded(self, texts: list[str]) -> list[NDArray[float32]]:
        vectors = self._numpy.asarray(await self._embed(texts), dtype=self._numpy.float32)
        lengths = self._numpy.linalg.norm(vectors, axis=1) if vectors.ndim == 2 else None
        if lengths is None or len(vectors) != len(texts) or not self._numpy.isfinite(lengths).all():
            raise AdmissionError(
                f"vectors of [{len(texts)}] texts are of shape [{vectors.shape}]; expected one finite vector for each"
            )
        if self._vectors and vectors.shape[1] != len(self._vectors[0]):
            raise AdmissionError(
                f"vectors have [{vectors.shape[1]}] numbers; expected [{len(self._vectors[0])}]: one model for all"
            )
        return list(vectors / self._numpy.maximum(lengths, 1e-12)[:, None])
