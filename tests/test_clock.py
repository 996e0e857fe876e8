"""Microseconds and moments are the same thing, exactly."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom.clock import ElapsedClock, Instant, SystemClock, datetime_from_us, elapsed_us, instant, us_from_datetime
from loom.testing import FixedClock


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


def test_the_system_clock_tells_how_much_time_has_gone_by_counting_suspension_where_it_can() -> None:
    clock: ElapsedClock = SystemClock()
    before = clock.elapsed_us()
    assert 0 <= elapsed_us(clock) - before < 60_000_000
    if hasattr(time, "CLOCK_BOOTTIME"):
        assert abs(time.clock_gettime(time.CLOCK_BOOTTIME) * 1e6 - clock.elapsed_us()) < 1e6


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="no clock of this system counts suspension")
def test_an_hour_of_suspension_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    read, before = time.clock_gettime_ns, SystemClock().elapsed_us()

    def after_an_hour(clock: int) -> int:
        return read(clock) + (3_600_000_000_000 if clock == time.CLOCK_BOOTTIME else 0)

    monkeypatch.setattr(time, "clock_gettime_ns", after_an_hour)
    assert SystemClock().elapsed_us() - before >= 3_600_000_000


def test_a_clock_that_tells_the_time_of_day_alone_is_taken_at_its_word() -> None:
    class OfDay:
        def now_us(self) -> int:
            return 7

    assert not isinstance(OfDay(), ElapsedClock)
    assert instant(OfDay()) == Instant(7, 7)


def test_a_fixed_clock_that_is_set_lets_no_time_go_by() -> None:
    clock = FixedClock()
    assert isinstance(clock, ElapsedClock)
    began = instant(clock)
    clock.advance(60)
    clock.advance(timedelta(hours=-1))
    clock.set_by(timedelta(days=365))
    now = instant(clock)
    assert now.elapsed_us - began.elapsed_us == 60_000_000
    assert now.now_us - began.now_us == (60 - 3_600 + 365 * 86_400) * 1_000_000
