"""`loom docs`: the pages about loom, which are installed with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loom.cli.command import command
from loom.cli.output import Column
from loom.cli.shell import Shell

__all__ = ["add_to", "pages"]

_PACKAGE = Path(__file__).parents[2]
_PLACES = (_PACKAGE / "docs", _PACKAGE.parent / "docs")
"""Where the pages are: in the package where it is installed, at the top of the repository where it is a checkout."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "docs", panel="Run")(docs)


def pages() -> dict[str, Path]:
    """Return the pages by name, in order; empty where loom was installed without them."""
    found = next((place for place in _PLACES if place.is_dir()), None)
    return {} if found is None else {path.stem: path for path in sorted(found.glob("*.md"))}


def docs(
    shell: Shell,
    page: Annotated[
        str | None, typer.Argument(metavar="[PAGE]", help="The page, by its name.", show_default=False)
    ] = None,
) -> None:
    """List the pages about loom, or show one of them."""
    known = pages()
    if page is None:
        titles = {name: _title(path) for name, path in known.items()}
        if shell.json:
            shell.output.document(titles)
        else:
            shell.output.table((Column("page"), Column("about", wide=True)), list(titles.items()))
        return
    if page not in known:
        raise typer.BadParameter(
            f"page [{page[:80]}] is not there; expected one of [{', '.join(known)}]: see `loom docs`", param_hint="PAGE"
        )
    text = known[page].read_text(encoding="utf-8")
    if shell.json:
        shell.output.document({"page": page, "text": text})
    elif shell.output.for_eyes:
        from rich.markdown import Markdown

        shell.output.show(Markdown(text))
    else:
        shell.output.say(text.rstrip("\n"), whole=True)


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as page:
        return page.readline().lstrip("# ").rstrip("\n")
