"""What became of imports: until one has ended, what it brought in stands outside everything that rests on decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from loom.decisions.entries import RunEndedEntry, RunEnding
from loom.journal.entry import Recorded
from loom.projections import Entries

__all__ = ["IMPORT_ENDS", "IMPORT_WORDS", "RUN_JOURNAL", "ImportEnd", "ImportEnds"]

RUN_JOURNAL = "loom/runs"
"""The journal of runs."""

ImportEnd: TypeAlias = Literal["settled", "failed", "abandoned"]

IMPORT_ENDS: Mapping[RunEnding, ImportEnd] = {"completed": "settled", "failed": "failed", "abandoned": "abandoned"}
"""What the status of an import's decisions is once it has ended."""


IMPORT_WORDS: Mapping[str, str] = {
    "open": "import unfinished", "settled": "import ended", "failed": "import failed", "abandoned": "import abandoned",
}  # fmt: skip
"""What the status of an observed decision says, in words."""


class ImportEnds:
    """How runs ended, out of their journal; one is kept beside the views, and reads each entry once."""

    def __init__(self) -> None:
        self._of: dict[str, ImportEnd] = {}
        self._folded = 0

    async def load(self, entries: Entries) -> ImportEnds:
        """Fold what was said of runs since the last look."""
        async for recorded in entries.read(RUN_JOURNAL, after=self._folded):
            self._fold(recorded)
            self._folded = recorded.sequence
        return self

    def status(self, run_id: str | None) -> Literal["open"] | ImportEnd:
        """Return what an import came to; `open` while it has not ended."""
        return "open" if run_id is None else self._of.get(run_id, "open")

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, RunEndedEntry):
            self._of.setdefault(entry.run_id, IMPORT_ENDS[entry.status])
