"""`loom demo`: the discount-approval story, with a real journal, a real child process and a real kill."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.decisions import explained
from loom.cli.output import Output
from loom.cli.shell import Shell

if TYPE_CHECKING:
    from loom.cli.demo.story import StoryResult

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "demo", panel="Run")(demo)


async def demo(
    shell: Shell,
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="The directory of its journal; by default a new loom-data/demo-….", show_default=False
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Then serve its journal: pages for the browser, with a request that waits.")
    ] = False,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65_535, help="The port of --serve; 0 takes a free one.")
    ] = None,
) -> int | None:
    """Tell the story of an agent that gives discounts, on a journal of its own that stays.

    Within the limit, exceptions with consent, a process killed while it waits, a denial; then everything rebuilt. It is
    all simulated and offline.
    """
    from loom.cli.demo.story import CONFIG, tell
    from loom.errors import ConfigError

    output = shell.output
    place = directory or _new_directory()
    config = place / "loom.config.yaml"
    if config.exists():
        raise ConfigError(f"[{config}] is there already; expected a directory without: choose another")
    place.mkdir(parents=True, exist_ok=True)
    config.write_text(CONFIG, encoding="utf-8")
    number = 0

    def title(text: str) -> None:
        nonlocal number
        number += 1
        output.say()
        output.say(f"{number}. {text}", style="bold cyan")

    def say(text: str) -> None:
        output.say(f"   {text}")

    if not output.json:
        output.say(
            "A discount agent: up to 10 % it decides, above it asks the VP of sales, and it remembers why.",
            style="bold",
        )
    result = await tell(place.absolute(), title=_ignore if output.json else title, say=_ignore if output.json else say)
    if output.json:
        output.document(_as_json(result))
    else:
        _close(output, result)
    if serve:
        from loom.cli.demo.serving import serve_demo

        await serve_demo(place.absolute(), output, port=port)
    return None if result.verdict.startswith("VERIFIED") else EXIT_NO


def _as_json(result: StoryResult) -> dict[str, Any]:
    return {
        "directory": str(result.directory),
        "journal": str(result.journal),
        "decisions": result.decisions,
        "killed": result.killed,
        "state": result.state.model_dump(mode="json"),
        "verdict": result.verdict,
    }


def _ignore(_: str) -> None:
    """Print nothing: a program reads the output."""


def _new_directory() -> Path:
    """Return a directory that is not there yet; the journal of an earlier demo is left alone."""
    return Path("loom-data") / f"demo-{datetime.now().astimezone():%Y%m%d-%H%M%S}-{os.getpid()}"


def _close(output: Output, result: StoryResult) -> None:
    assert result.explanation is not None  # noqa: S101 - the story has ended
    output.say()
    output.say("And this is what the journal says of the case:", style="bold cyan")
    output.say()
    output.show(explained(result.explanation, output))
    here = os.path.relpath(result.directory)
    case = result.decisions["case"][:12]
    output.say()
    output.say("The journal stays. Try next:", style="bold cyan")
    for line in (
        f"cd {here}",
        "loom decisions --exception",
        f"loom why {result.decisions['denied'][:12]}",
        "loom keys add dana --role approver --by robin",
        "loom serve  # with that key, its pages are at http://127.0.0.1:8765",
        "loom journal discount-agent/emea",
        f"loom precedents --of {case}",
        "loom replay discount-agent/emea --verify",
        'loom run discount-agent/emea RequestDiscount \'{"customer_id": "cobalt", "percent": 20}\' --by robin',
    ):
        output.say(f"   {line}", whole=True)
