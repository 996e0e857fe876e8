"""The same work with `eventsourcing` on SQLite: a turn's five facts in one save, and a load of many."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

ACCOUNT = {"industry": "healthcare", "arr_usd": 500_000, "notes": "three incidents in this quarter; " * 8}
FACTS = {"industry": "healthcare", "arr_usd": 500_000, "percent": 5}
EVALUATION = {"effect": "allow", "rule": "within-limit", "why": "5 % is within 10 %"}


class Agent(Aggregate):
    """Records the five facts of a turn: what was asked, looked up, evaluated, decided and answered."""

    @event("Asked")
    def ask(self, command: dict[str, object]) -> None:
        """Record the command."""

    @event("LookedUp")
    def look_up(self, result: dict[str, object]) -> None:
        """Record what was looked up."""

    @event("Evaluated")
    def evaluate(self, facts: dict[str, object], evaluation: dict[str, object]) -> None:
        """Record what the rule said."""

    @event("Answered")
    def answer(self, reply: dict[str, object]) -> None:
        """Record the reply."""

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
        agent.ask(command={"customer": "acme", "percent": 5})
        agent.look_up(result=ACCOUNT)
        agent.evaluate(facts=FACTS, evaluation=EVALUATION)
        agent.decide(rationale="5 % is within 10 %", outcome={"granted": True, "account": ACCOUNT, "facts": FACTS})
        agent.answer(reply={"granted": True})
        application.save(agent)
    five = saves / (time.perf_counter() - began)
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
    print(json.dumps({"turns_per_second": five, "save_per_second": save, "load_per_second": load}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
