"""The shell: `loom`. It runs a workspace, reads it back, and answers what its actors ask people."""

from __future__ import annotations

import gc

__all__ = ["main"]


def main() -> None:
    """Run the shell; its commands are imported only now."""
    gc.disable()  # imported modules stay in memory: a garbage collection of them finds nothing
    from loom.cli.app import main as run

    gc.freeze()
    gc.enable()
    run()
