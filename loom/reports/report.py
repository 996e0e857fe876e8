"""Reports: a run, or a time, as one HTML file that needs nothing else, made from the journal alone at any time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from loom.decisions import Decision, Run
from loom.errors import ConfigError
from loom.lineage import ContextGraph, Lineage
from loom.projections import Queries
from loom.reports.about import Period
from loom.reports.charts import offers_chart, strip
from loom.reports.graphs import as_svg
from loom.reports.grouping import rows_of
from loom.reports.reading import ReportRead, read_report
from loom.reports.writing import write_whole

__all__ = ["render", "report", "report_name", "write_report"]

_ADDRESS = re.compile(r"https?://[^\s\"'<>]+\Z")
_EFFECTS = ("allow", "require_approval", "deny", "indeterminate")


Alike: TypeAlias = Callable[[Decision], Mapping[str, str]]
"""Says in words what the precedent class of a decision is made from, by attribute."""


def _nothing_alike(_: Decision) -> Mapping[str, str]:
    return {}


class _Verdict(NamedTuple):
    words: str
    style: str


async def report(
    queries: Queries,
    about: str | Period,
    *,
    workspace: str = "default",
    alike: Alike = _nothing_alike,
    server: str | None = None,
) -> str:
    """Return the report of a run, by its id, or of a period as HTML; raise `RunNotFoundError` for an unknown run.

    `alike` says in words what the precedent class of a decision is made from, for the situations in its graph. With
    `server`, the address under which `loom serve` is reached, each decision is a link to its page there.
    Needs the extra `report`; a `ConfigError` says so where it is not there.
    """
    read = await read_report(queries, about)
    graph = await Lineage(queries, alike=alike).graph(read.about) if isinstance(read.about, Run) else None
    position = max((status.position for status in await queries.status()), default=0)
    return render(read, workspace=workspace, position=position, graph=graph, server=server)


async def write_report(
    queries: Queries,
    about: str | Period,
    path: Path,
    *,
    workspace: str = "default",
    alike: Alike = _nothing_alike,
    server: str | None = None,
) -> Path:
    """Write the report of a run or a period to a file, whole or not at all, and return its path."""
    html = await report(queries, about, workspace=workspace, alike=alike, server=server)
    return write_whole(path, html)


def report_name(run_id: str, now: datetime) -> str:
    """Return what the file of a report is called: by when it is made (UTC), and by its run as far as that is a name."""
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", run_id).strip("_")[:64] or "run"
    return f"report_{now.astimezone(UTC):%Y-%m-%d_%H%M%S}_{slug}.html"


def render(
    read: ReportRead,
    *,
    workspace: str,
    position: int,
    graph: ContextGraph | None = None,
    server: str | None = None,
) -> str:
    """Return the HTML of what was read. Every text is escaped.

    Raises `ConfigError` for a `server` that is no http or https address.
    """
    if server is not None and not _ADDRESS.match(server):
        raise ConfigError(f"address [{server:.80}] is not one; expected [http://HOST or https://HOST]: correct it")
    run = read.about if isinstance(read.about, Run) else None
    ceiling = None if run is None else run.parameters.get("ceiling")
    watched = read.watched
    chart = offers_chart(
        () if watched is None else watched.drawn,
        ceiling=float(ceiling) if isinstance(ceiling, int | float) and not isinstance(ceiling, bool) else None,
    )
    found = () if watched is None else watched.found
    html: str = _template().render(
        run=run,
        about=read.about,
        title=_title(read.about),
        workspace=workspace,
        position=position,
        duration="" if run is None else _duration(run.duration_s),
        verdict=None if run is None else _verdict(run, found=bool(found) or any(each[-1] for each in read.others)),
        effects=sorted(read.effects.items()),
        chart=chart,
        watched=watched,
        others=read.others,
        intervention=_past(found[0].intervention or "") if found else "",
        found=found,
        mean=None if watched is None else watched.last.mean,
        strip=strip(read.decisions),
        graph=graph,
        drawn=None if graph is None else _as_it_is(as_svg(graph)),
        decisions=read.decisions,
        rows=rows_of(read.decisions),
        server=None if server is None else server.rstrip("/"),
        columns=read.columns,
        left_out=read.left_out,
        shown=_cell,
        effect_class=lambda effect: effect if effect in _EFFECTS else "none",
    )
    return html


def _template() -> Any:
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ConfigError(
            "reports need a package that is not there [jinja2]; expected the extra [report]: "
            "pip install 'loom-journal[report]'"
        ) from error
    # `select_autoescape` would leave a name that ends in .j2 unescaped: it is simply on.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files("loom.reports").joinpath("report.html.j2").read_text(encoding="utf-8"))


def _as_it_is(svg: str) -> Any:
    """Return SVG whose texts are escaped already as what the template does not escape again."""
    from markupsafe import Markup

    return Markup(svg)  # noqa: S704


def _title(about: Run | Period) -> str:
    if isinstance(about, Run):
        return about.run_id
    return f"{about.since:%Y-%m-%d %H:%M} to {about.until:%Y-%m-%d %H:%M} UTC"


def _verdict(run: Run, *, found: bool) -> _Verdict:
    """Return how a run ended, in words and in a style: a run that completed is never shown as a failure."""
    if run.open:
        return _Verdict("still open", "open")
    words = run.status if run.reason is None else f"{run.status}: {run.reason}"
    if run.status != "completed":
        return _Verdict(words, "stopped")
    return _Verdict(f"{words}, with findings", "found") if found else _Verdict(words, "fine")


def _past(intervention: str) -> str:
    return {"suspend": "suspended"}.get(intervention, intervention)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _cell(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
