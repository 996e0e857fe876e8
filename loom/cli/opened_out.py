"""Where a command writes to: standard output, or a new file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

__all__ = ["opened_out"]


@contextlib.contextmanager
def opened_out(out: Path | None) -> Iterator[TextIO]:
    """Yield standard output, or a file that gets its name once it is complete; no file is ever overwritten."""
    if out is None:
        # Bodies are UTF-8 to the byte, whatever the locale says.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        yield sys.stdout
        return
    import os

    from loom.errors import ConfigError
    from loom.journal.private import open_private

    if out.exists():
        raise ConfigError(f"file [{out}] is there already; expected a new name: choose another, or remove it")
    part = out.with_name(f"{out.name}.part")
    descriptor = open_private(part, os.O_WRONLY | os.O_TRUNC)
    try:
        with open(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.link(part, out)
    finally:
        part.unlink(missing_ok=True)
