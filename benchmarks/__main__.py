"""`python -m benchmarks [--quick] [--no-peers] [--json FILE]`: every figure in one run, as a table and as JSON.

With `--against REV` it holds this checkout against another revision instead: both in one run, taking turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import (
    against,
    agents,
    api,
    floor,
    gaps,
    gate,
    growth,
    history,
    imports,
    judging,
    listing,
    memory,
    pages,
    peers,
    precedents,
    probe,
    raw,
    routing,
    sleeping,
    subjects,
    what_if,
)
from benchmarks.measure import Figure, median, percentile
from benchmarks.revisions import here, made
from benchmarks.turns import (
    TurnFigures,
    messages_per_second,
    record_decision_s,
    turns,
    turns_without_views_per_second,
)

BODY = b'{"pad":"' + b"x" * 600 + b'"}'
"""About as long as the mean body of the workload's entries."""

RAW = "raw sqlite3, batched"


def main() -> None:
    """Measure, print, and write JSON where it was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: for a look, not for a figure")
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--only", choices=list(PARTS), help="only this part")
    parser.add_argument("--against", metavar="REV", help="hold this checkout against that revision, in one run")
    parser.add_argument("--rounds", type=int, default=3, help="with --against: of how many rounds the medians are")
    parser.add_argument(
        "--probe", action="append", choices=list(probe.PARTS), help="with --against: only this; can be repeated"
    )
    given = parser.parse_args()
    scale = 0.1 if given.quick else 1.0
    if given.against:
        hold_against(given.against, rounds=given.rounds, parts=given.probe, scale=scale, to=given.json)
        return
    figures: list[Figure] = []
    for part, measure in PARTS.items():
        if given.only in (None, part):
            figures += measure(scale, with_peers=not given.no_peers)
    print_table(figures)
    if given.json:
        about = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, "machine": platform.machine()}
        given.json.write_text(json.dumps({"about": about, "figures": [figure.plain() for figure in figures]}, indent=2))


def hold_against(named: str, *, rounds: int, parts: list[str] | None, scale: float, to: Path | None) -> None:
    """Measure this checkout and another revision in turns; print their ratios, and write them where that is wanted."""
    now, then = here(), made(named)
    began = against.load()
    with scratch() as place:
        found = against.measured(
            [now, then], rounds=rounds, parts=parts or list(probe.PARTS), directory=place, scale=scale
        )
    lines = against.compared(found[now.name], found[then.name])
    notes = [note for note in (f"Medians of {rounds} rounds; {began}, then {against.load()}.", then.note) if note]
    print(against.table(lines, then=then.name), *notes, sep="\n\n")
    if to:
        to.write_text(json.dumps({"against": then.name, "notes": notes, "figures": lines}, indent=2))


def turn_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """Turns per second at several concurrencies, each next to the raw limit measured right before and after it."""
    with scratch() as place:
        commit = median(raw.one_row_commit_s(place / "commit.db", count=int(2_000 * scale), body=BODY))
        yield Figure("raw one-row commit, median", commit * 1e6, "µs")
        found: dict[int, TurnFigures] = {}
        for in_flight, count in ((1, 1_500), (16, 4_000), (256, 8_192), (1_000, 8_000)):
            count = max(int(count * scale), in_flight)
            batch = in_flight * 5
            before = raw.appends_per_second(
                place / f"b{in_flight}.db", count=int(40_000 * scale), batch=batch, body=BODY
            )
            seen = asyncio.run(turns(place / f"t{in_flight}.db", in_flight=in_flight, count=count))
            after = raw.appends_per_second(
                place / f"a{in_flight}.db", count=int(40_000 * scale), batch=batch, body=BODY
            )
            limit = median([before, after])
            found[in_flight] = seen
            ratio = seen.entries_per_second / limit
            aimed = in_flight == 256
            yield Figure(f"raw appends at {in_flight}", limit, "entries/s")
            yield Figure(
                f"turns at {in_flight}, counted in entries",
                seen.entries_per_second,
                "entries/s",
                ratio,
                RAW,
                "≥ 0.35" if aimed else None,
                ratio >= 0.35 if aimed else None,
            )
            yield Figure(f"decisions at {in_flight}", seen.per_second, "/s")
            yield Figure(f"one decision at {in_flight}, p50", seen.p50_s * 1e3, "ms")
            yield Figure(f"one decision at {in_flight}, p99", seen.p99_s * 1e3, "ms")
            yield Figure(f"lag of the projectors at {in_flight}", seen.lag_entries, "entries")
            yield Figure(f"… and how long until they had caught up at {in_flight}", seen.catch_up_s, "s")
        alone = found[1].p50_s / commit
        yield Figure("one turn alone, p50", found[1].p50_s * 1e6, "µs", alone, "raw one-row commit", "≤ 4", alone <= 4)
        overhead = percentile(asyncio.run(record_decision_s(place / "r.db", count=int(1_500 * scale))), 0.99)
        yield Figure("record_decision, call to return, p99", overhead * 1e3, "ms", aim="< 1", met=overhead < 1e-3)
        messages = asyncio.run(messages_per_second(place / "m.db", in_flight=256, count=int(20_480 * scale)))
        yield Figure("durable messages at 256", messages, "/s")


def peer_figures(place: Path, found: dict[int, TurnFigures], scale: float) -> Iterator[Figure]:
    """The same work by eventsourcing, dbos and LangGraph, in the same run: per event, and per decision."""
    python = peers.environment(Path(".venv-bench"))
    sourcing = peers.measured(python, "with_eventsourcing.py", place, int(3_000 * scale), int(20_000 * scale))
    dbos = peers.measured(python, "with_dbos.py", place, int(300 * scale) or 10)
    langgraph = peers.measured(python, "with_langgraph.py", place, int(300 * scale) or 10)
    decisions, events = found[256].per_second, found[256].entries_per_second
    theirs = sourcing["turns_per_second"]
    yield Figure("eventsourcing: five events in one save", theirs * 5, "events/s")
    ratio = events / (theirs * 5)
    yield Figure("entries at 256", events, "/s", ratio, "eventsourcing, per event", "≥ 3", ratio >= 3)
    yield Figure("decisions at 256", decisions, "/s", decisions / theirs, "eventsourcing, per decision")
    yield Figure("eventsourcing: repository load", sourcing["load_per_second"], "events/s")
    for name, steps, seen, aim in (
        ("dbos", "two durable steps", dbos, 20),
        ("langgraph", "two nodes, SQLite saver", langgraph, 10),
    ):
        yield Figure(f"{name}: {steps}, 1 in flight", seen["at_1"], "/s")
        yield Figure(f"{name}: {steps}, 256 in flight", seen["at_256"], "/s")
        ratio = decisions / max(seen.values())
        yield Figure(
            "decisions at 256", decisions, "/s", ratio, f"{name}, the better of the two", f"≥ {aim}", ratio >= aim
        )


def peers_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """The peers, and what they are held against, without the rest of the turns."""
    if not with_peers:
        return
    with scratch() as place:
        count = max(int(8_192 * scale), 256)
        seen = asyncio.run(turns(place / "turns.db", in_flight=256, count=count))
        yield from peer_figures(place, {256: seen}, scale)


def agent_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """Runs of an agent of pydantic-ai as turns, next to the bare agent and its DBOS integration, in one run."""
    count = max(int(100 * scale), 10)
    with scratch() as place:
        seen = asyncio.run(agents.agents(place / "agents.db", count=count))
        yield Figure("agent runs as turns, 1 in flight", seen.at_1, "/s", seen.at_1 / seen.bare_at_1, "the bare agent")
        ratio = seen.at_64 / seen.bare_at_64
        yield Figure("agent runs as turns, 64 in flight", seen.at_64, "/s", ratio, "the bare agent")
        yield Figure("on top of a model call that is instant", seen.overhead_s * 1e6, "µs")
        if with_peers:
            python = peers.environment(Path(".venv-bench"))
            dbos = peers.measured(python, "with_pydantic_ai_dbos.py", place, count)
            yield Figure("pydantic-ai with DBOS, 1 in flight", dbos["at_1"], "/s")
            yield Figure("pydantic-ai with DBOS, 64 in flight", dbos["at_64"], "/s")
            ratio = seen.at_64 / dbos["at_64"]
            yield Figure(
                "agent runs as turns, 64 in flight", seen.at_64, "/s", ratio, "pydantic-ai with DBOS", "≥ 5", ratio >= 5
            )


def floor_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """Turns next to the least program that writes the same rows, the two in turns; neither has views."""
    del with_peers
    count, floors, seen = max(int(8_192 * scale), 512), [], []
    with scratch() as place:
        for number in range(3):
            floors.append(asyncio.run(floor.turns_per_second(place / f"floor-{number}.db", in_flight=256, count=count)))
            seen.append(
                asyncio.run(turns_without_views_per_second(place / f"turns-{number}.db", in_flight=256, count=count))
            )
    limit, turned = median(floors), median(seen)
    ratio, of = turned / limit, "the floor"
    yield Figure("the floor: the same rows at 256, no views", limit, "/s")
    yield Figure("turns at 256 ÷ floor, views off for both", turned, "/s", ratio, of, "≥ 0.6", ratio >= 0.6)


def history_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """Rebuild of a long journal, next to pydantic alone and the repository of eventsourcing."""
    with scratch() as place:
        path = place / "long.db"
        asyncio.run(history.lay_down(path, entries=int(100_000 * scale)))
        limits, seen = [], []
        for _ in range(3):
            limits.append(asyncio.run(history.validate_json_per_second(path)))
            seen.append(asyncio.run(history.rebuild_per_second(path)))
        limit, rebuilt = median(limits), median(seen)
        yield Figure("validate_json alone", limit, "entries/s")
        ratio = rebuilt / limit
        yield Figure(
            "rebuild of a long journal", rebuilt, "entries/s", ratio, "validate_json alone", "≥ 0.5", ratio >= 0.5
        )
        if with_peers:
            python = peers.environment(Path(".venv-bench"))
            load = peers.measured(python, "with_eventsourcing.py", place, 10, int(20_000 * scale))["load_per_second"]
            yield Figure(
                "rebuild", rebuilt, "entries/s", rebuilt / load, "eventsourcing load", "≥ 3", rebuilt / load >= 3
            )
        yield Figure("rebuild of all views", asyncio.run(history.projections_per_second(path)), "entries/s")


def memory_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """Bytes of actors asleep and awake."""
    del with_peers
    with scratch() as place:
        asleep, awake = asyncio.run(memory.bytes_per_actor(place, count=int(2_000 * scale)))
        yield Figure("an idle actor that was let go", asleep, "bytes", aim="0, but for noise", met=asleep < 100)
        yield Figure("an actor that is awake", awake, "bytes", aim="< 10,000", met=awake < 10_000)


def sleeping_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """Ten thousand turns that sleep: what each weighs, and how late they wake."""
    del with_peers
    count = max(int(10_000 * scale), 200)
    with scratch() as place:
        weight = asyncio.run(sleeping.bytes_per_sleeper(place, count=count))
        yield Figure(f"one of {count:,} turns that sleep, let go", weight, "bytes", aim="< 1,000", met=weight < 1_000)
    with scratch() as place:
        spread_s = count / 100
        seen = asyncio.run(sleeping.wakes(place, count=count, spread_s=spread_s))
        yield Figure(f"a start that finds {count:,} of them", seen.found_s, "s")
        yield Figure(f"wake-up lag, {count:,} over {spread_s:g} s, p50", median(seen.late_s) * 1e3, "ms")
        yield Figure("… p99", percentile(seen.late_s, 0.99) * 1e3, "ms")


def precedent_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """Look-ups in an index of a million decisions."""
    del with_peers
    with scratch() as place:
        yield from precedents.figures(place, scale)


def judge_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """Recorded decisions judged under another version, next to the bare evaluator."""
    del with_peers
    with scratch() as place:
        seen = asyncio.run(judging.judging(place / "judged.db", decisions=int(100_000 * scale)))
        yield Figure("bare table evaluator", seen.evaluated, "decisions/s")
        ratio = seen.judged / seen.evaluated
        met = ratio >= 0.06
        yield Figure(
            "judged again from SQLite", seen.judged, "decisions/s", ratio, "bare table evaluator", "≥ 0.06", met
        )


def routing_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """A choice with history off, compared apart from the request, and used."""
    del with_peers
    with scratch() as place:
        seen = asyncio.run(routing.choices_s(place, rounds=max(int(20 * scale), 2), each=25))
        off = median(seen["disabled"])
        yield Figure("a choice, history off, p50", off * 1e3, "ms")
        for mode in ("shadow", "active"):
            ratio = median(seen[mode]) / off
            of = "history off"
            yield Figure(f"a choice, {mode}, p50", median(seen[mode]) * 1e3, "ms", ratio, of, "≤ 1.5", ratio <= 1.5)


def gate_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """A decision at the gate with its monitor's tick, after a hundred and after a hundred thousand others."""
    del with_peers
    seen = {}
    for earlier in (100, max(int(100_000 * scale), 1_000)):
        with scratch() as place:
            seen[earlier] = median(asyncio.run(gate.decisions_s(place, earlier=earlier, count=200)))
    few, many = seen
    yield Figure(f"a decision at the gate after {few:,}", seen[few] * 1e3, "ms")
    ratio = seen[many] / seen[few]
    of = f"after {few:,}"
    yield Figure(f"a decision at the gate after {many:,}", seen[many] * 1e3, "ms", ratio, of, "≤ 1.2", ratio <= 1.2)


def api_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """One trivial circuit with fifty clients: over HTTP, and called in process."""
    del with_peers
    clients, count = 50, max(int(4_000 * scale), 500)
    with scratch() as place:
        called = asyncio.run(api.in_process_s(place / "called", clients=clients, count=count))
        served = asyncio.run(api.over_http_s(place / "served", clients=clients, count=count))
    of = "called in process"
    yield Figure(f"a circuit called in process by {clients}, p50", median(called) * 1e3, "ms")
    yield Figure(f"… p99 of {clients} in process", percentile(called, 0.99) * 1e3, "ms")
    yield Figure(
        f"a circuit over HTTP for {clients}, p50", median(served) * 1e3, "ms", median(served) / median(called), of
    )
    ratio = percentile(served, 0.99) / percentile(called, 0.99)
    yield Figure(f"… p99 of {clients} over HTTP", percentile(served, 0.99) * 1e3, "ms", ratio, of, "≤ 3", ratio <= 3)


def growth_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """Every query on a journal, and on one that is many times as long."""
    del with_peers
    few, many = 10_000, max(int(1_000_000 * scale), 20_000)
    costs = {}
    for entries in (few, many):
        with scratch() as place:
            asyncio.run(growth.lay_down(place / "journal.db", entries=entries))
            asyncio.run(growth.costs_s(place / "journal.db"))  # what is done once, as views are made, is not counted
            costs[entries] = asyncio.run(growth.costs_s(place / "journal.db"))
    for name, cost in costs[many].items():
        ratio = cost / costs[few][name]
        yield Figure(
            f"{name}, after {many:,} entries", cost * 1e3, "ms of CPU", ratio, f"after {few:,}", "≤ 1.2", ratio <= 1.2
        )


def import_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """Decisions that are brought in, judged over gaps, and their nearest allowed cases."""
    del with_peers
    with scratch() as place:
        seen = asyncio.run(imports.importing(place, max(int(50_000 * scale), 1_000)))
        yield Figure("imported, wall", seen.imported, "decisions/s", aim="≥ 2,000", met=seen.imported >= 2_000)
        yield Figure("imported and in the views, CPU of all threads", seen.cpu_us, "µs")
    with scratch() as place:
        judged = asyncio.run(gaps.gaps(place, decisions=max(int(50_000 * scale), 2_000)))
        met = judged.over_gaps >= 50_000
        yield Figure("judged over gaps, CPU", judged.over_gaps, "decisions/s", aim="≥ 50,000", met=met)
        yield Figure("judged over gaps against outcomes, CPU", judged.against_outcome, "decisions/s")
        yield Figure("judged, whole facts, CPU", judged.whole, "decisions/s")
    slow = percentile(gaps.nearest_s(cases=max(int(500 * scale), 50)), 0.95)
    yield Figure("nearest allowed case, p95, CPU", slow * 1e3, "ms", aim="≤ 2", met=slow <= 2e-3)


def listing_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """Lists, windows and facet counts among a million decisions."""
    del with_peers
    with scratch() as place:
        yield from listing.figures(place, scale)


def page_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """Pages of the explorer among a million decisions."""
    del with_peers
    with scratch() as place:
        yield from pages.figures(place, max(int(1_000_000 * scale), 10_000))


def subject_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """What sealing costs a turn, a new subject, and an erasure among a million of them."""
    del with_peers
    with scratch() as place:
        yield from subjects.figures(place, scale)


def what_if_figures(scale: float, *, with_peers: bool) -> Iterator[Figure]:
    """Judging for the page while one types, and what the turns notice of it."""
    del with_peers
    with scratch() as place:
        yield from what_if.figures(place, scale)


PARTS: dict[str, Callable[..., Iterator[Figure]]] = {
    "turns": turn_figures,
    "floor": floor_figures,
    "peers": peers_figures,
    "agents": agent_figures,
    "history": history_figures,
    "memory": memory_figures,
    "sleeping": sleeping_figures,
    "precedents": precedent_figures,
    "judge": judge_figures,
    "routing": routing_figures,
    "gate": gate_figures,
    "growth": growth_figures,
    "imports": import_figures,
    "listing": listing_figures,
    "pages": page_figures,
    "subjects": subject_figures,
    "what-if": what_if_figures,
    "api": api_figures,
}
"""What `--only` can name."""


def print_table(figures: list[Figure]) -> None:
    """Print the figures as a table in Markdown."""
    print("| figure | value | ratio | to | aim | met |\n|---|---:|---:|---|---|---|")
    for figure in figures:
        value = f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:.3g}"
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        met = "" if figure.met is None else "yes" if figure.met else "**no**"
        print(f"| {figure.name} | {value} {figure.unit} | {ratio} | {figure.of or ''} | {figure.aim or ''} | {met} |")


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a directory on the disk that is being measured, and take it away again."""
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as directory:
        yield Path(directory).resolve()


if __name__ == "__main__":
    sys.exit(main())
