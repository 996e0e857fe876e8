"""What a monitor is: it watches one kind of value for each of its subjects, and intervenes if its policy denies a
window.

A monitor is an actor that a reactor feeds. Its window is its state, folded from its own journal, so that it is correct
after a restart. An observation is a command whose id contains the position of the entry, so that it counts once. A
registered policy judges the window. An intervention only narrows, and is a decision (design: Law 6).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, JsonValue

from loom.actors import Actor, Command
from loom.extension import Host
from loom.journal.admission import json_value
from loom.journal.entry import Entry, Recorded
from loom.monitors.entries import FindingEntry, MonitorTickEntry, ObservedEntry, WindowResetEntry
from loom.policies import Evaluation
from loom.policies.contract import AnyPolicy
from loom.reactors import Reaction

__all__ = ["MAX_WINDOW", "Finding", "Monitor", "Observation", "Reset", "Tick", "watch"]

MAX_WINDOW = 1_000
"""The maximum number of observations in a window."""


class Observation(NamedTuple):
    """A value of a subject, with its context."""

    subject: str
    value: float
    about: Mapping[str, JsonValue] = {}


class Reset(NamedTuple):
    """The window of a subject starts again."""

    subject: str
    reason: str


class Finding(NamedTuple):
    """A finding of a monitor: the subject, the rule, and why. `key` is the same when it is found again."""

    monitor: str
    subject: str
    evaluation: Evaluation
    decision_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Monitor:
    """The kinds of entries that it reads, what it observes in them, its policy, and its intervention.

    `observe` returns the observation in an entry, None for none. `facts` makes the policy's facts from the values of a
    window, oldest first, and the parameters of the pinned policy version; None where the window is not full.
    `intervene` is called where the policy denies, at least once for each finding, with the same `key`; `does` names the
    intervention in a word.
    """

    name: str
    kinds: frozenset[str]
    policy: AnyPolicy
    observe: Callable[[Recorded], Observation | Reset | None]
    facts: Callable[[Sequence[float], Mapping[str, Any]], Mapping[str, Any] | None]
    intervene: Callable[[Finding], Awaitable[Any]]
    does: str = "suspend"


class Tick(BaseModel):
    """The result of an observation: None for `rule` where the window was not full."""

    observed: int
    rule: str | None = None
    found: bool = False


class _Window(BaseModel):
    values: list[float] = Field(default_factory=list)


class Observe(Command[Tick]):
    """Observe one more value."""

    position: int
    value: float
    about: dict[str, JsonValue] = Field(default_factory=dict)


class BeginAfresh(Command[Tick]):
    """Discard the observations."""

    position: int
    reason: str


class MonitorActor(Actor[_Window]):
    """Watches one subject, which is its key."""

    actor_type = "monitor"
    monitor: Monitor

    async def execute(self, command: Observe | BeginAfresh) -> Tick:
        """Record the value, and judge the window if it is full."""
        if isinstance(command, BeginAfresh):
            await self.record(WindowResetEntry(position=command.position, reason=command.reason))
            return Tick(observed=0)
        values = [*self.state.values, command.value][-MAX_WINDOW:]
        await self.record(ObservedEntry(position=command.position, value=command.value, about=command.about))
        facts = self.monitor.facts(values, self.parameters)
        if facts is None:
            return Tick(observed=len(values))
        said = self.evaluate(facts)
        tick = MonitorTickEntry(
            monitor=self.monitor.name,
            subject=self.key,
            position=command.position,
            facts=dict(facts),
            parameters=_json_of(self.parameters),
            rule=said.rule,
            about=command.about,
        )
        await self.record(tick)
        if said.denied:
            await self._step_in(command, said)
        return Tick(observed=len(values), rule=said.rule, found=said.denied)

    def apply(self, entry: Entry) -> None:
        """Fold the window."""
        if isinstance(entry, ObservedEntry):
            self.state.values.append(entry.value)
            del self.state.values[:-MAX_WINDOW]
        elif isinstance(entry, WindowResetEntry):
            self.state.values.clear()

    async def _step_in(self, command: Observe, said: Evaluation) -> None:
        monitor = self.monitor
        decision_id = await self.record_decision(
            decision_type="intervention",
            rationale=said.why,
            outcome={"intervention": monitor.does, "subject": self.key},
            context={"monitor": monitor.name, "subject": self.key, "about": command.about},
        )
        finding = Finding(monitor.name, self.key, said, decision_id, f"{monitor.name}:{self.key}:{command.position}")
        await self.perform(
            action=f"{monitor.does} {self.key}", effect=lambda _: _done(monitor.intervene(finding)), key=finding.key
        )
        await self.record(
            FindingEntry(
                monitor=monitor.name,
                subject=self.key,
                position=command.position,
                rule=said.rule,
                why=said.why,
                intervention=monitor.does,
                decision_id=decision_id,
                about=command.about,
            )
        )


def _json_of(parameters: Mapping[str, object]) -> dict[str, JsonValue]:
    plain: Any = json_value(dict(parameters))
    return dict(plain)


async def _done(work: Awaitable[Any]) -> bool:
    await work
    return True


class _Feed:
    """The reactor that feeds a monitor."""

    def __init__(self, monitor: Monitor, actor: type[MonitorActor]) -> None:
        self.name = f"monitor {monitor.name}"
        self.kinds = monitor.kinds
        self._monitor = monitor
        self._actor = actor

    def react(self, recorded: Recorded) -> Sequence[Reaction]:
        """Return the observation, or the restart of the window, that an entry means for the monitor."""
        seen = self._monitor.observe(recorded)
        if seen is None:
            return ()
        command: Command[Any]
        if isinstance(seen, Reset):
            command = BeginAfresh(position=recorded.position, reason=seen.reason)
        else:
            command = Observe(position=recorded.position, value=seen.value, about=dict(seen.about))
        return (Reaction(self._actor, seen.subject, command),)


async def watch(host: Host, monitor: Monitor) -> type[MonitorActor]:
    """Let a monitor follow the journal; return the class of its actors, whose keys are the subjects."""
    actor = _actor_of(monitor)
    await host.register(actor)
    if host.resumes:
        host.reactors.add(_Feed(monitor, actor))
    return actor


def _actor_of(monitor: Monitor) -> type[MonitorActor]:
    name = f"monitor-{monitor.name}"
    body = {"actor_type": name, "policy": monitor.policy, "monitor": monitor, "__doc__": MonitorActor.__doc__}
    return type(f"MonitorActor_{monitor.name}", (MonitorActor,), body)
