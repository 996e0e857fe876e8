"""`loom init`: write a config file and a small agent that work, to begin from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from loom.cli.command import command
from loom.cli.shell import Shell

__all__ = ["add_to"]

_FILES = {"loom.config.yaml": "config.yaml.txt", "refunds.py": "refunds.py.txt"}
"""What is written, and which template it is."""

_NEXT = """\
Next, in that directory:
  loom run refund-agent/shop RequestRefund '{"order": "A-1", "amount_eur": 20}' --by dana
  loom run refund-agent/shop RequestRefund '{"order": "A-2", "amount_eur": 90}' --by dana
  loom approvals                        what waits for approval: the second is over the limit
  loom approve ID --by kim              anyone but the one who asked
  loom run --once                       the turn goes on from where it was
  loom decisions                        then: loom why ID"""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "init", panel="Run")(init)


def init(
    shell: Shell,
    directory: Annotated[
        Path,
        typer.Argument(metavar="[DIR]", help="The directory; it is made if it does not exist.", show_default=False),
    ] = Path(),
) -> None:
    """Write a config file and a small agent that works, to begin from. Nothing is overwritten."""
    from loom.errors import ConfigError

    there = [name for name in _FILES if (directory / name).exists()]
    if there:
        raise ConfigError(
            f"[{', '.join(str(directory / name) for name in there)}] is there already; expected a directory without: "
            "choose another, or remove it"
        )
    directory.mkdir(parents=True, exist_ok=True)
    templates = files("loom.cli") / "templates"
    for name, template in _FILES.items():
        with (directory / name).open("x", encoding="utf-8") as file:
            file.write((templates / template).read_text(encoding="utf-8"))
    written = [str(directory / name) for name in _FILES]
    if shell.json:
        shell.output.document({"written": written})
        return
    for path in written:
        shell.output.say(f"wrote {path}", style="green")
    shell.output.say()
    shell.output.say(_NEXT, whole=True)
