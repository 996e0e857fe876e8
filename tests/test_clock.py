"""Microseconds and moments are the same thing, exactly."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.clock import SystemClock, datetime_from_us, us_from_datetime


@given(st.integers(min_value=-62_135_596_800_000_000, max_value=253_402_300_799_999_999))
def test_microseconds_survive_the_way_there_and_back(us: int) -> None:
    assert us_from_datetime(datetime_from_us(us)) == us


def test_a_moment_in_another_time_zone_is_the_same_moment() -> None:
    utc = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert us_from_datetime(utc.astimezone(timezone(timedelta(hours=5, minutes=30)))) == us_from_datetime(utc)


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        us_from_datetime(datetime(2026, 3, 1, 12))  # noqa: DTZ001 - that is what is refused


def test_the_system_clock_tells_the_time() -> None:
    assert abs(SystemClock().now_us() - time.time() * 1e6) < 1e6
