"""Files that people write for loom, in YAML or JSON: they are read whole, up to a bound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import yaml

from loom.errors import LoomError

__all__ = ["read_written"]

T = TypeVar("T")

_MOST_BYTES = 1_048_576


def read_written(
    path: Path,
    parse: Callable[[str], T],
    *,
    what: str,
    problem: type[LoomError],
    fewer: str,
    most: int = _MOST_BYTES,
) -> T:
    """Return what `parse` makes of the text of a file, which has `most` bytes at most.

    Raises `problem`, which calls the file `what`, where it is not there or too large, for which `fewer` says what to
    do, or where `parse` raises what YAML or JSON raise.
    """
    try:
        with path.open("rb") as opened:
            raw = opened.read(most + 1)
        if len(raw) > most:
            raise problem(f"{what} [{path}] has more than [{most}] bytes; expected fewer: {fewer}")
        return parse(raw.decode())
    except OSError as error:
        raise problem(f"{what} [{path}] cannot be read [{error.strerror}]; expected a file: check it") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:  # a date that is none: ValueError
        raise problem(f"{what} [{path}] is neither YAML nor JSON [{error}]: correct it") from error
