"""Runs seeds: `python -m tests.simulation --seed 7` shows the trace of one, `--seeds 0:5000` tries many."""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.simulation.plants import PLANTS, planted
from tests.simulation.run import Simulator


def main() -> int:
    """Run what the command line says; return 1 where a law was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed, with its trace")
    parser.add_argument("--seeds", default="0:100", help="from:until, without the last")
    parser.add_argument("--first", action="store_true", help="stop at the first seed that breaks a law")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="plant a bug, which has to be found")
    parser.add_argument("--digests", action="store_true", help="print the digest of each trace")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    perf = time.perf_counter  # before the simulation replaces it
    began, used = perf(), time.process_time()
    if given.seed is not None:
        with planted(given.plant), Simulator() as simulator:
            outcome = simulator.run(given.seed)
        print("\n".join(outcome.trace))
        print(f"seed {outcome.seed}: {outcome.digest}")
        print("\n".join(f"BROKEN: {each}" for each in outcome.broken) or "no law is broken")
        return bool(outcome.broken)
    first, _, last = given.seeds.partition(":")
    found = count = entries = callbacks = crashes = 0
    with planted(given.plant), Simulator() as simulator:
        step = 1 if int(first) <= int(last) else -1
        for seed in range(int(first), int(last), step):
            outcome = simulator.run(seed)
            count, entries, callbacks = count + 1, entries + outcome.entries, callbacks + outcome.callbacks
            crashes += outcome.crashes
            if given.digests:
                print(seed, outcome.digest)
            if outcome.broken:
                found += 1
                print(f"seed {seed}: {outcome.broken[0][:400]}", flush=True)
                if given.first:
                    break
    took_s = perf() - began
    print(
        f"{count} seeds in {took_s:.1f} s, {time.process_time() - used:.1f} s of CPU, {found} broke a law; "
        f"{entries} entries, {callbacks} callbacks, {crashes} crashes"
    )
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
