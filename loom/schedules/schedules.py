"""Sends the commands of schedules, each for its time once.

The control journal `loom/schedules` says up to which time each schedule was handled, and the id of a command is derived
from the schedule and the time: so a restart, or a crash between the two appends, neither doubles nor loses one. In one
process the time of day is compared with elapsed time: where the clock steps, the times in between never were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice, takewhile
from typing import Any, NamedTuple

from pydantic import ValidationError

from loom.actors.actor import Actor, commands_of
from loom.actors.command import COMMANDS, Command
from loom.actors.system import ActorSystem
from loom.background import Background, Child, stopped
from loom.clock import AHEAD_US, Clock, Instant, datetime_from_us, instant
from loom.config import ScheduleConfig
from loom.config.cron import times_after, times_before
from loom.errors import CommandConflictError, ConfigError, LoomError
from loom.identity import derived_id, journal_name
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalStore
from loom.schedules.entries import ScheduleFiredEntry, ScheduleSetEntry, ScheduleSkippedEntry
from loom.sealing.wording import problems, without_words
from loom.telemetry import get_logger

__all__ = ["SCHEDULES_JOURNAL", "ScheduleStatus", "Schedules"]

SCHEDULES_JOURNAL = "loom/schedules"

_MOST_MISSED = 100
"""How many missed times of one schedule are made up for at most, and counted at most one by one."""
_LATE = timedelta(minutes=2)
"""A time that is handled within this is not missed: a restart takes that long."""
_MAX_SLEEP_S = 60.0
_AGAIN_S = 5.0

_log = get_logger("loom.schedules")


class ScheduleStatus(NamedTuple):
    """A schedule: to whom it sends, when, up to when its times are handled, and its next time."""

    name: str
    journal: str
    cron: str
    timezone: str
    handled_until: datetime | None
    next_at: datetime | None


class Schedules:
    """The schedules of a config: `load` them, `start` to send their commands, `close` to stop."""

    def __init__(
        self,
        store: JournalStore,
        actors: ActorSystem,
        configured: Sequence[ScheduleConfig],
        *,
        clock: Clock,
        make_draft: Callable[[Entry], Draft],
        background: Background | None = None,
    ) -> None:
        self._store = store
        self._actors = actors
        self._configured = tuple(configured)
        self._clock = clock
        self._background = background or Background()
        self._journal = SingletonJournal(store, SCHEDULES_JOURNAL, self._fold, make_draft=make_draft)
        self._set: dict[str, ScheduleSetEntry] = {}
        self._handled: dict[str, datetime] = {}
        """By name: the time up to which the journal says what became of its times."""
        self._from: dict[str, datetime] = {}
        """By name: the time after which its next time comes, in this process."""
        self._looked: Instant | None = None
        self._looking = asyncio.Lock()
        self._task: Child[None] | None = None

    async def load(self) -> None:
        """Read what was handled, and note schedules that are new or changed; raise `ConfigError` for a wrong command.

        A schedule of an actor whose class is not registered yet is checked when it sends.
        """
        await self._journal.load()
        now = datetime_from_us(self._clock.now_us())
        for schedule in self._configured:
            if self._actors.knows(schedule.actor):
                self._check(schedule)
            await self._journal.append_if_missing(partial(self._missing, schedule, now))

    def start(self) -> None:
        """Begin to send commands at their times."""
        if self._configured:
            self._task = self._background.keep_running(self._watch, name="loom-schedules")

    async def close(self) -> None:
        """Stop; times that come from now on are missed, and handled at the next start."""
        await stopped(self._task)

    async def look(self) -> float:
        """Handle every time that has come, and return the seconds until the next one."""
        async with self._looking:
            return await self._look()

    async def _look(self) -> float:
        now = instant(self._clock)
        self._notice_step(now)
        moment = datetime_from_us(now.now_us)
        following = []
        for schedule in self._configured:
            await self._handle(schedule, moment)
            after = max(self._after(schedule, moment), moment)
            following += list(islice(times_after(schedule.cron, schedule.timezone, after), 1))
        return (min(following) - moment).total_seconds() if following else _MAX_SLEEP_S

    async def _watch(self) -> None:
        while True:
            try:
                wait_s = await self.look()
            except LoomError as error:  # what was not handled is handled again
                _log.warning("schedules_not_handled", error=str(error))
                wait_s = _AGAIN_S
            await asyncio.sleep(min(max(wait_s, 0.001), _MAX_SLEEP_S))

    def listing(self) -> tuple[ScheduleStatus, ...]:
        """Return the schedules with the times that were handled last and come next, in the order of the config."""
        now = datetime_from_us(self._clock.now_us())
        return tuple(
            ScheduleStatus(
                each.name,
                f"{each.actor}/{each.key}",
                each.cron,
                each.timezone,
                self._handled.get(each.name),
                next(iter(times_after(each.cron, each.timezone, now)), None),
            )
            for each in self._configured
        )

    # --- the clock ------------------------------------------------------------------------------

    def _notice_step(self, now: Instant) -> None:
        """Where the time of day stepped since the last look, begin again from the time that it is now."""
        before, self._looked = self._looked, now
        if before is None:
            return
        step_us = (now.now_us - before.now_us) - (now.elapsed_us - before.elapsed_us)
        if abs(step_us) > AHEAD_US:
            _log.warning("clock_stepped", by_s=step_us // 1_000_000)
            self._from = {each.name: datetime_from_us(now.now_us) for each in self._configured}

    def _after(self, schedule: ScheduleConfig, now: datetime) -> datetime:
        """Return the time after which the times of a schedule are not handled yet."""
        known = self._from.get(schedule.name)
        if known is None:
            known = self._handled[schedule.name]
            if known - now > timedelta(microseconds=AHEAD_US):
                _log.warning("clock_was_ahead", schedule=schedule.name, by_s=(known - now).total_seconds())
                known = now
            self._from[schedule.name] = known
        return known

    # --- what is due ----------------------------------------------------------------------------

    async def _handle(self, schedule: ScheduleConfig, now: datetime) -> None:
        after = self._after(schedule, now)
        back = takewhile(lambda due: due > after, times_before(schedule.cron, schedule.timezone, now))
        due = list(islice(back, _MOST_MISSED + 1))[::-1]
        more = len(due) > _MOST_MISSED
        due = due[1:] if more else due
        if not due:
            return
        late = [each for each in due if now - each > _LATE]
        fired = set(due[len(late) :])
        if schedule.missed == "all" or (schedule.missed == "once" and not fired):
            fired |= set(late if schedule.missed == "all" else late[-1:])
        for each in due:
            # What was sent before a crash is only noted.
            sent = each in fired or await self._store.find_command(*self._command(schedule, each)) is not None
            if sent:
                await self._fire(schedule, each, late=each in late)
                fired.add(each)
        skipped = [each for each in due if each not in fired]
        if skipped or more:
            until = skipped[-1] if skipped else due[0] - timedelta(microseconds=1)
            await self._note(ScheduleSkippedEntry(name=schedule.name, until=until, runs=len(skipped), more=more))
        self._from[schedule.name] = due[-1]

    async def _fire(self, schedule: ScheduleConfig, due: datetime, *, late: bool) -> None:
        journal, command_id = self._command(schedule, due)
        cls, command = self._check(schedule)
        try:
            await self._actors.messenger.tell(
                cls, schedule.key, command, command_id=command_id, by=f"schedule {schedule.name}"
            )
        except CommandConflictError:  # it was sent with the settings of then
            _log.info("schedule_fired_before", schedule=schedule.name, due=due.isoformat())
        await self._note(
            ScheduleFiredEntry(name=schedule.name, due=due, journal=journal, command_id=command_id, late=late)
        )

    def _command(self, schedule: ScheduleConfig, due: datetime) -> tuple[str, str]:
        """Return the journal and the id of the command for one time."""
        command_id = derived_id("schedule", self._store.workspace, schedule.name, due.isoformat())
        return journal_name(schedule.actor, schedule.key), command_id

    def _check(self, schedule: ScheduleConfig) -> tuple[type[Actor[Any]], Command[Any]]:
        """Return the class of the actor, and the command; raise `ConfigError` where it cannot be made."""
        cls = self._actors.classes.get(schedule.actor)
        try:
            return cls, COMMANDS.decode(schedule.command, dict(schedule.payload), among=commands_of(cls))
        except (LoomError, ValidationError) as error:
            words = problems(error, hides=True) if isinstance(error, ValidationError) else str(error)
            raise ConfigError(
                f"schedule [{schedule.name}] cannot make its command [{schedule.command}] [{words}]; expected one that "
                f"[{schedule.actor}] takes, with its fields in payload: correct them in schedules: of the config"
            ) from without_words(error)

    # --- the journal ----------------------------------------------------------------------------

    def _missing(self, schedule: ScheduleConfig, now: datetime) -> Entry | None:
        known = self._set.get(schedule.name)
        entry = ScheduleSetEntry(
            name=schedule.name,
            cron=schedule.cron,
            timezone=schedule.timezone,
            actor=schedule.actor,
            key=schedule.key,
            command_type=schedule.command,
            payload=dict(schedule.payload),
            missed=schedule.missed,
            since=now if known is None else known.since,
        )
        return None if entry == known else entry.model_copy(update={"since": now})

    async def _note(self, entry: ScheduleFiredEntry | ScheduleSkippedEntry) -> None:
        await self._journal.append_if_missing(lambda: entry)

    def _fold(self, recorded: Recorded) -> None:
        entry = recorded.entry
        if isinstance(entry, ScheduleSetEntry):
            self._set[entry.name], self._handled[entry.name] = entry, entry.since
        elif isinstance(entry, ScheduleFiredEntry):
            self._handled[entry.name] = max(self._handled.get(entry.name, entry.due), entry.due)
        elif isinstance(entry, ScheduleSkippedEntry):
            self._handled[entry.name] = max(self._handled.get(entry.name, entry.until), entry.until)
