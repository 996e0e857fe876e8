"""The times of a cron line: five fields, read in a time zone, also where its clocks are put forward or back.

A time that a zone leaves out is moved to the first minute after the gap; a fixed time that comes twice is one time; a
line with a wildcard runs on through both. That is what `cronsim` does, and Debian's cron.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["check_cron", "check_timezone", "times_after", "times_before"]

_FIELDS = 5
_SOME_DAY = datetime(2024, 1, 1, tzinfo=UTC)


def check_cron(cron: str) -> str:
    """Return a cron line; raise `ValueError` with what is wrong with it."""
    from cronsim import CronSimError

    if len(cron.split()) != _FIELDS:
        raise ValueError(f"it has {len(cron.split())} fields, not {_FIELDS}")
    try:
        next(times_after(cron, "UTC", _SOME_DAY))
    except CronSimError as error:
        raise ValueError(str(error)) from error
    except StopIteration:
        raise ValueError("it never comes") from None
    return cron


def check_timezone(name: str) -> str:
    """Return the name of a time zone; raise `ValueError` for one that this machine does not know."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"[{name}] is not known here") from error
    return name


def times_after(cron: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """Yield the times (UTC) of a cron line after a time, the earliest first."""
    from cronsim import CronSim

    for moment in CronSim(cron, after.astimezone(ZoneInfo(timezone))):
        if moment.astimezone(UTC) > after:
            yield moment.astimezone(UTC)


def times_before(cron: str, timezone: str, until: datetime) -> Iterator[datetime]:
    """Yield the times (UTC) of a cron line up to a time, the latest first."""
    from cronsim import CronSim

    first = next(times_after(cron, timezone, until), None)
    if first is None:
        return
    for moment in CronSim(cron, first.astimezone(ZoneInfo(timezone)), reverse=True):
        if moment.astimezone(UTC) <= until:
            yield moment.astimezone(UTC)
