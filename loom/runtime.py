"""`Loom`: opens a workspace, composes everything that works on it, and closes it again."""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

from pydantic import JsonValue

from loom.actors import (
    Actor,
    ActorRef,
    ActorSystem,
    Approvals,
    Approver,
    DeadlineClock,
    Services,
    Sources,
    Turns,
    TurnsView,
)
from loom.actors.eligibility import Directory
from loom.actors.forgetting import forget_erased
from loom.background import Background
from loom.blocking import BlockingLoom
from loom.clock import datetime_from_us
from loom.config import LoomConfig
from loom.decisions import ApprovalChains, Runs, Traces
from loom.decisions.alerts import Alerts
from loom.decisions.metrics import Metrics
from loom.decisions.model_costs import ModelCosts
from loom.decisions.outcomes import Outcomes
from loom.drift import Drift
from loom.engine import Engine
from loom.engine.answering import RoutedApprovals, RoutedTurns
from loom.engine.config import cluster_of
from loom.engine.making import MakeEngine, engine_of, sender_of
from loom.engine.receiving import Receiver
from loom.engine.surroundings import Surroundings
from loom.enrichment import Budget, Critic, DecisionTracesConfig, Enricher
from loom.enrichment.elected import ENRICHER, ElectedEnricher
from loom.errors import ConfigError, ControlError, LoomClosedError
from loom.evolution import Suggestions
from loom.extension import ActorFactory, Extension, extensions_of
from loom.history import History
from loom.identity import By, Edge, Identity
from loom.journal.control import ControlServer
from loom.journal.election import Election
from loom.journal.entry import Entry
from loom.journal.following import Follower, followers_of
from loom.journal.sqlite import JournalFiles, WriterLock
from loom.journal.standby import OnActive, open_alone
from loom.journal.store import Draft, JournalStore, draft
from loom.lifecycle import Lifecycle
from loom.lineage import Lineage
from loom.operations import Operations
from loom.people import People, PeopleConfig
from loom.people.oversight import Oversight
from loom.precedents import EquivalenceRegistry, Memory, OpenContradictions, Precedents
from loom.precedents.index import uncount
from loom.precedents.sealed_class import SealedClasses, keep_classes
from loom.precedents.similarity import Embed
from loom.projections import Projection, ProjectionStatus, Projector, Queries, Snapshots, Views
from loom.proof.opening import compare_anchors, journal_lost_heads
from loom.publishing import Publisher, publisher_of
from loom.reactors import Reactors
from loom.replay import Replay
from loom.replay.audit import AuditedPolicies
from loom.replay.sealed import Sights
from loom.schedules import Schedules
from loom.sealing import Openings, SealingConfig, Subjects
from loom.standings import Standings
from loom.telemetry import get_logger
from loom.workspace import (
    Workspace,
    actor_options,
    actors_of,
    critic_of,
    limits,
    locate,
    models_of,
    open_store,
    own_projections,
    redactable,
    similarity_of,
    spend_of,
    tables_of,
)

__all__ = ["Loom"]

A = TypeVar("A", bound=Actor[Any])
P = TypeVar("P")

_log = get_logger("loom.runtime")


class OpenOptions(TypedDict, total=False):
    """The options of `Loom.open`, by name."""

    workspace: str | None
    actors: Sequence[type[Actor[Any]] | ActorFactory[Any]]
    extensions: Sequence[Extension]
    by: By | None
    sources: Sources | None
    approver: Approver | None
    critic: Critic | None
    embed: Embed | None
    directory: Directory | None
    engine: MakeEngine | None
    resume: bool
    accept_loss: By | None
    standby: OnActive | None


class Loom(Lifecycle):
    """A workspace that is open: `async with Loom.open("loom.config.yaml") as loom`.

    Actors get their commands through `actor`; everything else is read through the attributes, which are named for what
    they answer: `approvals`, `traces`, `precedents`, `policies`, `runs`, `turns`, `replay`, `drift`.
    """

    actors: ActorSystem
    approvals: Approvals
    traces: Traces
    history: History
    lineage: Lineage
    precedents: Precedents
    contradictions: OpenContradictions
    queries: Queries
    policies: AuditedPolicies
    outcomes: Outcomes
    people: People
    metrics: Metrics
    costs: ModelCosts
    alerts: Alerts
    memory: Memory
    runs: Runs
    turns: Turns
    reactors: Reactors
    schedules: Schedules
    replay: Replay
    standings: Standings
    subjects: Subjects
    oversight: Oversight
    suggestions: Suggestions
    drift: Drift
    budget: Budget
    enricher: Enricher | None
    """Follows the decisions where a critic was given, or the config names a model."""
    publisher: Publisher | None = None
    """Publishes views in PostgreSQL where the config names some."""
    parts: Mapping[str, Any]
    """What extensions started, by their names."""
    store: JournalStore
    engine: Engine
    """Brings commands to the process where their actor lives."""
    socket: str | None = None
    """The path of the control socket that it listens on; None without one."""

    def __init__(
        self,
        place: Workspace,
        *,
        actors: Sequence[type[Actor[Any]] | ActorFactory[Any]],
        extensions: Sequence[Extension],
        by: By,
        sources: Sources,
        approver: Approver | None,
        resume: bool,
        critic: Critic | None = None,
        embed: Embed | None = None,
        directory: Directory | None = None,
        accept_loss: By | None = None,
        engine: MakeEngine | None = None,
        standby: OnActive | None = None,
    ) -> None:
        super().__init__()
        self._standby = standby
        self._place = place
        self.extensions = tuple({each.name: each for each in (*extensions_of(place.config), *extensions)}.values())
        """The extensions that were passed, and those that the config asks for."""
        self._identity = Identity.of(by)
        self._to_register = [*actors, *(each for extension in self.extensions for each in extension.actors)]
        self._sources = sources
        self._approver = approver
        self._critic = critic
        self._embed = embed
        self._directory = directory
        self._accept_loss = accept_loss
        self._make_engine = engine
        self.resumes = resume
        self.background = Background()
        """Owns what runs in the background, and knows what failed there."""
        self.closing = AsyncExitStack()
        """Left once the actors have ended, while the journal can still be written."""
        self._projector: Projector | None = None

    @classmethod
    def open(
        cls,
        source: str | Path | LoomConfig,
        *,
        workspace: str | None = None,
        actors: Sequence[type[Actor[Any]] | ActorFactory[Any]] = (),
        extensions: Sequence[Extension] = (),
        by: By | None = None,
        sources: Sources | None = None,
        approver: Approver | None = None,
        critic: Critic | None = None,
        embed: Embed | None = None,
        directory: Directory | None = None,
        engine: MakeEngine | None = None,
        resume: bool = True,
        accept_loss: By | None = None,
        standby: OnActive | None = None,
    ) -> Loom:
        """Return a loom to be entered with `async with`, or awaited and closed by hand (`close`).

        A config file, a `LoomConfig` or a store URL says where.

        `by` is the person in whose name policies are registered that come with the code, by default the user of the
        machine. `embed` turns texts into vectors, for `similar_to=`. `directory` says who may answer requests, in place
        of `loom.people`. `resume=False` leaves unfinished turns alone. `accept_loss` is the person who accepts that
        entries are gone which an anchor covers. Raises `JournalLockedError` when entered while another process has the
        workspace open, and `CutError` for a journal that is behind an anchor.
        of `loom.people`. `engine` makes an engine in place of the config's. `resume=False` leaves unfinished turns
        alone. Raises `JournalLockedError` when entered while
        another process has the workspace open.
        of `loom.people`. `resume=False` leaves unfinished turns alone. Raises `JournalLockedError` when entered while
        another process has the workspace open; with `standby`, it waits for the end of that one, and tells who it is.
        """
        return cls(
            locate(source, workspace=workspace),
            actors=actors,
            extensions=extensions,
            by=Identity.of(by if by is not None else getpass.getuser()),
            sources=sources or Sources(),
            approver=approver,
            critic=critic,
            embed=embed,
            directory=directory,
            engine=engine,
            resume=resume,
            accept_loss=accept_loss,
            standby=standby,
        )

    @classmethod
    def open_sync(cls, source: str | Path | LoomConfig, **options: Unpack[OpenOptions]) -> BlockingLoom[Loom]:
        """Return a loom to be entered with `with`, for code that is not asynchronous; options are those of `open`.

        It runs in a thread of its own, and its actors do.
        """
        return BlockingLoom(cls.open(source, **options))

    def __repr__(self) -> str:
        return f"<Loom {self._place.name} at {self._place.files}, {self.life}>"

    # --- using it -------------------------------------------------------------------------------

    def actor(self, cls: type[A], key: str) -> ActorRef[A]:
        """Return the handle of one actor; it wakes with its first command."""
        return ActorRef(self.actors, cls, key)

    def part(self, cls: type[P]) -> P:
        """Return the part of that class that an extension started; raise `ConfigError` where none has."""
        for part in self.parts.values():
            if isinstance(part, cls):
                return part
        raise ConfigError(
            f"no extension of this loom has started a [{cls.__name__}]; expected one that does: name it in "
            "extensions: of the config, or pass it to Loom.open(extensions=…)"
        )

    async def register(self, cls: type[Actor[Any]], factory: Callable[[], Actor[Any]] | None = None) -> None:
        """Make an actor class known before its first command; `factory` makes its instances, with what they need."""
        await self.actors.register(cls, factory)

    @property
    def by(self) -> str:
        """In whose name it was opened."""
        return self._identity.name

    @property
    def workspace(self) -> str:
        """The name of the workspace."""
        return self._place.name

    @property
    def files(self) -> JournalFiles:
        """Where the workspace lies."""
        return self._place.files

    def projections(self) -> tuple[ProjectionStatus, ...]:
        """Return the position of each projection, and which has stopped and why."""
        return self._opened().status()

    async def reached(self, position: int | None = None) -> None:
        """Wait until every projection has reached a position, by default the last acknowledged one."""
        projector = self._opened()
        await projector.reached(await projector.head() if position is None else position)

    async def rebuild(self) -> None:
        """Delete every view and rebuild it from the journal."""
        await self._opened().rebuild()

    async def open_store(self) -> JournalStore:
        """Open the journal store alone, with the settings of this loom, which is not entered meanwhile; close it."""
        return await open_store(self._place, clock=self._sources.clock, accept_loss=self._accept_loss is not None)

    # --- what extensions build on ----------------------------------------------------------------

    @property
    def config(self) -> LoomConfig:
        """What the loom is set to."""
        return self._place.config

    def draft(self, entry: Entry, *, policy_hash: bytes | None = None) -> Draft:
        """Make an entry ready for a journal that is no actor's; raise `AdmissionError` if it cannot be kept."""
        bounds, new_salt = limits(self._place.config), self._sources.new_salt
        kinds = self._place.config.journal.redactable
        return draft(entry, policy_hash=policy_hash, limits=bounds, new_salt=new_salt, redactable=kinds)

    def now(self) -> datetime:
        """Return the time by the loom's clock."""
        return datetime_from_us(self._sources.clock.now_us())

    # --- opening it -----------------------------------------------------------------------------

    async def _open(self) -> None:
        place, config = self._place, self._place.config
        if place.throw_away is not None:
            self._stack.callback(shutil.rmtree, place.throw_away, ignore_errors=True)
        self._stack.push_async_callback(self.background.close)
        await self._open_journal()
        make_draft = self.draft
        await compare_anchors(self.store, place.files, config, accept_loss=self._accept_loss, make_draft=make_draft)
        await journal_lost_heads(self.store, accept_loss=self._accept_loss, make_draft=make_draft)
        await self._stack.enter_async_context(self.closing)
        self.engine = engine_of(
            Surroundings(config, self.store, self._sources.clock, self.background), self._make_engine
        )
        self.policies = AuditedPolicies(self.store, make_draft=make_draft, now=self.store.now)
        await self.policies.load()
        sealing = config.sections.get("sealing")
        self.subjects = await Subjects.open(
            self.store,
            place.files.keys,
            sealing if isinstance(sealing, SealingConfig) else SealingConfig(),
            make_draft=make_draft,
            needs_key=self.resumes,
        )
        self._stack.push_async_callback(self.subjects.close)
        tables = tables_of(config)
        for table in tables:
            await self.policies.ensure(table, by=self.by)
        rules = EquivalenceRegistry(self.store, make_draft=make_draft)
        await rules.load()
        queries, snapshots = await self._open_views(config)
        self.queries = queries
        self.policies.queries = queries
        openings = Openings(self.store, self.subjects, make_draft=make_draft)
        sights = Sights(self.subjects.erasures, openings)
        self.policies.sights = sights
        self.traces = Traces(queries, alike=rules.describe)
        self.lineage = Lineage(queries, alike=rules.describe)
        similarity = similarity_of(config, queries, self._embed)
        self.precedents = Precedents(queries, rules, policies=self.policies, similarity=similarity)
        self.people = self._make_people(config, make_draft)
        await self.people.load()
        services = Services(
            store=self.store,
            policies=self.policies,
            rules=rules,
            precedents=self.precedents,
            snapshots=snapshots,
            options=actor_options(config),
            limits=limits(config),
            redactable=redactable(config),
            sources=self._sources,
            approver=self._approver,
            find_decision=self.traces.known,
            subjects=self.subjects,
            models=models_of(config),
            spend=spend_of(config, self.store, now=self.now, make_draft=make_draft),
            find_directory=self.people.directory,
            ownership=self.engine.ownership,
        )
        self.metrics, self.costs = Metrics(queries), ModelCosts(queries)
        self.alerts = Alerts(
            self.store, self.metrics, config.alerts, now=self.now, make_draft=make_draft, background=self.background
        )
        self.contradictions = OpenContradictions(self.store, self.precedents, make_draft=make_draft)
        self.memory = Memory(queries, similarity=similarity)
        self.outcomes = Outcomes(self.store, self.traces, now=services.now)
        new_id = self._sources.new_id
        who = self._identity
        self.runs = Runs(self.store, queries, self.policies, by=who, make_id=new_id, make_draft=make_draft)
        named = [table.name for table in tables]
        self.actors = ActorSystem(
            services, resumes=self.resumes, by=self.by, configured=named, background=self.background
        )
        self._stack.push_async_callback(self.actors.close)
        for made in [*self._to_register, *actors_of(config.modules)]:
            cls, make = made if isinstance(made, ActorFactory) else (made, None)
            await self.actors.register(cls, make)
        forget_erased(self.actors, self.subjects)
        view, sender = TurnsView(queries), sender_of(self.actors, self.engine, config)
        self.turns = Turns(self.actors, view) if sender is None else RoutedTurns(self.actors, view, sender=sender)
        self.replay = Replay(
            self.store,
            self.actors,
            queries=queries,
            policies=self.policies,
            runs=self.runs,
            sights=sights,
            make_draft=make_draft,
        )
        self.history = History(
            self.store,
            queries,
            self.runs,
            rules,
            self.actors,
            now=self.store.now,
            never=self.files.journal,
            make_draft=partial(
                draft,
                limits=limits(config),
                new_salt=self._sources.new_salt,
                redactable=config.journal.redactable,
            ),
            subjects=self.subjects,
        )
        self.suggestions = Suggestions(self.store, queries, self.policies, self.replay, make_draft=make_draft)
        self.drift = Drift(queries, self.policies, rules, by=who, store=self.store, make_draft=make_draft)
        chains = ApprovalChains(queries, waiting=services.requests.pending)
        self.approvals = (
            Approvals(self.actors, chains, openings)
            if sender is None
            else RoutedApprovals(self.actors, chains, openings, sender=sender)
        )
        self.oversight = Oversight(
            queries,
            self.policies,
            chains,
            self.store,
            by=who,
            find_directory=self.people.directory,
            make_draft=make_draft,
        )
        self.standings = Standings(self.store, make_draft=make_draft)
        await self.standings.load()
        self.reactors = Reactors(self.store, self.actors, make_draft=make_draft, background=self.background)
        await self.reactors.load()
        self._deadlines = DeadlineClock(self.approvals, services, self.background)
        self.actors.start()
        if self.resumes:
            self._deadlines.start()
            self._stack.push_async_callback(self._deadlines.close)
        await self._start_enricher(config, queries, make_draft)
        await self._start_publisher(config, make_draft)
        receiver = Receiver(self, wait_s=cluster_of(config).wait_s)
        self._stack.push_async_callback(self.engine.close)
        await self.engine.serve(receiver)  # parts may ask actors that live elsewhere
        await self._start_parts()
        await self._start_schedules(config, make_draft)
        await self.subjects.carry_out()
        self._follow_others()
        if self.resumes and config.alerts.enabled:
            self.alerts.start()
            self._stack.push_async_callback(self.alerts.close)
        receiver.is_whole = True
        await self._serve()

    async def _open_journal(self) -> None:
        """Open the journal: without an engine as the one process that runs the workspace, once that is possible."""
        if self._make_engine is not None or self.config.engine != "local":
            self.store = await self.open_store()
            self._stack.push_async_callback(self.store.close)
            return
        self.store, election = await open_alone(self.open_store, make_draft=self.draft, waits=self._standby)
        self._stack.push_async_callback(self.store.close)
        self._stack.push_async_callback(election.resign)

    def _follow_others(self) -> None:
        """Fold into the registries what other processes append, where the store is one that they write too."""
        followers = followers_of(self.store)
        if followers is not None:
            follower = Follower(self.store, followers, background=self.background)
            self._stack.push_async_callback(follower.close)
            follower.start()

    def _make_people(self, config: LoomConfig, make_draft: Callable[[Entry], Draft]) -> People:
        section = config.sections.get("people")
        return People(
            self.store,
            now=self.now,
            config=section if isinstance(section, PeopleConfig) else None,
            outside=self._directory,
            make_draft=make_draft,
            changed=lambda: self._deadlines.directory_changed(),
        )

    async def _start_enricher(self, config: LoomConfig, queries: Queries, make_draft: Callable[[Entry], Draft]) -> None:
        traces = config.sections.get("decision_traces")
        wanted = traces if isinstance(traces, DecisionTracesConfig) else DecisionTracesConfig()
        self.budget = Budget(self.store, wanted.budgets, now=self.now, make_draft=make_draft)
        self.enricher = None
        critic = self._critic or critic_of(config)
        if critic is None and wanted.llm_enrichment.mode != "never":
            _log.warning("critic_missing", mode=wanted.llm_enrichment.mode, expected="critic_llm in the config")
        if critic is None:
            return
        make: Callable[..., Enricher] = Enricher
        if self.store.shared:
            make = partial(ElectedEnricher, election=Election(self.store, ENRICHER, make_draft=make_draft))
        self.enricher = make(
            self.store,
            queries,
            critic,
            self.budget,
            wanted.llm_enrichment,
            now=self.now,
            subjects=self.subjects,
            make_draft=make_draft,
            background=self.background,
        )
        self._stack.push_async_callback(self.enricher.close)
        if self.resumes:  # else it asks only on request, and follows no decisions
            await self.enricher.start()
            if not wanted.llm_enrichment.in_background:
                self.actors.services.hold_reply = self.enricher.hold

    async def _start_publisher(self, config: LoomConfig, make_draft: Callable[[Entry], Draft]) -> None:
        if not self.resumes:
            return
        self.publisher = publisher_of(
            config, self.files, self.store, self._projections(), make_draft=make_draft, background=self.background
        )
        if self.publisher is not None:
            self._stack.push_async_callback(self.publisher.close)
            await self.publisher.start()

    async def _start_parts(self) -> None:
        parts: dict[str, Any] = {}
        self.parts = parts
        self._stack.push_async_callback(self.reactors.close)
        for extension in self.extensions:
            for reactor in extension.reactors if self.resumes else ():
                self.reactors.add(reactor)
            if extension.start is not None:
                parts[extension.name] = await self._stack.enter_async_context(extension.start(self))

    async def _start_schedules(self, config: LoomConfig, make_draft: Callable[[Entry], Draft]) -> None:
        self.schedules = Schedules(
            self.store,
            self.actors,
            config.schedules,
            clock=self._sources.clock,
            make_draft=make_draft,
            background=self.background,
        )
        if self.resumes and config.schedules:
            await self.schedules.load()
            self.schedules.start()
            self._stack.push_async_callback(self.schedules.close)

    async def _serve(self) -> None:
        """Take requests of the shell over the control socket; without one, everything else works as before."""
        if self._place.throw_away is not None:
            return
        group = self._place.config.operations.socket_group
        answer = partial(_asked, Operations(self), group)
        control = ControlServer(self._place.files.socket, answer, group=group, background=self.background)
        try:
            listening = await control.start()
        except ControlError as error:
            _log.warning("control_socket_missing", error=str(error))
            return
        self._stack.push_async_callback(control.close)
        started_at = self._sources.clock.now_us()
        self.socket = str(listening)
        if isinstance(lock := getattr(self.store, "lock", None), WriterLock):
            lock.describe(pid=os.getpid(), socket=self.socket, started_at_us=started_at, resumes=self.resumes)

    async def _open_views(self, config: LoomConfig) -> tuple[Queries, Snapshots]:
        views = Views(self._place.files.views)
        self._stack.push_async_callback(views.close)
        vault = self.subjects.vault
        projector = Projector(
            self.store,
            views,
            self._projections(),
            batch=config.projections.batch,
            opener=None if vault is None else SealedClasses(vault),
            background=self.background,
        )
        await projector.start()
        await keep_classes(projector, self.subjects, uncount)
        self._stack.push_async_callback(projector.close)
        self._projector = projector
        return Queries(views, projector, timeout_s=config.projections.query_timeout_s), Snapshots(views)

    def _projections(self) -> list[Projection]:
        return [*own_projections(), *(each for extension in self.extensions for each in extension.projections)]

    def _opened(self) -> Projector:
        if self._projector is None:
            raise LoomClosedError("the loom was not entered; expected [async with Loom.open(…) as loom]: write that")
        return self._projector


async def _asked(
    operations: Operations, group: str | None, name: str, arguments: Mapping[str, JsonValue], uid: int | None
) -> JsonValue:
    """Do what is asked over the control socket; the account counts only where others than the owner may connect."""
    return await operations.call(name, arguments, edge=Edge("socket", None if group is None else uid, uid))
