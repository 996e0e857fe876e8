"""The kill switch: it bypasses the mailbox, lasts, and only a person re-arms it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from loom.errors import AdmissionError, LoomError, SeparationOfDutiesError
from loom.identity import By, Identity, is_self
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, draft
from loom.routing.entries import KillSwitchEngagedEntry, KillSwitchRearmedEntry, StopCondition
from loom.telemetry import get_logger

__all__ = ["SWITCH_JOURNAL", "KillSwitch", "RearmRefusedError", "SelfRearmError"]

SWITCH_JOURNAL = "care/kill-switch"

_LONGEST = 2_000

_log = get_logger("loom.routing")


class RearmRefusedError(LoomError):
    """A switch that a stop condition engaged was to be re-armed without its cause, or without a replay that passes.

    To do: name the cause, and let a replay pass first: see `loom docs routing`.
    """

    kind = "refused"


class SelfRearmError(SeparationOfDutiesError):
    """What a kill switch stops may not re-arm it.

    To do: have a person re-arm it.
    """


class KillSwitch:
    """Engaged or armed. Its journal is read before the first request; `engaged` is then a look at memory."""

    def __init__(self, store: JournalReader, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._journal = SingletonJournal(store, SWITCH_JOURNAL, self._fold, make_draft=make_draft, controls=True)
        self._last: KillSwitchEngagedEntry | KillSwitchRearmedEntry | None = None
        self._stop: KillSwitchEngagedEntry | None = None
        self._turned: list[tuple[int, bool]] = []
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

    @property
    def stop(self) -> KillSwitchEngagedEntry | None:
        """What the system stopped for since it was last re-armed; None if only persons engaged it, or no one."""
        return self._stop

    @property
    def rearmed_at(self) -> int:
        """The position at which it was last re-armed, 0 where it never was."""
        return next((position for position, engaged in reversed(self._turned) if not engaged), 0)

    def held(self, began: int, looked: int) -> bool:
        """Tell whether it was engaged before a position, and was not re-armed up to another."""
        before = [engaged for position, engaged in self._turned if position < began]
        since = [engaged for position, engaged in self._turned if began <= position <= looked]
        return bool(before) and before[-1] and all(since)

    async def kill(
        self,
        *,
        by: By,
        reason: str,
        trigger: Literal["person", "system"] = "person",
        condition: StopCondition | None = None,
        request_id: str | None = None,
    ) -> None:
        """Stop optimisation: every turn that starts after this returned uses the baseline.

        It holds in this process from the first moment, and stays so even where the journal cannot be written; the
        error is then raised, as after a restart the switch would be armed. A stop by the system is journaled also
        where a person has engaged it before: it takes more to re-arm.
        """
        who = Identity.of_system(by) if trigger == "system" and isinstance(by, str) else Identity.of(by)
        entry = KillSwitchEngagedEntry(
            **who.written(), trigger=trigger, reason=_checked_reason(reason), condition=condition, request_id=request_id
        )

        def missing() -> Entry | None:
            self._held = True  # a re-arm that was under way may have let go of it
            if not isinstance(self._last, KillSwitchEngagedEntry):
                return entry
            new = self._stop is None or self._stop.condition != condition
            return entry if trigger == "system" and new else None

        self._held = True
        _log.warning("kill_switch_activated", by=str(who), trigger=trigger, reason=reason, condition=condition)
        await self._journal.append_if_missing(missing)

    async def stop_for(self, condition: StopCondition, *, reason: str, request_id: str | None) -> None:
        """Engage it in the system's name. It holds here whatever happens; a journal that cannot be written is logged.

        The reason is shortened to what an entry takes.
        """
        try:
            await self.kill(
                by="loom", reason=reason[:_LONGEST], trigger="system", condition=condition, request_id=request_id
            )
        except LoomError as error:
            _log.error("kill_switch_not_journaled", condition=condition, request=request_id, error=str(error))

    async def rearm(
        self,
        *,
        by: By,
        reason: str,
        cause: str | None = None,
        replayed: str | None = None,
        looked_into: KillSwitchEngagedEntry | None = None,
        stopped: Sequence[str] = (),
    ) -> None:
        """Let optimisation work again; once it is durable, and in the name of a person.

        Where the system has stopped it, that takes the stop that was `looked_into`, its cause, and the request whose
        replay has passed since; else it is a `RearmRefusedError`, as it is where another stop has come meanwhile.
        `stopped` are the names of what it stops, none of which re-arms it, nor does loom: `SelfRearmError`.
        """
        who = Identity.of(by)
        if is_self(who, "loom", *stopped):
            raise SelfRearmError(f"[{who.name}] is what the kill switch stops; expected a person to re-arm it: ask one")
        said = None if cause is None else _checked_reason(cause, "cause")
        entry = KillSwitchRearmedEntry(**who.written(), reason=_checked_reason(reason), cause=said, replayed=replayed)

        def missing() -> Entry | None:
            if not self.engaged:
                return None
            if self._stop is not None and (cause is None or replayed is None or self._stop is not looked_into):
                raise RearmRefusedError(
                    f"optimisation was stopped by the system [{self._stop.reason:.200}]; expected the cause, and a "
                    "replay that has passed since: look into it, then name both"
                )
            return entry

        await self._journal.append_if_missing(missing)
        _log.warning("kill_switch_rearmed", by=str(who), reason=reason, cause=cause)

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if not isinstance(entry, KillSwitchEngagedEntry | KillSwitchRearmedEntry):
            return
        self._last = entry
        self._held = isinstance(entry, KillSwitchEngagedEntry)
        self._turned.append((recorded.position, self._held))
        if isinstance(entry, KillSwitchRearmedEntry):
            self._stop = None
        elif entry.trigger == "system":
            self._stop = entry


def _checked_reason(reason: str, what: str = "reason") -> str:
    if not reason.strip():
        raise AdmissionError(f"{what} is blank; expected why, in a person's words: say it")
    return reason
