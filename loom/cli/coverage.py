"""The message of commands when too few cases could be judged."""

from __future__ import annotations

from loom.cli.shell import Shell

__all__ = ["too_little"]


def too_little(shell: Shell, coverage: float | None, min_coverage: float, found: str = "that nothing flips") -> bool:
    """Return whether too few cases could be judged, and report it if so."""
    if coverage is None or 100 * coverage >= min_coverage:
        return False
    shell.output.note(
        f"coverage is {coverage:.1%}, and at least {min_coverage:g} % was asked for (--min-coverage): "
        f"{found} says little"
    )
    return True
