"""Escalation, delegation, absence and quorum, checked over every case: no request waits for ever.

All cases up to four persons and three roles take long: `pytest -m reliability tests/people/test_quorum.py`. Here are
those of fewer, and a sample.
"""

from __future__ import annotations

from itertools import islice

import pytest

from tests.people.model import cases


@pytest.mark.parametrize(("people", "roles"), [(1, 3), (2, 2)])
def test_every_order_of_events_ends_and_grants_only_by_enough_persons(people: int, roles: int) -> None:
    assert sum(case.check(leaving=True) for case in cases(people, roles)) > 100


def test_a_sample_of_four_persons_and_three_roles_ends_too() -> None:
    sample = islice(cases(4, 3, away=1), 1_000, 2_000_000, 20_011)
    assert sum(case.check(leaving=False) for case in islice(sample, 40)) > 400


@pytest.mark.reliability
@pytest.mark.timeout(4 * 3_600)
@pytest.mark.parametrize(("people", "roles"), [(3, 3), (4, 1), (4, 2), (4, 3)])
def test_every_case_of_four_persons_and_three_roles_ends(people: int, roles: int) -> None:
    for case in cases(people, roles):
        case.check(leaving=False)
