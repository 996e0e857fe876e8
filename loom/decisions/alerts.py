"""Alerts: days with unusual figures of decisions. Each is detected once, journaled, logged, and passed to hooks.

Only whole days (UTC) are examined. Of the unusual days only the most recent ones raise an alert.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal, TypeAlias, get_args

from loom.background import Background, Child
from loom.config import AlertsConfig
from loom.decisions.metrics import Metrics
from loom.decisions.trends import ENOUGH, Measure
from loom.errors import LoomError
from loom.journal.entry import Entry, Recorded
from loom.journal.singleton import SingletonJournal
from loom.journal.store import Draft, JournalReader, JournalStore, draft
from loom.telemetry import get_logger

__all__ = ["ALERT_JOURNAL", "AlertHook", "Alerts", "AlertsFound", "AnomalyFoundEntry"]

ALERT_JOURNAL = "loom/alerts"
"""The journal of alerts."""

Severity: TypeAlias = Literal["notice", "warning", "critical"]

_SEVERITIES: tuple[Severity, ...] = ("notice", "warning", "critical")
_MEASURES: tuple[Measure, ...] = get_args(Measure)
_DAY = timedelta(days=1)
_RECENT_DAYS = 7
_FIRST_LOOK_S = 5.0
_AFTER_MIDNIGHT_S = 60.0
_RETRY_S = 3_600.0

_log = get_logger("loom.alerts")


class AnomalyFoundEntry(Entry):
    """A day had an unusual value of a measure: so many standard deviations off the line through the other days."""

    kind: ClassVar[str] = "anomaly_found"

    measure: Measure
    day: datetime
    value: float
    expected: float
    deviations: float
    severity: Severity


AlertHook: TypeAlias = Callable[[AnomalyFoundEntry], Awaitable[None] | None]
"""Called with each alert, once."""


class AlertsFound:
    """Reads the alerts from their journal."""

    def __init__(self, store: JournalReader, *, make_draft: Callable[[Entry], Draft] = draft) -> None:
        self._journal = SingletonJournal(store, ALERT_JOURNAL, self._fold, make_draft=make_draft)
        self._known: dict[tuple[Measure, datetime], AnomalyFoundEntry] = {}

    async def find(self) -> list[AnomalyFoundEntry]:
        """Return the alerts, newest first."""
        await self._journal.load()
        return list(reversed(self._known.values()))

    def _fold(self, recorded: Recorded) -> None:
        if isinstance(recorded.entry, AnomalyFoundEntry):
            self._known[recorded.entry.measure, recorded.entry.day] = recorded.entry


class Alerts(AlertsFound):
    """Examines the figures once a day. `start` it, `close` it; `on_alert` adds receivers in addition to the log."""

    def __init__(
        self,
        store: JournalStore,
        metrics: Metrics,
        config: AlertsConfig,
        *,
        now: Callable[[], datetime],
        make_draft: Callable[[Entry], Draft] = draft,
        background: Background | None = None,
    ) -> None:
        super().__init__(store, make_draft=make_draft)
        self._metrics = metrics
        self._now = now
        self._days = config.days
        self._severities = _SEVERITIES[_SEVERITIES.index(config.at_least) :]
        self._hooks: list[AlertHook] = []
        self._background = background or Background()
        self._task: Child[None] | None = None

    def on_alert(self, hook: AlertHook) -> None:
        """Call a function, or a coroutine function, with each alert from now on. Its exceptions are logged."""
        self._hooks.append(hook)

    def start(self) -> None:
        """Begin to examine the figures: soon, and then after the end of each day."""
        self._task = self._background.keep_running(self._watch, name="loom-alerts")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> list[AnomalyFoundEntry]:
        """Examine the whole days up to now. Journal, log and pass on each unusual day that is new."""
        today = self._now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        since = today - self._days * _DAY
        if await self._metrics.days_with_decisions(since=since, until=today) < ENOUGH:
            return []
        trends = await self._metrics.trends(_MEASURES, since=since, until=today, bucket=_DAY)
        new: list[AnomalyFoundEntry] = []
        for measure, trend in trends.items():
            for each in trend.anomalies:
                if each.severity in self._severities and each.begin >= today - _RECENT_DAYS * _DAY:
                    entry = AnomalyFoundEntry(measure=measure, day=each.begin, **each.model_dump(exclude={"begin"}))
                    if await self._keep(entry):
                        new.append(entry)
        for entry in new:
            await self._tell(entry)
        return new

    async def _keep(self, entry: AnomalyFoundEntry) -> bool:
        is_new = False

        def missing() -> Entry | None:
            nonlocal is_new
            is_new = (entry.measure, entry.day) not in self._known
            return entry if is_new else None

        await self._journal.append_if_missing(missing)
        return is_new

    async def _tell(self, entry: AnomalyFoundEntry) -> None:
        _log.warning("decisions_stand_out", **entry.model_dump(mode="json", exclude={"step"}))
        for hook in self._hooks:
            try:
                result = hook(entry)
                if inspect.isawaitable(result):
                    await result
            except Exception as error:  # it is the user's code
                _log.error("alert_not_passed_on", measure=entry.measure, error=repr(error))

    async def _watch(self) -> None:
        wait_s = _FIRST_LOOK_S
        while True:
            await asyncio.sleep(wait_s)
            try:
                await self.look()
                wait_s = self._until_tomorrow_s()
            except LoomError as error:
                _log.warning("alerts_not_looked_for", error=str(error))
                wait_s = _RETRY_S

    def _until_tomorrow_s(self) -> float:
        now = self._now().astimezone(UTC)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + _DAY
        return (midnight - now).total_seconds() + _AFTER_MIDNIGHT_S
