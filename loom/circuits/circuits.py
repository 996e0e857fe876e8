"""`Circuits`: register circuits, run them alone or in a chain, count cycles, read what happened."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pydantic import JsonValue, ValidationError

from loom.circuits.actor import CircuitActor
from loom.circuits.autonomy import CountCycle, Counted, Health, RegisterStrategy, StrategyActor
from loom.circuits.chain import ChainReply, RunChain, Step
from loom.circuits.core import core
from loom.circuits.definition import Circuit, CircuitDefinition
from loom.circuits.dependencies import Dependencies
from loom.circuits.earlier import EARLIER
from loom.circuits.errors import CircuitDependencyError
from loom.circuits.escalations import Escalations
from loom.circuits.fields import ClientFields, is_of_before, protect_as_before, worded_fields
from loom.circuits.inputs import declared_inputs, named
from loom.circuits.loading import listed_circuits
from loom.circuits.reading import CircuitsView
from loom.circuits.requests import Claims, Requests
from loom.circuits.strategies import Strategies
from loom.circuits.thresholds import Thresholds
from loom.circuits.view import CONFIRM_EXECUTIONS
from loom.errors import (
    AdmissionError,
    ConfigError,
    ErasedError,
    InvalidNameError,
    StandingError,
    SubjectNotFoundError,
)
from loom.extension import Host
from loom.identity import By, Identity, derived_id, new_id
from loom.journal.kinds import CommandReceivedEntry
from loom.sealing import Erasures, SealingConfig, Subjects

__all__ = ["Circuits"]

_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,99}\Z")
_SUCCEEDED = """
SELECT position, circuit_id, client_id, execution_id, success FROM circuit_execution_logs
WHERE execution_id = ? AND client_id = ? AND success = 1
"""
_FALLS_BACK = "fallback_to_last_successful"
_FIGURES = ("engagement_score", "conversion_score", "cycle_count", "decline_cycles")


class Circuits:
    """`async with Circuits.open(loom)` starts it; with `extensions: [circuits]` in the config, `Circuits.of(loom)`."""

    def __init__(self, host: Host, subjects: Subjects) -> None:
        self._host = host
        self._circuits: dict[str, Circuit] = {}
        self._thresholds = Thresholds(host.policies, by=host.by)
        self.strategies = Strategies(host.store)
        self.escalations = Escalations(host.store, make_draft=host.draft)
        self._subjects = subjects
        self.fields = ClientFields(subjects.erasures, subjects.vault)
        self._raw: dict[tuple[str, str], dict[tuple[int, str], JsonValue]] = {}
        self._callers: Claims = {}
        self._requests = Requests(host, self._callers)
        self.view = CircuitsView(host.queries, host.now, self.fields, self.escalations)

    @classmethod
    def of(cls, loom: Any) -> Circuits:
        """Return the circuits that a loom was opened with."""
        circuits = loom.parts.get("circuits")
        if not isinstance(circuits, Circuits):
            raise InvalidNameError(
                "this loom has no circuits; expected the extension [circuits]: hand it to Loom.open(extensions=…), or "
                "name it under extensions: in the config"
            )
        return circuits

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, host: Host, *, circuits: Sequence[Circuit] = (), seals: bool = True) -> AsyncIterator[Circuits]:
        """Yield the circuits of an open loom: the eight of the core, and yours; one of the same id takes its place.

        Yours are those that are handed in, and those in the modules that the config lists. Where nothing is run, as in
        a replay, there is no need of a vault: `seals` is false.
        """
        own = cls(host, host.subjects if seals else Subjects(Erasures(host.store, make_draft=host.draft)))
        for earlier in EARLIER:
            host.policies.attach(earlier)
        await own.escalations.load()
        await own.fields.erasures.load()
        own._subjects.add(knows=own._ran_for)
        known = (*core(own.strategies, seals=own._seals_core), *listed_circuits(host.config.modules), *circuits)
        for each in {each.definition.circuit_id: each for each in known}.values():
            await own.register(each, by=host.by)
        dependencies = Dependencies(
            own._circuits.get,
            own._thresholds.version,
            own._thresholds.judge,
            own._escalate,
            own.fields,
            host.config.journal.max_entry_bytes,
            own._raw,
        )
        await host.register(CircuitActor, lambda: CircuitActor(dependencies))
        await host.register(StrategyActor, lambda: StrategyActor(own._escalate))
        yield own

    # --- the registry ---------------------------------------------------------------------------

    async def register(self, circuit: Circuit, *, by: By) -> None:
        """Register a circuit; its definition is a policy version from here on, so that what ran is known for ever."""
        keyed = {"seal", "hash"} & {*circuit.definition.fields.values()}
        if keyed and self.fields.vault is None and self._host.resumes:
            raise ConfigError(
                f"circuit [{circuit.definition.circuit_id}] seals or hashes fields, and there is no vault; "
                "expected a master key: fill in sealing: in the config"
            )
        await self._host.policies.register_code(circuit.policy, by=by, reason="a circuit")
        self._circuits[circuit.definition.circuit_id] = circuit

    def definitions(self) -> tuple[CircuitDefinition, ...]:
        """Return every circuit that is registered, by id."""
        return tuple(self._circuits[name].definition for name in sorted(self._circuits))

    # --- running --------------------------------------------------------------------------------

    async def run(
        self,
        client_id: str,
        steps: Sequence[tuple[str, Mapping[str, JsonValue]]],
        *,
        execution_id: str | None = None,
        by: By | None = None,
    ) -> ChainReply:
        """Run circuits one after the other; what an earlier one finds feeds the later ones. The id makes it once.

        With a caller the id is the caller's, for this client and these steps alone: `CommandConflictError` otherwise.
        """
        _check_client(client_id)
        known_id = execution_id or new_id()
        async with self._requests.begun(CircuitActor, client_id, known_id, by=by, is_new=execution_id is None) as send:
            steps = [(name, self._named(name, inputs)) for name, inputs in steps]
            protects = any(each in self._circuits and self._circuits[each].definition.fields for each, _ in steps)
            is_earlier = bool(execution_id and protects) and await self._is_of_before(client_id, known_id)
            command = await self._command(known_id, client_id, steps, is_earlier=is_earlier)
            raw = {
                (place, name): value
                for place, ((_, inputs), step) in enumerate(zip(steps, command.steps, strict=True), start=1)
                for name, value in inputs.items()
                if name in step.unwritten
            }
            asked = send(command)
        which = (client_id, known_id)
        if self._raw.setdefault(which, raw) is raw:
            # Until the turn ends, not until its caller goes away: it needs them for its later steps.
            asked.add_done_callback(lambda _: self._raw.pop(which, None))
        return await self._opened(await asyncio.shield(asked), client_id)

    def _named(self, name: str, inputs: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        circuit = self._circuits.get(name)
        return inputs if circuit is None else named(circuit.definition, inputs)

    async def _command(
        self,
        execution_id: str,
        client_id: str,
        steps: Sequence[tuple[str, Mapping[str, JsonValue]]],
        *,
        is_earlier: bool,
    ) -> RunChain:
        """Return the chain as it may be written: what is not to be kept is not in it."""
        written = []
        for place, (name, inputs) in enumerate(steps, start=1):
            circuit = self._circuits.get(name)
            handling = {} if circuit is None else circuit.definition.fields
            # The same request sent twice has to be the same bytes: what is sealed comes out the same for its place.
            once = f"{execution_id} {place}"
            given, vault = declared_inputs(circuit, inputs), self.fields.vault
            if is_earlier:  # it is compared with what an earlier loom wrote of it
                kept = await protect_as_before(vault, given, handling, subject=client_id, once=once)
            else:
                kept = await self.fields.protect(given, handling, subject=client_id, once=once, names=(execution_id,))
            unwritten = tuple(field for field in kept.changed if handling[field] != "seal")
            gone = {field: inputs[field] for field in unwritten}
            proof = await vault.hashed(client_id, gone, about=once) if gone and vault is not None else None
            written.append(Step(circuit_id=name, inputs=kept.values, unwritten=unwritten, proof=proof))
        try:
            return RunChain(execution_id=execution_id, client_id=client_id, steps=tuple(written))
        except ValidationError as error:
            raise AdmissionError(
                f"this is no chain [{error.errors()[0]['msg']}]; expected 1 to 100 circuits"
            ) from error

    async def _is_of_before(self, client_id: str, execution_id: str) -> bool:
        """Tell whether a chain was recorded by an earlier loom, which wrote protected fields in another way."""
        received = await self._host.store.find_command(f"{CircuitActor.actor_type}/{client_id}", execution_id)
        if received is None or not isinstance(received.entry, CommandReceivedEntry):
            return False
        return is_of_before(RunChain.model_validate(received.entry.payload))

    async def _opened(self, reply: ChainReply, client_id: str) -> ChainReply:
        """Return a reply with what was sealed in it opened for its caller; what is erased says so.

        What was fallen back to came out of another execution, whose caller may have been another: it stays sealed.
        """
        results = []
        for each in reply.results:
            circuit = self._circuits.get(each.circuit_id)
            fell_back = each.substituted and circuit is not None and circuit.definition.failure_mode == _FALLS_BACK
            try:
                said = worded_fields(each.data)
                data = None if fell_back else await self.fields.reveal(said, subject=client_id)
            except ErasedError:
                data = None
            results.append(each.model_copy(update={"data": self.fields.shown(each.data) if data is None else data}))
        return reply.model_copy(update={"results": tuple(results)})

    async def erase(self, client_id: str, *, by: By, reason: str) -> bool:
        """Destroy the key of a client: what was sealed for it can no longer be read by anyone.

        Returns False where it was erased already. A client that is not known is a `StandingError`: a name that is
        spelled wrong must not look like an erasure.
        """
        try:
            return await self._subjects.erase(client_id, by=by, reason=reason)
        except SubjectNotFoundError as error:
            raise StandingError(
                f"client [{client_id:.80}] is not known; expected one that a circuit ran for: nothing was erased"
            ) from error

    async def _ran_for(self, client_id: str) -> bool:
        """Tell whether a circuit ever ran for a client."""
        if not _CLIENT.match(client_id):
            return False
        return (await self._host.store.head(f"{CircuitActor.actor_type}/{client_id}")).sequence > 0

    @property
    def _seals_core(self) -> bool:
        section = self._sealing
        return section is not None and section.core_circuits

    @property
    def _sealing(self) -> SealingConfig | None:
        """The section of the config, where sealing is enabled."""
        section = self._host.config.sections.get("sealing")
        return section if isinstance(section, SealingConfig) and section.enabled else None

    async def succeeded(self, client_id: str, execution_id: str) -> list[str]:
        """Return the circuits that have succeeded for a client under an execution id, in order of their names.

        Also those that succeeded as their failure mode put something in the place of their outputs.
        """
        rows = await self._host.queries.fetch(_SUCCEEDED, (execution_id, client_id), names=("circuits",))
        confirmed = await self._host.queries.confirmed(rows, CONFIRM_EXECUTIONS)
        return sorted({str(row["circuit_id"]) for row in confirmed})

    async def require(self, client_id: str, execution_id: str, circuits: Sequence[str]) -> None:
        """Raise `CircuitDependencyError` unless circuits have succeeded for a client under an id; see `bound_to`."""
        succeeded = await self.succeeded(client_id, execution_id)
        missing = [each for each in circuits if each not in succeeded]
        if missing:
            raise CircuitDependencyError.of(execution_id, missing)

    # --- autonomy -------------------------------------------------------------------------------

    async def add_strategy(
        self, client_id: str, segment: str, strategy_id: str, *, success_rate: float, by: By, active: bool = True
    ) -> None:
        """Make a strategy known that may be rotated to, or take one out of use."""
        who = Identity.of(by)
        command = RegisterStrategy(strategy_id=strategy_id, success_rate=success_rate, active=active, by=who.name)
        await self._strategy(client_id, segment).ask(command, by=who)

    async def count_cycle(
        self,
        client_id: str,
        segment: str,
        *,
        engagement: float,
        conversion: float,
        confidence: float | None = None,
        id: str | None = None,
        by: By | None = None,
    ) -> Counted:
        """Count a cycle: this is where a strategy is rotated, or a person is asked.

        `confidence` is how sure the figures are, as of CX07, whose mode may have put a neutral one in: a correction is
        never surer than the cycles that it rests on.
        """
        command = CountCycle(
            client_id=client_id, segment=segment, engagement=engagement, conversion=conversion, confidence=confidence
        )
        strategy = self._strategy(client_id, segment)
        if id is None:
            known: Counted = await strategy.ask(command, by=by)
            return known
        async with self._requests.begun(StrategyActor, f"{client_id}:{segment}", id, by=by) as send:
            asked: asyncio.Future[Counted] = send(command)
        return await asyncio.shield(asked)

    async def health(self, client_id: str, segment: str) -> tuple[Health, dict[str, Any] | None, dict[str, Any] | None]:
        """Return how a strategy does, its last metrics, and the last correction. Looking changes nothing.

        As long as no cycle came after a correction, the metrics are those that led to it.
        """
        self._strategy(client_id, segment)
        state = await self.view.state(client_id, segment)
        last = await self.view.last_correction(client_id, segment)
        if state is None:
            return Health(reason="No cycle was counted yet"), None, last
        if last is not None and last["is_last"]:
            health = Health(
                needs_correction=True,
                reason=last["reason"],
                confidence=last["confidence"],
                action_type=last["action_type"],
            )
            return health, {**state, **{name: last[name] for name in _FIGURES}}, last
        words = f"Engagement declines for {state['decline_cycles']} cycles" if state["decline_cycles"] else None
        return Health(reason=words or "Strategy performing within baseline"), state, last

    def _strategy(self, client_id: str, segment: str) -> Any:
        _check_client(client_id)
        _check_client(segment, what="segment")
        return self._host.actor(StrategyActor, f"{client_id}:{segment}")

    # --- what the actors use ---------------------------------------------------------------------

    async def _escalate(self, cause: str, reason: str, about: Mapping[str, JsonValue], key: str) -> str:
        return await self.escalations.raise_(cause, reason=reason, about=about, key=derived_id("raised", cause, key))


def _check_client(client_id: str, *, what: str = "client id") -> None:
    if not _CLIENT.match(client_id):
        raise InvalidNameError(
            f"{what} [{client_id!r:.80}] is not a name; expected [letters, digits, _ . @ + -, at most 100]: "
            "choose another"
        )
