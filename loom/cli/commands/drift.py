"""`loom drift`: whether the pattern of decisions is still the same, which classes moved, and where that comes from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from loom.cli.command import EXIT_NO, EXIT_UNSURE, command
from loom.cli.commands.monthly import comparing, drift_by_month, print_parts
from loom.cli.output import ROOMY, Column, Output
from loom.cli.shell import Shell
from loom.cli.values import moment_of
from loom.text import one_line

if TYPE_CHECKING:
    from rich.text import Text

    from loom.drift import ClassShift, DriftParts, DriftReport, PolicySplit, Window, WindowCount
    from loom.drift.report import Metrics, MetricShift, TestPart

__all__ = ["add_to"]

_FIELDS = {
    "run": "run",
    "version": "policy_version",
    "policy": "policy",
    "actor": "actor_type",
    "type": "decision_type",
    "time": "by_time",
}
_FORMS = "run:ID, version:VERSION, policy:NAME, actor:TYPE, type:TYPE, time:recorded or FROM..UNTIL"
_SEVERITIES = {"minor": 0, "stable": 0, "warning": 1, "critical": 2}
_STYLES = {"minor": "yellow", "stable": "yellow", "warning": "yellow", "critical": "red", "not_detected": "green"}
_METHODS = {"permutation": "permutation", "sign_flips": "in pairs"}
_BAR = 12


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "drift", panel="Check")(drift)


async def drift(
    shell: Shell,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", "-b", metavar="WINDOW", help="The window to compare with.", show_default=False),
    ] = None,
    current: Annotated[
        str | None, typer.Option("--current", "-n", metavar="WINDOW", help="The window to check.", show_default=False)
    ] = None,
    by: Annotated[
        Literal["month"] | None, typer.Option("--by", help="Compare each month with the one before it, in one call.")
    ] = None,
    window: Annotated[
        str | None, typer.Option("--in", metavar="WINDOW", help="With --by month: only of this window.")
    ] = None,
    first: Annotated[bool, typer.Option("--first", help="With --by month: compare each month with the first.")] = False,
    under: Annotated[
        str | None,
        typer.Option("--under", "-u", metavar="VERSION", help="Ask this version what the rule says of each case."),
    ] = None,
    rule: Annotated[
        str | None, typer.Option("--rule", help="Classify all by this equivalence rule: an id, a hash or a name.")
    ] = None,
    pair_by: Annotated[
        str | None,
        typer.Option(
            "--pair-by", metavar="NAMES", help="Facts or context that say who it is and at which step: customer,step."
        ),
    ] = None,
    split: Annotated[
        bool,
        typer.Option(
            "--split/--no-split", help="Also separate the effects of population and policy, by judging again."
        ),
    ] = True,
    at_least: Annotated[
        str, typer.Option("--at-least", metavar="SEVERITY", help="Exit with 1 from minor, warning or critical on.")
    ] = "minor",
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1_000, help="At most this many classes that rose, and that fell.")
    ] = 8,
) -> int | None:
    """Compare the decisions of two windows: did the pattern change, in which classes, and why.

    A WINDOW is run:ID, version:VERSION, policy:NAME, actor:TYPE, type:TYPE or FROM..UNTIL (2026-01-01..2026-02-01,
    14d..7d, 7d..), or several of these with commas between them. The change is split into three parts: who came, what
    the rule said in equal situations, what people did where both were equal. With --by month all months of a window are
    compared in one call. --rule "outcomes alone" looks at nothing but outcomes.

    Exits with 0 if no change was found, 1 if one was found, 2 on wrong usage, and 3 if there is too little data to
    decide.
    """
    now = datetime.now(UTC)
    if at_least not in _SEVERITIES:
        raise typer.BadParameter(
            f"[{at_least}] is no severity; expected one of [minor, warning, critical]: name one of these",
            param_hint="--at-least",
        )
    if by is not None:
        if baseline is not None or current is not None or pair_by is not None:
            raise typer.BadParameter("expected --in alone: --by month compares every month", param_hint="--by")
        asked = _window(window, "--in", now) if window is not None else None
        return await drift_by_month(shell, asked, rule=rule, under=under, first=first)
    if baseline is None or current is None:
        raise typer.BadParameter("expected --baseline and --current, or --by month", param_hint="--baseline")
    windows = _window(baseline, "--baseline", now), _window(current, "--current", now)
    names = None if pair_by is None else [name.strip() for name in pair_by.split(",")]
    report, parts = await _compare(shell, *windows, rule=rule, pair_by=names, split=split, limit=limit, under=under)
    if shell.json:
        shell.output.document({**report.model_dump(mode="json"), "parts": parts.model_dump(mode="json")})
    else:
        _print(shell.output, report)
        print_parts(shell.output, parts)
    if report.severity is not None:
        return EXIT_NO if _SEVERITIES[report.severity] >= _SEVERITIES[at_least] else None
    return EXIT_UNSURE if report.state == "insufficient_data" else None


async def _compare(
    shell: Shell, baseline: Window, current: Window, *, split: bool, under: str | None, **asked: Any
) -> tuple[DriftReport, DriftParts]:
    """Compare with what the journal says and, to judge again, with the policies of the config's modules."""
    async with comparing(shell, imports=split or under is not None) as drift:
        with shell.output.progress("judging again") as tell:
            report = await drift.compare(baseline, current, split=split, tell=tell, **asked)
        return report, await drift.parts(baseline, current, rule=asked["rule"], under=under)


def _window(text: str, option: str, now: datetime) -> Window:
    from loom.drift import Window

    given: dict[str, Any] = {}
    for part in text.split(","):
        name, colon, value = part.strip().partition(":")
        since, dots, until = part.strip().partition("..")
        if name in _FIELDS and colon and value and _FIELDS[name] not in given:
            given[_FIELDS[name]] = value
        elif dots and not {"since", "until"} & set(given) and (since or until):
            given |= {end: moment_of(at, option, now) for end, at in (("since", since), ("until", until)) if at}
        else:
            raise typer.BadParameter(
                f"[{part}] names no window; expected [{_FORMS}], each once: use one of these",
                param_hint=option,
            )
    return Window(**given)


def _print(output: Output, report: DriftReport) -> None:
    from loom.drift.words import tested_in_words

    output.table(
        [
            Column("", "bold"),
            Column("window"),
            Column("decisions", right=True),
            Column("classes", right=True),
            Column("policy versions", "dim", wide=True, wraps=True),
        ],
        [_counted("baseline", report.baseline), _counted("current", report.current)],
    )
    output.say()
    output.say(_verdict(report), style=f"bold {_STYLES.get(report.severity or report.state, 'dim')}")
    output.table([Column("", "dim"), Column("", wide=True, wraps=True)], _figures(report))
    if shifts := [*report.rose, *report.fell]:
        output.say()
        _print_shifts(output, sorted(shifts, key=lambda each: -each.share_of_divergence))
    if report.pairs is not None:
        output.say()
        for sentence in tested_in_words(report):
            output.say(sentence)
    if report.metrics.shifts:
        output.say()
        _print_metrics(output, report.metrics)
    if report.split is not None:
        output.say()
        _print_split(output, report.split)
    for window in (report.baseline, report.current):
        if window.unclassified:
            output.note(f"{window.unclassified} decisions of [{window.window}] are in no class and were not compared")


def _counted(name: str, window: WindowCount) -> list[str]:
    versions = ", ".join(f"{version} ({count})" for version, count in window.versions.items())
    return [name, one_line(str(window.window)), str(window.decisions), str(window.classes), one_line(versions) or "-"]


def _verdict(report: DriftReport) -> str:
    from loom.drift.words import severity_in_words

    if report.state == "insufficient_data":
        return report.explanation[0]
    return f"The pattern changed: {severity_in_words(report)}" if report.detected else "No change was found"


def _figures(report: DriftReport) -> Iterator[tuple[str, str]]:
    permutation, chi = report.permutation, report.chi_square
    if permutation is not None and report.js_divergence is not None:
        yield "JS divergence", f"{report.js_divergence:.3f} of 1 (distance {report.js_distance:.3f}), {_marks(report)}"
        for part in permutation.parts:
            yield _METHODS[part.method], _part(part)
        if len(permutation.parts) > 1:
            yield "both together", f"p = {permutation.p_value:.2g}"
        yield "beyond chance", f"{permutation.excess:.3f} of what is possible"
    if chi is not None:
        pooled = f", {chi.pooled} rare classes as one" if chi.pooled else ""
        yield "chi-square", f"{chi.statistic:.1f} with {chi.degrees} degrees, p = {chi.p_value:.2g}{pooled}"
    yield "judged under", f"{report.judged.name} {report.judged.version}: {report.judged.evaluation.why}"


def _marks(report: DriftReport) -> str:
    """Return the raw divergence on the scale that was used before severity was relative to chance."""
    from loom.drift.report import SEED_MARKS

    reached = sum((report.js_divergence or 0.0) >= mark for mark in SEED_MARKS)
    low, high = SEED_MARKS
    return (f"below the mark of {low}", f"between the marks of {low} and {high}", f"above the mark of {high}")[reached]


def _part(part: TestPart) -> str:
    before, now = part.decisions
    return (
        f"p = {part.p_value:.2g} in {part.permutations:,} draws, of {before:,} decisions against {now:,}; "
        f"{part.js_divergence:.3f} apart where chance alone gives {part.expected_divergence:.3f}, rarely over "
        f"{part.expected_upper:.3f}"
    )


def _print_shifts(output: Output, shifts: list[ClassShift]) -> None:
    from rich.text import Text

    from loom.drift.words import class_in_words, points, share

    roomy = output.width >= ROOMY
    most = shifts[0].share_of_divergence
    columns = [Column("baseline", right=True), Column("current", right=True), Column("points", right=True)]
    columns += [Column("of the divergence")] if roomy else []
    columns += [Column("example", "cyan"), Column("class", wide=True, wraps=True)]

    def row(each: ClassShift) -> list[str | Text]:
        cells: list[str | Text] = [
            share(each.baseline_share),
            share(each.current_share),
            Text(points(each.change), style="green" if each.change > 0 else "red"),
        ]
        cells += [f"{_bar(each.share_of_divergence / most)} {each.share_of_divergence:4.0%}"] if roomy else []
        return [*cells, each.decision_id[:12], one_line(class_in_words(each))]

    output.table(columns, [row(each) for each in shifts])


def _print_metrics(output: Output, metrics: Metrics) -> None:
    """Print the figures apart from the pattern, and say that they are compared by size alone."""
    marks = ", ".join(f"{name.removesuffix('_at')} from {value:.0%}" for name, value in metrics.parameters.items())
    output.say(f"Metrics, apart from the pattern (by size alone: {marks})", style="bold")

    def row(each: MetricShift) -> list[str | Text]:
        from rich.text import Text

        form = "{:.1%}" if each.kind == "rate" else "{:,.6g}"
        change = "from nothing" if each.change is None and each.current else f"{100 * (each.change or 0.0):+.1f} %"
        graded = each.severity or "too few to say"
        return [
            each.name,
            form.format(each.baseline),
            form.format(each.current),
            change,
            Text(graded, style=_STYLES.get(graded, "dim") if graded in ("warning", "critical") else "dim"),
        ]

    columns = [Column("metric", wide=True, wraps=True), Column("baseline", right=True), Column("current", right=True)]
    output.table([*columns, Column("change", right=True), Column("")], [row(each) for each in metrics.shifts])


def _print_split(output: Output, split: PolicySplit) -> None:
    from loom.drift.words import split_in_words

    output.say("Where it comes from", style="bold")
    if split.total is not None:
        parts = (("who came", split.population), ("how they were answered", split.policy), ("both", split.interaction))
        rows = [
            [name, f"{value:.3f}", _bar(value / split.total if split.total else 0.0)]
            for name, value in parts
            if value is not None
        ]
        output.table([Column(""), Column("", right=True), Column("", "cyan")], rows)
        output.say()
    for sentence in split_in_words(split):
        output.say(sentence)


def _bar(part: float) -> str:
    full = "█" * round(max(0.0, min(1.0, part)) * _BAR)
    return full.ljust(_BAR)
