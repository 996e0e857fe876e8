"""Shadow: what would have been chosen, reported to the log and the metrics only.

A signal that may not be seen is no comparison: it engages the kill switch, which is journaled.

A comparison begins after the caller has its answer, waits for nothing that a caller waits for, and fails alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from loom.background import Background, stopped
from loom.policies.registry import PolicyRegistry
from loom.routing.actor import Choice
from loom.routing.optimizer import care_optimizer, facts_of
from loom.routing.request import Candidate, RoutingRequest
from loom.routing.signals import ForbiddenSignalError, SignalRangeError, SignalSource, checked
from loom.routing.switch import KillSwitch
from loom.spans import count
from loom.telemetry import get_logger

__all__ = ["Shadow"]

_MOST_AT_ONCE = 100

_log = get_logger("loom.routing")


class Shadow:
    """Compares outside the request path.

    `counts` says how often it agreed, diverged, failed, refused a signal, or was too busy to look.
    """

    def __init__(
        self, policies: PolicyRegistry, source: SignalSource, switch: KillSwitch, background: Background
    ) -> None:
        self._background = background
        self.counts: Counter[str] = Counter()
        self._policies = policies
        self._source = source
        self._switch = switch
        self._under_way: set[asyncio.Future[None]] = set()

    def compare(self, choice: Choice, request: RoutingRequest, candidates: tuple[Candidate, ...]) -> None:
        """Begin a comparison; with too many under way this one is counted as skipped, as nothing may wait for it."""
        if len(self._under_way) >= _MOST_AT_ONCE:
            self._note("skipped")
            return
        task = self._background.start(self._compare(choice, request, candidates), name="loom-routing-shadow")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def idle(self) -> None:
        """Wait until every comparison that was begun has ended."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def close(self) -> None:
        """Drop what is under way."""
        await stopped(*self._under_way)

    async def _compare(self, choice: Choice, request: RoutingRequest, candidates: tuple[Candidate, ...]) -> None:
        try:
            eligible = {each.agent for each in choice.baseline.eligible}
            read = checked(await self._source.read([each for each in candidates if each.agent in eligible]))
            version = self._policies.adopted(care_optimizer.name) or self._policies.latest(care_optimizer.name)
            said = self._policies.runnable(version).evaluate(facts_of(request, choice.baseline, read))
        except (ForbiddenSignalError, SignalRangeError) as error:  # journaled, and the end of optimisation
            self._note("refused")
            await self._switch.stop_for("signal_refused", reason=str(error), request_id=choice.request_id)
            return
        except Exception as error:  # whatever it is, the caller has its answer
            self._note("failed")
            _log.error("care_shadow_failed", request=choice.request_id, error=repr(error))
            return
        optimized: Any = said.details.get("chosen") if said.allowed else choice.agent
        outcome = "diverged" if optimized != choice.agent else "agreed"
        self._note(outcome)
        _log.info(
            "care_shadow",
            request=choice.request_id,
            outcome=outcome,
            baseline=choice.agent,
            optimized=optimized,
            rule=said.rule,
            gap=said.details.get("gap"),
            confidence=said.details.get("confidence"),
            scores=said.details.get("scores"),
        )

    def _note(self, outcome: str) -> None:
        self.counts[outcome] += 1
        count("loom.routing.shadow", {"loom.outcome": outcome})
