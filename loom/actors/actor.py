"""The base class of actors, and its verbs."""

from __future__ import annotations

import asyncio
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any, ClassVar, Generic, Literal, ParamSpec, cast, overload

from pydantic import BaseModel, JsonValue
from typing_extensions import TypeVar

from loom.actors import verbs
from loom.actors.changing_verbs import ChangingVerbs
from loom.actors.command import Command, Handles, Sent
from loom.actors.consent_verbs import ConsentVerbs
from loom.actors.making import ActorFactory
from loom.actors.model_verbs import ModelVerbs
from loom.actors.ports import StateRef
from loom.actors.retrying import Retry
from loom.actors.turn_context import current_turn
from loom.actors.verbs import DecisionDraft
from loom.actors.waiting_verbs import WaitingVerbs
from loom.decisions.decision import Alternative, ApprovalGiven, DecisionInput, PrecedentReference
from loom.decisions.entries import PrecedentFound
from loom.errors import InvalidNameError
from loom.identity import Identity, actor_type_of
from loom.journal.entry import Entry
from loom.policies.contract import AnyPolicy
from loom.policies.evaluation import Evaluation
from loom.precedents.equivalence import EquivalenceRule

__all__ = ["Actor"]

State = TypeVar("State", default=None)
T = TypeVar("T")
C = TypeVar("C")
R = TypeVar("R")
P = ParamSpec("P")
A = TypeVar("A", bound="Actor[Any]")


class Actor(ConsentVerbs, ModelVerbs, ChangingVerbs, WaitingVerbs, Generic[State]):
    """An agent that makes decisions and records the reasons for them.
    1. Subclass it, `class DiscountAgent(Actor[DiscountState])`, and write `async def execute(self, command)`.
    2. In `execute`, use the verbs below to look things up, to ask for approval and to decide. They journal what they
       do. A turn that was interrupted continues from there, and does nothing twice.
    3. Set a `policy` that judges its facts, an `equivalence` that finds precedents, and, where it needs a state,
       `apply(entry)` to fold its journal into `self.state`.

    All of this is optional. `execute` runs for one command at a time; while it waits for an approval, others may run.
    """

    actor_type: ClassVar[str] = ""
    """The first half of the journal's name; by default the class name, `DiscountAgent` as `discount-agent`."""

    policy: ClassVar[AnyPolicy | str | None] = None
    """The rule that `evaluate` applies, or the name of a policy from the config or the registry.

    The adopted version of it is pinned when a command is received."""

    equivalence: ClassVar[EquivalenceRule | None] = None
    """The rule that says which cases of this actor are alike: `find_precedents` uses it."""

    state_version: ClassVar[int] = 1
    """Raise it when the shape of the state or the behaviour of `apply` changes: older snapshots are then ignored."""

    key: str
    """The second half of the journal's name: which one of its type this actor is."""

    _state_ref: StateRef

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "actor_type" not in cls.__dict__:
            cls.actor_type = actor_type_of(cls.__name__)

    @classmethod
    def using(cls: Callable[P, A], *args: P.args, **kwargs: P.kwargs) -> ActorFactory[A]:
        """Return the class with what its constructor takes: `Loom.open(…, actors=[Incident.using(http=client)])`.

        Each actor that is woken is made with the same arguments.
        """
        return ActorFactory(cast("type[A]", cls), partial(cls, *args, **kwargs))

    # --- what a subclass writes -----------------------------------------------------------------

    async def execute(self, command: Any) -> Any:
        """Handle one command and return its reply. An exception fails the turn; its entries remain."""
        raise NotImplementedError(f"{type(self).__name__} has no execute")

    def apply(self, entry: Entry) -> None:
        """Fold one entry of the journal into `self.state`. It must not fail, read a clock or do I/O (law 7)."""

    def initial_state(self) -> State:
        """Return the state before the first entry: by default the state class called without arguments."""
        cls = state_type(type(self))
        return cast("State", None if cls is None else cls())

    @classmethod
    def upcast_state(cls, version: int, state: JsonValue) -> JsonValue:
        """Return a state of `state_version` as JSON in the shape of `version + 1`.

        An actor starts from a checkpoint of its state where bodies of its journal were pruned: its entries cannot be
        folded again, so a state of an older version has to be converted. By default it cannot be read.
        """
        raise NotImplementedError(f"{cls.__name__} has no step from state_version {version}: override upcast_state")

    def context(self) -> Mapping[str, JsonValue]:
        """Return the context by which decisions are searched: tenant, environment, …"""
        return {}

    @property
    def state(self) -> State:
        """The state that the journal folds to, up to the last entry of this turn."""
        state: State = self._state_ref.state
        return state

    @state.setter
    def state(self, state: State) -> None:
        self._state_ref.state = state

    @property
    def requester(self) -> Identity | None:
        """Who sent the current command, and the source of the name; None where no sender was named."""
        return current_turn(self, "requester").received.identity

    # --- looking things up ----------------------------------------------------------------------

    @overload
    async def gather_context(
        self,
        *,
        system: str,
        entity: str,
        query: str,
        fetcher: Callable[[], Awaitable[Any] | Any],
        relevance: str | None = None,
        returns: type[T],
        timeout_s: float | None = None,
        key: str | None = None,
        protect: Mapping[str, str] | None = None,
        subject: str | None = None,
        retry: Retry | None = None,
    ) -> T: ...

    @overload
    async def gather_context(
        self,
        *,
        system: str,
        entity: str,
        query: str,
        fetcher: Callable[[], Awaitable[Any] | Any],
        relevance: str | None = None,
        returns: None = None,
        timeout_s: float | None = None,
        key: str | None = None,
        protect: Mapping[str, str] | None = None,
        subject: str | None = None,
        retry: Retry | None = None,
    ) -> Any: ...

    async def gather_context(
        self,
        *,
        system: str,
        entity: str,
        query: str,
        fetcher: Callable[[], Awaitable[Any] | Any],
        relevance: str | None = None,
        returns: Any = None,
        timeout_s: float | None = None,
        key: str | None = None,
        protect: Mapping[str, str] | None = None,
        subject: str | None = None,
        retry: Retry | None = None,
    ) -> Any:
        """Look something up, journal what came back and how long it took, and return it.

        The value is read back from its JSON, as a `returns` if given. If the fetcher raises, takes longer than
        `timeout_s` (by default the config's) or returns a value that is not JSON, a `LookupFailedError` is raised, live
        and resumed.

        `protect` says by path what of the result is sealed, hashed, masked or dropped before it is journaled, as
        `{"email": "seal", "contacts.*.phone": "mask"}`; `$result` is all of it, and `$query` the query. Declared fields
        of `returns` say the same. It is the data of `subject`, by default the subject that the command names. `retry`
        says how often and when a fetcher that raised is called again, `timeout_s` for each attempt.
        """
        return await verbs.gather_context(
            current_turn(self, "gather_context"),
            system=system,
            entity=entity,
            query=query,
            fetcher=fetcher,
            relevance=relevance,
            returns=returns,
            timeout_s=timeout_s,
            key=key,
            protect=protect,
            subject=subject,
            retry=retry,
        )

    def evaluate(self, facts: BaseModel | Mapping[str, object]) -> Evaluation:
        """Evaluate facts by the policy version pinned for this turn; the facts and the evaluation are journaled."""
        return verbs.evaluate(current_turn(self, "evaluate"), facts)

    @property
    def parameters(self) -> Mapping[str, object]:
        """The parameters of the policy version pinned for this turn, as JSON values."""
        return verbs.parameters(current_turn(self, "parameters"))

    async def find_precedents(
        self,
        facts: BaseModel | Mapping[str, object] | None = None,
        *,
        facets: Mapping[str, JsonValue] | None = None,
        text: str | None = None,
        similar_to: str | None = None,
        min_similarity: float | None = None,
        limit: int = 5,
        key: str | None = None,
    ) -> tuple[PrecedentFound, ...]:
        """Return earlier decisions, newest first, and journal which were seen.

        By `facts`: those in the same situation under the actor's `equivalence`. By `facets`: exact facts or context.
        By `text`: words of rationale and reasoning. All criteria that are given must match. `similar_to` suggests,
        among these matches, the decisions whose rationale is nearest to a text, and none below `min_similarity` (a
        cosine). They are labelled as suggestions, and become precedents of a decision only if it names them.
        """
        return await verbs.find_precedents(
            current_turn(self, "find_precedents"),
            facts=facts,
            facets=facets,
            text=text,
            similar_to=similar_to,
            min_similarity=min_similarity,
            limit=limit,
            key=key,
        )

    # --- the decision ----------------------------------------------------------------------------

    async def record_decision(
        self,
        *,
        rationale: str,
        outcome: BaseModel | Mapping[str, object] | None = None,
        decision_type: str | None = None,
        reasoning: Sequence[str] = (),
        alternatives: Sequence[Alternative | Mapping[str, str]] = (),
        rationale_author: Literal["developer", "model", "human"] = "developer",
        is_exception: bool | None = None,
        exception_reason: str | None = None,
        confidence: float | None = None,
        context: Mapping[str, object] | None = None,
        parent: str | None = None,
        inputs: Sequence[DecisionInput | object] | None = None,
        facts: BaseModel | Mapping[str, object] | None = None,
        evaluation: Evaluation | None = None,
        precedents: Sequence[PrecedentReference | str] | None = None,
        approvals: Sequence[ApprovalGiven] | None = None,
        policy: str | None = None,
        enrich: Literal["always", "never"] | None = None,
        protect: Mapping[str, str] | None = None,
    ) -> str:
        """Journal a decision and return its id.

        Look-ups, precedents, approvals, facts, evaluation and policy version of the turn are attached by default. Each
        can be given instead: `inputs` also as the results themselves, which are marked as handed in unless a look-up of
        the turn returned them; `precedents` also by id or by the beginning of an id. A blank rationale or a policy
        version that is not registered is refused. `enrich` says whether a critic reviews it, and overrides the modes,
        but not the budget. `protect` says by path what of the outcome is sealed, hashed, masked or dropped, as declared
        fields of an outcome model do.
        """
        draft = DecisionDraft(
            rationale=rationale,
            outcome=outcome,
            protect=protect,
            decision_type=decision_type,
            reasoning=reasoning,
            alternatives=alternatives,
            rationale_author=rationale_author,
            is_exception=is_exception,
            exception_reason=exception_reason,
            confidence=confidence,
            context=context,
            parent=parent,
            inputs=inputs,
            facts=facts,
            evaluation=evaluation,
            precedents=precedents,
            approvals=approvals,
            policy=policy,
            enrich=enrich,
        )
        return await verbs.record_decision(current_turn(self, "record_decision"), draft)

    async def record(self, entry: Entry, *, key: str | None = None) -> None:
        """Journal an entry of your own class: `apply` and projections read it.

        Where concurrent branches record entries of one kind and wait for anything but verbs, give each entry a `key` of
        its own: otherwise a resumed turn cannot match the entries to the branches.
        """
        await verbs.record(current_turn(self, "record"), entry, key=key)

    # --- the world outside ----------------------------------------------------------------------

    @overload
    async def perform(
        self,
        *,
        action: str,
        effect: Callable[[str], Awaitable[Any] | Any],
        key: str,
        repeatable: bool = True,
        arguments: Mapping[str, object] | None = None,
        under: ApprovalGiven | None = None,
        returns: type[T],
        retry: Retry | None = None,
    ) -> T: ...

    @overload
    async def perform(
        self,
        *,
        action: str,
        effect: Callable[[str], Awaitable[Any] | Any],
        key: str,
        repeatable: bool = True,
        arguments: Mapping[str, object] | None = None,
        under: ApprovalGiven | None = None,
        returns: None = None,
        retry: Retry | None = None,
    ) -> Any: ...

    async def perform(
        self,
        *,
        action: str,
        effect: Callable[[str], Awaitable[Any] | Any],
        key: str,
        repeatable: bool = True,
        arguments: Mapping[str, object] | None = None,
        under: ApprovalGiven | None = None,
        returns: Any = None,
        retry: Retry | None = None,
    ) -> Any:
        """Perform an effect outside: the intent is durable before it, and the result is journaled after it.

        It happens at least once, each time with the same `key`, which `effect` gets so that the other side can
        recognise a repetition. With `repeatable=False` a turn that was interrupted in between waits for a person.

        `arguments` are journaled with the intent. `under` is the approval for it: other arguments than those that were
        approved are an `ApprovalMismatchError`, and nothing is done. One approval covers one effect.
        `retry` says how often and when an effect that raised is performed again, with the same key.
        """
        return await verbs.perform(
            current_turn(self, "perform"),
            action=action,
            effect=effect,
            key=key,
            repeatable=repeatable,
            returns=returns,
            arguments=arguments,
            under=under,
            retry=retry,
        )

    async def ask(
        self,
        actor: type[Handles[C]],
        actor_key: str,
        command: Sent[C, R],
        *,
        timeout_s: float | None = None,
        key: str | None = None,
    ) -> R:
        """Send another actor a command and return its reply; a circle of waiting actors is refused."""
        cls, sent = cast("type[Actor[Any]]", actor), cast("Command[R]", command)
        reply: R = await verbs.ask(current_turn(self, "ask"), cls, actor_key, sent, timeout_s=timeout_s, key=key)
        return reply

    async def tell(
        self,
        actor: type[Handles[C]],
        actor_key: str,
        command: Sent[C, Any],
        *,
        at: datetime | None = None,
        key: str | None = None,
    ) -> None:
        """Send another actor a command, whose turn begins now or `at` a time, and return once it is durable there."""
        cls, sent = cast("type[Actor[Any]]", actor), cast("Command[Any]", command)
        await verbs.tell(current_turn(self, "tell"), cls, actor_key, sent, at=at, key=key)

    async def now(self, *, key: str | None = None) -> datetime:
        """Return the time (UTC), the same again when the turn is resumed."""
        return await verbs.now(current_turn(self, "now"), key=key)

    async def new_id(self, *, key: str | None = None) -> str:
        """Return a new unique id, the same again when the turn is resumed."""
        return await verbs.new_id(current_turn(self, "new_id"), key=key)

    async def random(self, *, key: str | None = None) -> float:
        """Return a random number in [0, 1), the same again when the turn is resumed."""
        return await verbs.random(current_turn(self, "random"), key=key)


def state_type(cls: type[Actor[Any]]) -> Any:
    """Return the `S` of `Actor[S]` for a subclass, None for a plain `Actor`."""
    return _state_type(cast("Hashable", cls))


def commands_of(cls: type[Actor[Any]]) -> tuple[type[Command[Any]], ...]:
    """Return the command classes that `execute` declares; none where it has no annotation for them."""
    return _commands_of(cast("Hashable", cls))


@cache
def _state_type(cls: Any) -> Any:
    for base in cls.__mro__:
        for generic in getattr(base, "__orig_bases__", ()):
            if typing.get_origin(generic) is Actor:
                argument = typing.get_args(generic)[0]
                return None if isinstance(argument, TypeVar) or argument in (None, type(None)) else argument
    return None


@cache
def _commands_of(cls: Any) -> tuple[type[Command[Any]], ...]:
    try:
        hint = typing.get_type_hints(cls.execute).get("command", Any)
    except (NameError, TypeError):
        return ()
    arms = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return tuple(arm for arm in arms if inspect.isclass(arm) and issubclass(arm, Command) and arm is not Command)


def check_actor_class(cls: type[Actor[Any]]) -> None:
    """Refuse a class that cannot be an actor, before its first command."""
    if not asyncio.iscoroutinefunction(cls.execute) or cls.execute is Actor.execute:
        raise InvalidNameError(f"actor [{cls.__name__}] has no [async def execute(self, command)]: write one")


def folds(cls: type[Actor[Any]]) -> bool:
    """Tell whether a class folds entries into a state at all."""
    return cls.apply is not Actor.apply
