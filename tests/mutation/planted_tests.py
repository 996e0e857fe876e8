"""The tests of `planted.py`, which are not part of the suite: one asks for an answer, one does not."""

from __future__ import annotations

from tests.mutation import planted


def test_who_is_18_is_an_adult() -> None:
    assert [planted.is_adult(age) for age in (17, 18, 19)] == [False, True, True]


def test_nothing_is_asked_of_what_is_far() -> None:
    planted.is_far(3)
    planted.is_far(-100)
    planted.is_far(300)
