"""`loom views`: how far the views are, those of this place and those that are published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from loom.cli.command import command
from loom.cli.listing import cell, listing
from loom.cli.shell import Shell
from loom.text import one_line

if TYPE_CHECKING:
    from loom.projections import ProjectionStatus

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "views", panel="Check")(views)


async def views(shell: Shell) -> None:
    """List the views: how many entries each lags behind the journal, here and where it is published.

    Without a running loom, those that lag here are brought up to date in a copy first.
    """
    from loom.cli.reading import open_readings

    async with open_readings(shell) as readings:
        status, tail = await readings.queries.status(), await readings.reader.tail()
    published, problem = await _published(shell, tail)
    rows = [_row(each, published.get(each.name)) for each in status]
    listing(
        shell,
        rows,
        lambda: [
            cell("view", lambda each: str(each["name"]), "cyan"),
            cell("version", lambda each: str(each["version"]), right=True),
            cell("behind", lambda each: _count(each["lag"]), right=True),
            cell("published, behind", lambda each: _count((each["published"] or {}).get("lag")), right=True),
            cell("", _said, wide=True),
        ],
        nothing="No views.",
    )
    if problem is not None:
        shell.output.note(problem)


async def _published(shell: Shell, tail: int) -> tuple[dict[str, dict[str, Any]], str | None]:
    """Return what is published, by name, and why that could not be found out."""
    from loom.errors import LoomError
    from loom.publishing.making import config_of, views_url
    from loom.publishing.reading import read_published

    place = shell.place
    if not config_of(place.config).views:
        return {}, None
    try:
        found = await read_published(views_url(place.config, place.files, workspace=place.name))
    except LoomError as error:
        return {}, str(error)
    said: dict[str, dict[str, Any]] = {}
    for each in found:
        lag = max(0, tail - each.position)
        if each.building:
            said.setdefault(each.name, {"lag": None, "version": None})["building"] = {
                "lag": lag,
                "version": each.version,
            }
        else:
            said.setdefault(each.name, {}).update(lag=lag, version=each.version)
        said[each.name]["problem"] = each.problem or said[each.name].get("problem")
    return said, None


def _row(status: ProjectionStatus, published: dict[str, Any] | None) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(status), "published": published}


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _said(row: dict[str, Any]) -> str:
    published = row["published"] or {}
    building = published.get("building")
    said = [
        f"stopped: {row['failed']}" if row["failed"] else "",
        f"version {building['version']} is being built, {building['lag']:,} behind" if building else "",
        published.get("problem") or "",
    ]
    return one_line("; ".join(each for each in said if each), 200)
