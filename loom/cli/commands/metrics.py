"""`loom metrics`: the known quality of decisions, those against their own rule, and trends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loom.cli.command import EXIT_NO, command
from loom.cli.commands.judging import ByTimeOption, SinceOption, UntilOption
from loom.cli.listing import Cell, cell, rows_of
from loom.cli.shell import Shell
from loom.text import one_line

if TYPE_CHECKING:
    from loom.decisions.alerts import AnomalyFoundEntry
    from loom.decisions.metrics import DecisionMetrics, Departures
    from loom.decisions.trends import Bucket, Trend

__all__ = ["add_to"]

_Group = Annotated[
    Literal["decision_type", "actor_type", "journal", "policy_version"],
    typer.Option("--by", help="Group them by this."),
]
_Measure = Annotated[
    Literal["decisions", "quality", "accuracy", "exception_rate", "denial_rate", "departure_rate"] | None,
    typer.Option("--trend", help="Show this over the last days instead, with days that are unusual."),
]

_PEOPLE = 10
_ALERTS = 10


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "metrics", panel="Answer")(metrics)


async def metrics(
    shell: Shell,
    by: _Group = "decision_type",
    since: SinceOption = None,
    until: UntilOption = None,
    by_time: ByTimeOption = "decided",
    origin: Annotated[
        Literal["original", "observed", "any"], typer.Option("--origin", help="Also, or only, imported decisions.")
    ] = "original",
    trend: _Measure = None,
    days: Annotated[int, typer.Option(min=2, max=3_650, help="How many days of a trend.")] = 60,
) -> int | None:
    """Show the figures of decisions: quality, exceptions, denials, outcomes, and the share with a full audit trail.

    Quality is given only if an outcome was observed. Decisions against their own rule are listed with who asked for
    them. With `--trend` exit code 1 says that a day is unusual, as a warning or worse; that takes 30 days with
    decisions.
    """
    from loom.cli.reading import open_readings
    from loom.decisions.alerts import AlertsFound
    from loom.decisions.metrics import Metrics

    begin = None if since is None else since.replace(tzinfo=UTC)
    end = None if until is None else until.replace(tzinfo=UTC)
    of: Any = {"origin": origin, "by_time": by_time}
    async with open_readings(shell) as readings:
        asked = Metrics(readings.queries)
        if trend is not None:
            tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            last = end or tomorrow
            found = await asked.trend(trend, since=begin or last - timedelta(days=days), until=last, **of)
            return _print_trend(shell, found)
        async with asked.over(since=begin, until=end, **of) as figures:
            every, groups, departed = await figures.of(), await figures.by(by), await figures.departures()
        alerts = await AlertsFound(readings.reader).find()
    if shell.json:
        shell.output.document(
            {
                "all": every.model_dump(mode="json"),
                by: [each.model_dump(mode="json") for each in groups],
                "departures": [each.model_dump(mode="json") for each in departed],
                "alerts": [each.model_dump(mode="json", exclude={"step"}) for each in alerts],
            }
        )
    elif not every.decisions:
        shell.output.say("No decisions.")
    else:
        rows_of(shell.output, [*groups, every], _cells(by))
        shell.output.say(_LEGEND, style="dim")
        _print_departures(shell, departed)
        _print_alerts(shell, alerts)
    return None


_LEGEND = (
    "exc.: exceptions. denied: by a rule or a person, of those with a recorded result. "
    "against: went against their own rule. correct: of the outcomes observed. "
    "trail: facts, evaluation and approval are recorded and agree."
)


def _cells(by: str) -> list[Cell[DecisionMetrics]]:
    return [
        cell(by.replace("_", " "), lambda each: each.group, "cyan", wide=True),
        cell("count", lambda each: f"{each.decisions:,}", right=True),
        cell("quality", lambda each: "not observed" if each.quality is None else f"{each.quality:.2f} {each.tier}"),
        cell("exc.", lambda each: _share(each.exception_rate), right=True),
        cell("denied", lambda each: _share(each.denial_rate), right=True),
        cell("against", lambda each: f"{each.departures:,}", right=True),
        cell("correct", _correct, right=True),
        cell("trail", lambda each: _share(each.compliance), right=True),
    ]


def _correct(each: DecisionMetrics) -> str:
    return "-" if each.accuracy is None else f"{each.accuracy:.0%} of {each.observed:,}"


def _print_departures(shell: Shell, departed: Sequence[Departures]) -> None:
    """Print the decisions that went against their own rule, and in whose name."""
    if not departed:
        return
    from loom.decisions.conduct import DEPARTURES

    shell.output.say()
    shell.output.say("Against their own rule", style="bold red")

    def people(each: Departures) -> str:
        named = [f"{one_line(name, 40)} {count:,}" for name, count in list(each.people.items())[:_PEOPLE]]
        named += [f"{len(each.people) - _PEOPLE:,} others"] if len(each.people) > _PEOPLE else []
        named += [f"unnamed {each.unnamed:,}"] if each.unnamed else []
        asked = f"asked for by {', '.join(named)}; for example {each.example[:12]}"
        return f"{DEPARTURES[each.departure]}: {asked}"

    cells: list[Cell[Departures]] = [
        cell("version", lambda each: one_line(f"{each.policy} {each.version}", 36), "cyan"),
        cell("count", lambda each: f"{each.decisions:,}", right=True),
        cell("how and in whose name", people, wide=True, wraps=True),
    ]
    rows_of(shell.output, departed, cells)


def _print_alerts(shell: Shell, alerts: Sequence[AnomalyFoundEntry]) -> None:
    """Print the unusual days, the newest first."""
    if not alerts:
        return
    shell.output.say()
    shell.output.say("Unusual days", style="bold red")
    cells: list[Cell[AnomalyFoundEntry]] = [
        cell("day (UTC)", lambda each: each.day.date().isoformat()),
        cell("measure", lambda each: each.measure.replace("_", " "), "cyan"),
        cell("value", lambda each: f"{each.value:.3g}", right=True),
        cell("usual", lambda each: f"{each.expected:.3g}", right=True),
        cell("", lambda each: f"{each.severity}: {each.deviations:.1f} σ", "red"),
    ]
    rows_of(shell.output, alerts[:_ALERTS], cells)
    if len(alerts) > _ALERTS:
        shell.output.say(f"{_ALERTS} of {len(alerts):,} are listed", style="dim")


def _print_trend(shell: Shell, found: Trend) -> int | None:
    serious = [each for each in found.anomalies if each.severity != "notice"]
    if shell.json:
        shell.output.document(found.model_dump(mode="json"))
        return EXIT_NO if serious else None
    highest = max((each.value or 0 for each in found.buckets), default=0) or 1
    odd = {each.begin: each for each in found.anomalies}

    def unusual(each: Bucket) -> str:
        return f"{odd[each.begin].severity}: {odd[each.begin].deviations:.1f} σ" if each.begin in odd else ""

    cells: list[Cell[Bucket]] = [
        cell("day (UTC)", lambda each: each.begin.date().isoformat()),
        cell("decisions", lambda each: f"{each.decisions:,}", right=True),
        cell(
            found.measure.replace("_", " "), lambda each: "-" if each.value is None else f"{each.value:.3g}", right=True
        ),
        cell("", lambda each: "" if each.value is None else "█" * round(20 * each.value / highest), "dim"),
        cell("", unusual, "red"),
    ]
    rows_of(shell.output, found.buckets, cells)
    if found.slope is not None:
        shell.output.say(f"{found.slope:+.3g} a day by least squares")
    if not found.enough:
        shell.output.say("fewer than 30 days with decisions: nothing is called an anomaly", style="dim")
    return EXIT_NO if serious else None


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
