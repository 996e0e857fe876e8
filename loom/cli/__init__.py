"""The shell: `loom`. It runs a workspace, reads it back, and answers what its actors ask people."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the shell; its commands are imported only now."""
    from loom.cli.app import main as run

    run()
