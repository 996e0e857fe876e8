"""A process that imports is killed anywhere: no half row, no row twice, and `--resume` finishes what it began."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from loom import Loom
from loom.decisions import DecisionObservedEntry, RunEndedEntry
from tests.cli.support import invoke
from tests.history.support import bank, rows, written
from tests.on_postgres import verify

ROWS = 700

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from loom import Loom
from loom.decisions.runs import Runs
from loom.history.checking import Checking
from loom.history.writing import Writing
from loom.journal.sqlite.writer import Writer
from tests.on_postgres import join

join()
where, directory = sys.argv[1], Path(sys.argv[2])
commits = 0

def kill(*given, **named):
    os.kill(os.getpid(), signal.SIGKILL)

if where == "checked":
    Runs.start = kill
elif where == "begun":
    Writing.write = kill
elif where == "written":
    end = Runs.end
    Runs.end = kill
elif where == "ended":
    end = Runs.end
    async def then(self, *given, **named):
        await end(self, *given, **named)
        kill()
    Runs.end = then
else:
    commit = Writer.commit
    def counted(self, batch):
        global commits
        observed = any(draft.kind == "decision_observed" for append in batch for draft in append.drafts)
        commits += observed
        if observed and commits == 2 and where == "before commit":
            kill()
        done = commit(self, batch)
        if observed and commits == 2:
            kill()
        return done
    Writer.commit = counted

async def main():
    async with Loom.open(f"sqlite:///{directory}/journal.db", by="robin") as loom:
        await loom.history.load_file(directory / "h.csv", directory / "map.yaml", by="vera")

asyncio.run(main())
"""


COMMIT = pytest.mark.sqlite("the commit of the writer of a file")


@pytest.mark.parametrize(
    "where",
    [
        "checked",
        "begun",
        pytest.param("before commit", marks=COMMIT),
        pytest.param("after commit", marks=COMMIT),
        "written",
        "ended",
    ],
)
async def test_an_import_killed_anywhere_is_resumed_without_half_a_row_or_one_twice(tmp_path: Path, where: str) -> None:
    given = rows(ROWS)
    written(tmp_path / "h.csv", given)
    (tmp_path / "map.yaml").write_text(json.dumps(bank()))
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, where, str(tmp_path))
    assert await process.wait() == -signal.SIGKILL

    journal = tmp_path / "journal.db"
    assert verify(journal).ok
    async with Loom.open(f"sqlite:///{journal}", by="robin") as loom:
        open_ones = await loom.history.unfinished()
        assert len(open_ones) == (where not in ("checked", "ended"))
        expected = "settled" if where == "ended" else "open"
        assert all(each.status == expected for each in await loom.traces.find(limit=9))
        await loom.history.load_file(tmp_path / "h.csv", tmp_path / "map.yaml", by="vera", resume=bool(open_ones))
        assert await loom.history.unfinished() == ()
        assert (await loom.metrics.of(origin="observed")).decisions == ROWS
        entries = [each.entry async for each in loom.store.read_all()]
    observed = [each for each in entries if isinstance(each, DecisionObservedEntry)]
    assert sorted(int(each.source.own_id[2:]) for each in observed) == list(range(1, ROWS + 1))
    assert all(each.decision.outcome == {"granted": given[each.source.row - 1]["ok"] == "yes"} for each in observed)
    ended = [each for each in entries if isinstance(each, RunEndedEntry)]
    assert ended[0].result == {"rows": ROWS, "decisions": ROWS, "skipped": 0}
    assert len(ended) == (2 if where == "ended" else 1)  # the second one found everything there
    assert verify(journal).ok


def test_the_shell_says_what_would_come_in_imports_it_and_refuses_what_cannot_be(tmp_path: Path) -> None:
    written(tmp_path / "h.csv", rows(20))
    (tmp_path / "map.yaml").write_text(json.dumps(bank()))
    at = ("-j", tmp_path / "journal.db", "--by", "vera")
    given = ("import", tmp_path / "h.csv", "--map", tmp_path / "map.yaml", *at)
    dry = invoke(*given, "--dry-run")
    assert dry.code == 0, dry.err
    assert dry.out.startswith("20 rows: 20 to import, 0 there already, 0 cannot be")
    assert "protect: is not in the map" in dry.out
    done = invoke(*given)
    assert "20 decisions written" in done.out
    assert invoke(*given, "--json").json["report"]["same"] == 20
    bad = rows(21)
    bad[3]["ok"] = "perhaps"
    written(tmp_path / "h.csv", bad)
    refused = invoke(*given)
    assert refused.code == 1
    assert "row 4: [ok] is [perhaps]; expected one of [yes, no]" in refused.out
    assert refused.out.rstrip().endswith("Nothing was written.")
    assert invoke("import", *at).code == 2
    listed = invoke("decisions", "-j", tmp_path / "journal.db", "--json").json
    assert {each["origin"] for each in listed} == {"observed"}
    found = invoke("why", listed[0]["decision_id"], "-j", tmp_path / "journal.db")
    assert "as its source claims" in found.out


def test_an_unfinished_import_is_abandoned_from_the_shell(tmp_path: Path) -> None:
    written(tmp_path / "h.csv", rows(ROWS))
    (tmp_path / "map.yaml").write_text(json.dumps(bank()))
    pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", KILLED, "written", str(tmp_path)])
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    at = ("-j", tmp_path / "journal.db")
    [run] = invoke("runs", *at, "--json").json
    assert (run["kind"], run["status"]) == ("import", "open")
    assert (
        "is an import that has not ended"
        in invoke("runs", "end", run["run_id"], "--status", "completed", "--by", "v", *at).err
    )
    said = invoke("import", "--abandon", run["run_id"][:13], "--by", "vera", *at)
    assert "is abandoned" in said.out
    again = invoke("import", tmp_path / "h.csv", "--map", tmp_path / "map.yaml", "--by", "vera", *at)
    assert again.code == 1
    assert "was imported by" in again.out


def test_the_shell_lists_and_measures_by_either_time(tmp_path: Path) -> None:
    written(tmp_path / "h.csv", rows(24))
    (tmp_path / "map.yaml").write_text(json.dumps(bank()))
    at = ("-j", tmp_path / "journal.db")
    invoke("import", tmp_path / "h.csv", "--map", tmp_path / "map.yaml", "--by", "vera", *at)
    march = ("--since", "2015-03-01", "--until", "2015-04-01")
    assert len(invoke("decisions", *march, "--observed", *at, "--json").json) == 2
    assert invoke("decisions", *march, "--by-time", "recorded", *at, "--json").json == []
    measured = invoke("metrics", *march, "--origin", "observed", *at, "--json").json
    assert measured["all"]["decisions"] == 2
    assert invoke("metrics", *march, *at, "--json").json["all"]["decisions"] == 0
    counted = invoke("decisions", "--facets", "town", *march, *at, "--json").json
    assert (counted["decisions"], counted["complete"], counted["rule"]) == (2, True, None)
    assert invoke("decisions", "--facets", "town", *march, "--by-time", "recorded", *at, "--json").json["values"] == []
    said = invoke("decisions", "--facets", "town", *at)
    assert "town of 24 decisions" in said.out
    assert sum(line.split()[0] in ("Kiel", "Ulm") for line in said.out.splitlines() if line.strip()) == 2
    refused = invoke("decisions", "--facets", "town", "--text", "no", *at)
    assert "expected it without --text" in refused.err
    window = ("--baseline", "2015-01-01..2015-07-01", "--current", "2015-07-01..2016-01-01,time:recorded")
    compared = invoke("drift", *window, *at)
    assert "12 decisions of [from 2015-01-01 until 2015-07-01] are in no class" in compared.err
    assert "window holds no decision" in compared.out  # as nothing was recorded then


def test_a_list_is_headed_by_the_time_that_it_shows_and_views_verify(tmp_path: Path) -> None:
    written(tmp_path / "h.csv", rows(6))
    (tmp_path / "map.yaml").write_text(json.dumps(bank()))
    at = ("-j", tmp_path / "journal.db")
    invoke("import", tmp_path / "h.csv", "--map", tmp_path / "map.yaml", "--by", "vera", *at)
    listed = invoke("decisions", *at).out
    assert "decided (UTC)" in listed
    assert "2015-07-05 10:00:00" in listed  # noon in Berlin
    assert "VIEWS VERIFIED" in invoke("verify", "--views", *at).out
