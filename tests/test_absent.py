"""What is left out of what is written: only the value that its absence means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from loom.absent import is_empty, is_none, is_one, is_true

VALUES: list[Any] = [None, False, 0, "", [], True, 1, 2, "1", [0]]


@pytest.mark.parametrize(
    ("tells", "left_out"),
    [(is_none, [None]), (is_empty, [None, False, 0, "", []]), (is_true, [True]), (is_one, [True, 1])],
)
def test_only_the_value_itself_is_left_out(tells: Callable[[Any], bool], left_out: list[Any]) -> None:
    assert repr([value for value in VALUES if tells(value)]) == repr(left_out)
