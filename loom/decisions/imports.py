"""The status of imports. Until an import has ended, its decisions do not count anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from loom.decisions.entries import RunEndedEntry, RunEnding
from loom.journal.entry import Recorded
from loom.journal.store import JournalReader

__all__ = ["IMPORT_ENDS", "IMPORT_WORDS", "RUN_JOURNAL", "ImportEnd", "ImportEnds"]

RUN_JOURNAL = "loom/runs"
"""The journal of runs."""

ImportEnd: TypeAlias = Literal["settled", "failed", "abandoned"]

IMPORT_ENDS: Mapping[RunEnding, ImportEnd] = {"completed": "settled", "failed": "failed", "abandoned": "abandoned"}
"""The status of an import's decisions, by the end of its run."""


IMPORT_WORDS: Mapping[str, str] = {
    "open": "import unfinished",
    "settled": "import ended",
    "failed": "import failed",
    "abandoned": "import abandoned",
}
"""The status of an observed decision, in words."""


class ImportEnds:
    """The ends of runs, from their journal. The readers of the views share one, and it reads each entry once."""

    def __init__(self) -> None:
        self._of: dict[str, ImportEnd] = {}
        self._folded = 0

    async def load(self, entries: JournalReader) -> ImportEnds:
        """Fold the entries about runs since the last call."""
        async for recorded in entries.read(RUN_JOURNAL, after=self._folded):
            self._fold(recorded)
            self._folded = recorded.sequence
        return self

    def status(self, run_id: str | None) -> Literal["open"] | ImportEnd:
        """Return the end of an import; `open` while it has not ended."""
        return "open" if run_id is None else self._of.get(run_id, "open")

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, RunEndedEntry):
            self._of.setdefault(entry.run_id, IMPORT_ENDS[entry.status])
