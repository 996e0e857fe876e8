"""Take the mutation score of the core: `python -m tests.mutation [WORD …] [--sample N] [--page]`.

WORDs narrow the files of `core.py`. Writes `mutation.json`; with `--page` it writes `docs/mutation.md` instead, from
the `mutation.json` that is there. Exits with 1 where a module has less than it should, or an equivalent mutant that is
listed is not there any more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace

from tests.mutation.core import CORE
from tests.mutation.page import PAGE, RESULT, page
from tests.mutation.score import ENOUGH, Score, gone, scored
from tests.mutation.warm import LEFT_OUT


def main() -> int:
    """Judge the modules that are asked for, as many at once as there are cores."""
    asked = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    asked.add_argument("words", nargs="*")
    asked.add_argument("--sample", type=int)
    asked.add_argument("--seed", default="")
    asked.add_argument("--page", action="store_true")
    given = asked.parse_args()
    if given.page:
        PAGE.write_text(page(json.loads(RESULT.read_text(encoding="utf-8"))), encoding="utf-8")
        return 0
    files = [file for file in CORE if not given.words or any(word in file for word in given.words)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        running = [pool.submit(timed, file, given.sample, given.seed) for file in files]
        scores, problems = [], [f"GONE: {what}" for what in gone()]
        for each in as_completed(running):
            try:
                scores.append(each.result())
            except RuntimeError as error:
                problems.append(f"FAILED: {error}")
            else:
                show(scores[-1])
    problems += [f"TOO FEW: {each.file} {each.share:.1%}" for each in scores if each.share < ENOUGH]
    if given.sample is None:
        keep(scores)
    tried, killed = sum(each.tried for each in scores), sum(each.killed for each in scores)
    print("\n".join([*problems, f"{killed} of {tried} mutants found out: {killed / max(1, tried):.1%}"]))
    return 1 if problems or not files else 0


def timed(file: str, sample: int | None, seed: str) -> Score:
    """Return the score of a file with the time that it took."""
    began = time.perf_counter()
    return replace(scored(file, sample=sample, seed=seed), seconds=round(time.perf_counter() - began, 1))


def show(score: Score) -> None:
    """Print the score of a file."""
    counted = f"{score.killed} of {score.tried} found out ({score.timeouts} in time), {score.equivalent} equivalent"
    print(f"{score.file} {score.share:.1%}: {counted}, {score.seconds:.0f} s", flush=True)
    for name in score.unfit:
        print(f"  {LEFT_OUT}{name}")
    for each in score.left:
        print(f"  {score.file}:{each}", flush=True)


def keep(scores: list[Score]) -> None:
    """Write `mutation.json`; files that were not judged now keep what is there."""
    before = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"modules": []}
    by_file = {each["file"]: each for each in before["modules"]} | {each.file: each.as_json() for each in scores}
    kept = [by_file[file] for file in CORE if file in by_file]
    RESULT.write_text(json.dumps({"modules": kept}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
