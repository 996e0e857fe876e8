"""When a field is left out of what is written: its absence then means the same.

They are of the standard library's C code, as each field of each entry is asked.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["is_empty", "is_none", "is_one", "is_true"]

is_none: Callable[[Any], bool] = partial(operator.is_, None)
"""Tells whether a value is None."""

is_empty: Callable[[Any], bool] = operator.not_
"""Tells whether a value is empty, zero, false or None."""

is_true: Callable[[Any], bool] = partial(operator.is_, True)
"""Tells whether a value is true itself."""

is_one: Callable[[Any], bool] = partial(operator.eq, 1)
"""Tells whether a value is 1, as the number of a first version is."""
