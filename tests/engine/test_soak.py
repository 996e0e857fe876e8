"""What the soak takes for growth."""

from __future__ import annotations

from tests.engine.soak import Seen, grown


def test_what_grows_all_the_time_is_found_and_what_is_level_is_not() -> None:
    level = [Seen(at, 100.0 + at % 3, 24, 3, 12) for at in range(0, 60, 5)]
    assert grown(level) == []
    leaks = [Seen(at, 100.0 + 10 * at, 24 + at, 3, 12 + at // 4) for at in range(0, 60, 5)]
    assert [each.split()[0] for each in grown(leaks)] == ["memory_mb", "descriptors", "connections"]
