"""`loom enrich`: have a critic look at what an import brought in."""

from __future__ import annotations

from typing import Annotated

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.approvals import ByOption
from loom.cli.shell import Shell

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "enrich", panel="History")(enrich)


async def enrich(
    shell: Shell,
    by: ByOption,
    run_id: Annotated[str, typer.Option("--import", metavar="ID", help="Which import.", show_default=False)],
    limit: Annotated[int | None, typer.Option(min=1, help="Ask about at most this many decisions.")] = None,
) -> int | None:
    """Ask the config's critic about the decisions of an import, oldest first, in your own name.

    No loom may run meanwhile. Decisions that have an enrichment are skipped. Exit code 1: the budget refused before
    the critic was asked about all of them.
    """
    from loom.cli.acting import open_loom, without_code
    from loom.errors import ConfigError

    async with open_loom(without_code(shell.existing), by=by) as loom:
        if loom.enricher is None:
            raise ConfigError("no critic is set up; expected critic_llm in the config: see `loom docs enrichment`")
        with shell.output.progress("asking"):
            done = await loom.enricher.enrich_import(run_id, by=by, limit=limit)
    words = "; the budget refused more" if done.exhausted else ""
    shell.answer(done._asdict(), f"import {done.run_id}: {done.enriched:,} enriched, {done.failed:,} failed{words}")
    return EXIT_NO if done.exhausted else None
