"""`loom docs`: the pages about loom, which are installed with it, and those that the program writes about itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from loom.cli.command import command
from loom.cli.output import Column
from loom.cli.reference import WRITTEN, written
from loom.cli.shell import Shell

__all__ = ["add_to", "anchor", "headings", "pages"]

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
        str | None,
        typer.Argument(metavar="[PAGE[#HEADING]]", help="The page, or a heading on it, by name.", show_default=False),
    ] = None,
) -> None:
    """List the pages about loom, or show one of them, or what it says below a heading."""
    known = pages()
    titles = {**{name: _title(path) for name, path in known.items()}, **WRITTEN}
    if page is None:
        if shell.json:
            shell.output.document(titles)
        else:
            shell.output.table((Column("page"), Column("about", wide=True)), sorted(titles.items()))
        return
    name, _, heading = page.partition("#")
    if name not in titles:
        raise typer.BadParameter(
            f"page [{name[:80]}] is not there; expected one of [{', '.join(sorted(titles))}]: see `loom docs`",
            param_hint="PAGE",
        )
    text = written(name) if name in WRITTEN else known[name].read_text(encoding="utf-8")
    if heading:
        text = _below(heading, name, text)
    if shell.json:
        shell.output.document({"page": page, "text": text})
    elif shell.output.for_eyes:
        from rich.markdown import Markdown

        shell.output.show(Markdown(text))
    else:
        shell.output.say(text.rstrip("\n"), whole=True)


def anchor(heading: str) -> str:
    """Return how a link names a heading: small letters, digits and _, with - for a space."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield each heading of a page: the line it is on, its level, and its words; code has none."""
    inside = ""
    for number, line in enumerate(text.splitlines()):
        fence = re.match(r"\s*(```+|~~~+)", line)
        if fence is not None:
            inside = "" if inside and fence[1].startswith(inside) else inside or fence[1]
        elif not inside and (found := re.match(r"(#{1,6}) +(.+?) *#*$", line)):
            yield number, len(found[1]), found[2]


def _below(heading: str, name: str, text: str) -> str:
    """Return a heading with what follows it, up to the next one that is not below it."""
    found = list(headings(text))
    for index, (number, level, words) in enumerate(found):
        if anchor(words) == anchor(heading):
            end = next((after for after, its_level, _ in found[index + 1 :] if its_level <= level), None)
            return "\n".join(text.splitlines()[number:end])
    raise typer.BadParameter(
        f"page [{name}] has no heading [{heading[:80]}]; expected one of its own: see `loom docs {name}`",
        param_hint="PAGE",
    )


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as page:
        return page.readline().lstrip("# ").rstrip("\n")
