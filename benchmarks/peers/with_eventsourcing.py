"""The same work with `eventsourcing` on SQLite: save one event of an aggregate, load an aggregate of many."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event


class Agent(Aggregate):
    """Decides."""

    @event("Decided")
    def decide(self, rationale: str, outcome: dict[str, object]) -> None:
        """Decide."""
        self.last = outcome


def main(directory: Path, saves: int, length: int) -> None:
    """Print the figures as JSON."""
    application = Application(
        env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(directory / "eventsourcing.db")}
    )
    outcome = {"granted": True, "notes": "three incidents in this quarter; " * 24}
    agent = Agent()
    application.save(agent)
    began = time.perf_counter()
    for _ in range(saves):
        agent.decide(rationale="within the limit", outcome=outcome)
        application.save(agent)
    save = saves / (time.perf_counter() - began)
    long = Agent()
    for _ in range(length):
        long.decide(rationale="within the limit", outcome=outcome)
    application.save(long)
    began = time.perf_counter()
    application.repository.get(long.id)
    load = length / (time.perf_counter() - began)
    print(json.dumps({"save_per_second": save, "load_per_second": load}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
