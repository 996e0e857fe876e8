"""The kill switch: it bypasses the mailbox, lasts, and only a person re-arms it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from loom.errors import AdmissionError
from loom.identity import check_person
from loom.journal.entry import Entry, Recorded
from loom.journal.folded import FoldedJournal
from loom.journal.store import Draft, JournalStore
from loom.routing.entries import KillSwitchEngagedEntry, KillSwitchRearmedEntry
from loom.telemetry import get_logger

__all__ = ["SWITCH_JOURNAL", "KillSwitch"]

SWITCH_JOURNAL = "care/kill-switch"

_log = get_logger("loom.routing")


class KillSwitch:
    """Engaged or armed. Its journal is read before the first request; `engaged` is then a look at memory."""

    def __init__(self, store: JournalStore, *, make_draft: Callable[[Entry], Draft]) -> None:
        self._journal = FoldedJournal(store, SWITCH_JOURNAL, self._fold, make_draft=make_draft)
        self._last: KillSwitchEngagedEntry | KillSwitchRearmedEntry | None = None
        self._held = False
        """Engaged in this process, whether that is durable or not."""

    async def load(self) -> None:
        """Read how it stands."""
        await self._journal.load()

    @property
    def engaged(self) -> bool:
        """Whether choices are the baseline's alone."""
        return self._held or isinstance(self._last, KillSwitchEngagedEntry)

    @property
    def last(self) -> KillSwitchEngagedEntry | KillSwitchRearmedEntry | None:
        """What was done with it last, by whom and why; None where it was never touched."""
        return self._last

    async def kill(self, *, by: str, reason: str, trigger: Literal["person", "system"] = "person") -> None:
        """Stop optimisation: every turn that starts after this returned uses the baseline.

        It holds in this process from the first moment, and stays so even where the journal cannot be written; the
        error is then raised, as after a restart the switch would be armed.
        """
        entry = KillSwitchEngagedEntry(by=check_person(by), trigger=trigger, reason=_said(reason))

        def missing() -> Entry | None:
            self._held = True  # a re-arm that was under way may have let go of it
            return None if isinstance(self._last, KillSwitchEngagedEntry) else entry

        self._held = True
        _log.warning("kill_switch_activated", by=by, trigger=trigger, reason=reason)
        await self._journal.append_if_missing(missing)

    async def rearm(self, *, by: str, reason: str) -> None:
        """Let optimisation work again; once it is durable, and in the name of a person."""
        entry = KillSwitchRearmedEntry(by=check_person(by), reason=_said(reason))
        await self._journal.append_if_missing(lambda: entry if self.engaged else None)
        _log.warning("kill_switch_rearmed", by=by, reason=reason)

    def _fold(self, recorded: Recorded) -> None:
        if isinstance(recorded.entry, KillSwitchEngagedEntry | KillSwitchRearmedEntry):
            self._last = recorded.entry
            self._held = isinstance(recorded.entry, KillSwitchEngagedEntry)


def _said(reason: str) -> str:
    if not reason.strip():
        raise AdmissionError("reason is blank; expected why, in a person's words: say it")
    return reason
