"""The report of a run again, from the journal alone: what `loom report` writes, to where the experiment writes it.

    python examples/retention_drift/report_generator.py
    python examples/retention_drift/report_generator.py --simulation-id run_36_retention_01 --output-path replay.html

Without an id it is the newest run. Nothing is simulated again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiment import HERE, Experiment, shows

from loom.cli.app import app


def main() -> None:
    """Write the report from the command line; the exit code is that of `loom report`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulation-id", metavar="RUN", help="which run, or how its id begins; by default the newest")
    parser.add_argument("--output-path", type=Path, help="where to; by default results/report_<UTC>_<run>.html")
    parser.add_argument("--config", type=Path, default=HERE / "config.yaml")
    parser.add_argument("--data", type=Path, help="where the journal lies; by default what the config says")
    given = parser.parse_args()
    experiment = Experiment.read(given.config)
    data = given.data or experiment.database
    results = experiment.results if given.data is None else data / "results"
    arguments = ["report", "--journal", str(data / "default" / "journal.db")]
    arguments += [] if given.simulation_id is None else [given.simulation_id]
    arguments += ["--into", str(results)] if given.output_path is None else ["--output", str(given.output_path)]
    arguments += ["--open"] if shows() else []
    raise SystemExit(app(arguments, standalone_mode=False) or 0)


if __name__ == "__main__":
    main()
