"""The story of a seed: which commands are sent to whom, and which faults there are. Nothing here is loom's."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

from tests.simulation.agents import Program, Step, Verb
from tests.simulation.loop import Pace
from tests.simulation.machine import Chances

__all__ = ["Life", "Sending", "Story"]

KEYS = ("a", "b", "c")
_ALONE: tuple[Verb, ...] = ("fetch", "note", "effect", "once", "sleep", "draw", "retry", "wait", "note", "effect")
_TOGETHER: tuple[Verb, ...] = ("fetch", "effect", "note", "sleep", "retry")


@dataclass(frozen=True)
class Sending:
    """One command of a client, who sends it again with the same id until it has an answer."""

    command_id: str
    key: str
    program: Program
    after_s: float
    how: Literal["ask", "tell", "twice"]
    patience_s: float


@dataclass(frozen=True)
class Life:
    """One process: it is killed after so many callbacks, or closed after a time, or lives to the end."""

    crash_after: int | None = None
    closes_after_s: float | None = None
    disk: Chances = field(default_factory=Chances)
    world: float = 0.0
    pace: Pace = field(default_factory=Pace)
    reorder: float = 0.0


class Story:
    """What a seed holds."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(f"story {seed}")
        self._count = 0
        self.sendings = [self._sending(number) for number in range(self.dice.choice((1, 2, 2, 3, 4)))]
        self.lives = [self._life() for _ in range(self.dice.choice((1, 1, 1, 2)))] + [Life()]
        self.clock_steps = [
            (self.dice.random() * 5, self.dice.choice((-7_200, -60, -1, 1, 60, 7_200)))
            for _ in range(self.dice.choice((0, 0, 0, 1, 2)))
        ]
        self.actors = {
            "idle_after_s": self.dice.choice((2.0, 60.0)),
            "park_keep_s": self.dice.choice((1.0, 60.0)),
            "snapshot_every": self.dice.choice((2, 5, 500)),
            "shutdown_grace_s": self.dice.choice((0.0, 0.2)),
            "mailbox_size": self.dice.choice((2, 1_000)),
            "backoff_min_s": 0.2,
        }
        self.enriches = self.dice.random() < 0.5
        self.max_calls = self.dice.choice((1, 3, 100))
        self.max_usd = self.dice.choice((0.05, 0.1, 5.0))
        self.max_model_usd = self.dice.choice((0.0005, 0.01, 5.0))
        self.in_background = self.dice.random() < 0.7
        self.people = self.dice.choice(("grant", "deny", "both", "none"))
        self.nudges = [(self.dice.random() * 3, self.dice.choice(KEYS)) for _ in range(self.dice.choice((0, 1, 2)))]

    def _sending(self, number: int) -> Sending:
        dice = self.dice
        key = dice.choice(KEYS)
        return Sending(
            command_id=f"command-{number}",
            key=key,
            program=self._program(key, deep=2),
            after_s=dice.random() * dice.choice((0.0, 0.01, 2.0)),
            how=dice.choice(("ask", "ask", "tell", "twice")),
            patience_s=dice.choice((0.01, 1.0, 10.0)),
        )

    def _program(self, key: str, *, deep: int) -> Program:
        dice = self.dice
        program: Program = [self._step(dice.choice(_ALONE)) for _ in range(dice.randrange(3 if deep == 2 else 2))]
        if deep and dice.random() < 0.4:
            to = dice.choice([each for each in KEYS if each != key] if dice.random() < 0.95 else KEYS)
            inner = self._program(to, deep=deep - 1)
            step = self._step(dice.choice(("ask", "tell")))
            program.append(step.model_copy(update={"to": to, "program": inner}))
        if deep == 2 and dice.random() < 0.25:
            program.append([[self._step(dice.choice(_TOGETHER)) for _ in range(2)] for _ in range(2)])
        if dice.random() < 0.3:
            program.append(self._step("approve"))
        if dice.random() < 0.1:
            program.append(self._step("model"))
        if dice.random() < 0.1:
            program.append(self._step("earlier"))
        if dice.random() < 0.5:
            program.append(self._step("decide"))
        return program or [self._step("note")]

    def _step(self, verb: Verb) -> Step:
        self._count += 1
        for_s = self.dice.choice((0.05, 1.0, 8.0)) if verb != "approve" else self.dice.choice((0.5, 5.0, 20.0))
        return Step(verb=verb, key=f"{verb}{self._count}", for_s=for_s)

    def _crash(self) -> int:
        """Return after how many callbacks a process is killed: now and then while it opens, which takes about 100."""
        dice = self.dice
        return dice.randrange(5, 110) if dice.random() < 0.15 else 100 + int(10 ** (0.8 + dice.random() * 2.2))

    def _life(self) -> Life:
        dice = self.dice
        ends = dice.random()
        faulty = dice.random() < 0.5
        return Life(
            crash_after=self._crash() if ends < 0.75 else None,
            closes_after_s=None if ends < 0.75 else dice.random() * dice.choice((0.1, 3.0)),
            disk=Chances(
                refused=dice.choice((0.0, 0.1)) if faulty else 0.0,
                undone=dice.choice((0.0, 0.08)) if faulty else 0.0,
                lost=dice.choice((0.0, 0.08)) if faulty else 0.0,
                views=dice.choice((0.0, 0.1)) if faulty else 0.0,
            ),
            world=dice.choice((0.0, 0.3)),
            pace=dice.choice((Pace(), Pace(usual_s=0.003), Pace(slow=0.05, slow_s=3.0))),
            reorder=dice.choice((0.0, 0.0, 0.5)),
        )
