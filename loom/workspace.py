"""Where a workspace lies, and what its config means for the parts that work on it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from loom.actors import Actor, ActorOptions, TurnsProjection
from loom.clock import Clock
from loom.config import LoomConfig, Section, load_config, named_in
from loom.decisions import (
    ApprovalsProjection,
    EffectsProjection,
    EnrichmentsProjection,
    ModelCallsProjection,
    RunsProjection,
    TracesProjection,
    WaitsProjection,
)
from loom.engine.config import ClusterConfig, RestateConfig, cluster_of
from loom.enrichment.config import CriticLlmConfig, DecisionTracesConfig
from loom.enrichment.critic import Critic, DeferredCritic
from loom.errors import ConfigError, PolicyTableError
from loom.extension import installed
from loom.identity import check_workspace
from loom.journal.admission import Limits
from loom.journal.entry import KINDS, Entry
from loom.journal.places import NodeFiles, check_installed
from loom.journal.postgres.options import PostgresOptions
from loom.journal.postgres.url import PostgresUrl, is_postgres, without_password
from loom.journal.sqlite import JournalFiles, SqliteOptions, SqliteStore, WriterOptions
from loom.journal.store import Draft, JournalReader, JournalStore, draft
from loom.monitors import MonitorsProjection
from loom.people.config import PeopleConfig
from loom.policies.tables import Table, load_table
from loom.precedents import PrecedentsProjection
from loom.precedents.similarity import Embed, Similarity, SimilarityConfig
from loom.projections import Projection, Queries
from loom.publishing.config import PublishConfig
from loom.sealing import SealingConfig
from loom.spend.config import ModelsConfig, SpendConfig
from loom.spend.models import ModelSpend

__all__ = [
    "Workspace",
    "actor_options",
    "actors_of",
    "critic_of",
    "limits",
    "locate",
    "models_of",
    "open_store",
    "own_projections",
    "postgres_options",
    "redactable",
    "sections",
    "similarity_of",
    "spend_of",
    "store_options",
    "tables_of",
]

_URL = "sqlite://"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a workspace lies and how it is set up."""

    files: JournalFiles
    name: str
    config: LoomConfig = field(default_factory=LoomConfig)
    throw_away: Path | None = None


def locate(source: str | Path | LoomConfig, *, workspace: str | None = None) -> Workspace:
    """Return the workspace that a config file, a `LoomConfig` or a store URL names; nothing is opened.

    `sqlite:///path/to/journal.db` is that file, relative to the working directory (four slashes for an absolute path),
    `sqlite:///path/to/directory` the workspace's own directory in it, and `sqlite://` a temporary one that is gone
    when it is closed. `postgresql://user@host/database?workspace=name` is a workspace on a server; this
    process keeps its own files in `loom-data`. A config has the URL at `journal.url`, and its own files at `data`.
    """
    if is_postgres(source):
        url = PostgresUrl.parse(str(source), workspace=workspace)
        return Workspace(NodeFiles(LoomConfig().data / url.workspace, url), url.workspace)
    if isinstance(source, str) and source.startswith(_URL):
        name = check_workspace(workspace or "default")
        path = source.removeprefix(_URL)
        if not path:
            directory = Path(tempfile.mkdtemp(prefix="loom-"))
            return Workspace(JournalFiles(directory / "journal.db"), name, throw_away=directory)
        if not path.startswith("/"):
            raise ConfigError(
                f"store URL [{source}] names a host; expected [sqlite:///relative/path or sqlite:////absolute/path]: "
                "add a slash"
            )
        file = Path(path[1:])
        return Workspace(JournalFiles(file if file.suffix == ".db" else file / name / "journal.db"), name)
    if isinstance(source, str) and "://" in source:
        raise ConfigError(
            f"store URL [{without_password(source)}] is of a kind loom does not know; expected [sqlite:///path] or "
            "[postgresql://host/database]: use one of these"
        )
    config = source if isinstance(source, LoomConfig) else load_config(Path(source), sections=sections())
    if config.journal.url is not None:
        named = workspace or (config.workspace if "workspace" in config.model_fields_set else None)
        url = PostgresUrl.parse(config.journal.url.get_secret_value(), workspace=named)
        return Workspace(NodeFiles(config.data / url.workspace, url), url.workspace, config)
    name = check_workspace(workspace or config.workspace)
    return Workspace(JournalFiles(config.data / name / "journal.db"), name, config)


async def open_store(place: Workspace, *, clock: Clock, accept_loss: bool = False) -> JournalStore:
    """Open the journal of a workspace for writing, in its file or on its server."""
    files = place.files
    if not isinstance(files, NodeFiles):
        return await SqliteStore.open(
            files.journal, workspace=place.name, options=store_options(place.config), clock=clock
        )
    check_installed()
    from loom.journal.postgres.store import PostgresStore  # what it needs comes with an extra

    options, cluster = postgres_options(place.config), cluster_of(place.config)
    return await PostgresStore.open(
        files.url,
        files,
        options=options,
        clock=clock,
        name=cluster.node or None,
        address=cluster.nodes.get(cluster.node),
        accept_loss=accept_loss,
    )


def own_projections() -> list[Projection]:
    """Return the projections that every loom has."""
    return [
        TurnsProjection(),
        ApprovalsProjection(),
        EffectsProjection(),
        ModelCallsProjection(),
        WaitsProjection(),
        TracesProjection(),
        EnrichmentsProjection(),
        RunsProjection(),
        PrecedentsProjection(),
        MonitorsProjection(),
    ]


def limits(config: LoomConfig) -> Limits:
    """Return how large a body may be."""
    return Limits(
        max_bytes=config.journal.max_entry_bytes,
        max_depth=config.journal.max_depth,
        max_nodes=config.journal.max_nodes,
    )


def redactable(config: LoomConfig) -> frozenset[str]:
    """Return the kinds of which proofs may leave out fields; raise `ConfigError` for one that there is not."""
    named = frozenset(config.journal.redactable)
    if unknown := sorted(each for each in named if KINDS.get(each) is None):
        raise ConfigError(
            f"journal.redactable names the kinds {unknown}, which no entry has; expected kinds of loom, modules or "
            "extensions: see `loom journal`"
        )
    return named


def store_options(config: LoomConfig) -> SqliteOptions:
    """Return the settings of the store."""
    journal = config.journal
    return SqliteOptions(
        writer=WriterOptions(
            durability=journal.durability,
            busy_timeout_s=journal.busy_timeout_s,
            checkpoint_pages=journal.checkpoint_pages,
            head_every=journal.head_every,
            min_free_bytes=journal.min_free_bytes,
        ),
        max_pending_entries=journal.max_pending_entries,
        max_batch_entries=journal.max_batch,
        allow_unsupported_filesystem=journal.allow_unsupported_filesystem,
    )


def postgres_options(config: LoomConfig) -> PostgresOptions:
    """Return the settings of the store on a server."""
    journal = config.journal
    return PostgresOptions(
        max_pending_entries=journal.max_pending_entries,
        max_batch_entries=journal.max_batch,
        lock_timeout_s=journal.busy_timeout_s,
        head_every=journal.head_every,
    )


def actor_options(config: LoomConfig) -> ActorOptions:
    """Return the settings of the actors."""
    return ActorOptions(**dict(config.actors))


def models_of(config: LoomConfig) -> ModelsConfig:
    """Return the bounds of calls of models, and what is kept of them."""
    section = config.sections.get("models")
    return section if isinstance(section, ModelsConfig) else ModelsConfig()


def spend_of(
    config: LoomConfig,
    store: JournalReader,
    *,
    now: Callable[[], datetime],
    make_draft: Callable[[Entry], Draft] = draft,
) -> ModelSpend:
    """Return the budget of calls of models."""
    section = config.sections.get("budgets")
    wanted = section if isinstance(section, SpendConfig) else SpendConfig()
    return ModelSpend(store, wanted.models, now=now, make_draft=make_draft)


def sections() -> dict[str, type[Section]]:
    """Return the sections of the config that are not the core's: enrichment, similarity, and installed extensions."""
    brought = {name: section for each in installed().values() for name, section in each.sections.items()}
    own: dict[str, type[Section]] = {
        "decision_traces": DecisionTracesConfig,
        "critic_llm": CriticLlmConfig,
        "budgets": SpendConfig,
        "models": ModelsConfig,
        "similarity": SimilarityConfig,
        "sealing": SealingConfig,
        "people": PeopleConfig,
        "publish": PublishConfig,
        "cluster": ClusterConfig,
        "restate": RestateConfig,
    }
    return {**brought, **own}


def similarity_of(config: LoomConfig, queries: Queries, embed: Embed | None = None) -> Similarity | None:
    """Return what suggests decisions by their words, with a function that is given or the config's; None without."""
    section = config.sections.get("similarity")
    if embed is None and isinstance(section, SimilarityConfig):
        embed = section.function()
    return None if embed is None else Similarity(queries, embed)


def critic_of(config: LoomConfig) -> Critic | None:
    """Return the critic that a config names, none where it names no model.

    Where the mode is `never` it is made when a decision asks for it, so that nothing has to be there until then.
    """
    traces, llm = config.sections.get("decision_traces"), config.sections.get("critic_llm")
    if not isinstance(traces, DecisionTracesConfig) or not isinstance(llm, CriticLlmConfig):
        return None
    if not llm.model_fields_set:
        return None

    def make() -> Critic:
        from loom.enrichment.llm import LlmCritic  # what it needs comes with an extra

        return LlmCritic(traces.llm_enrichment.critic, llm)

    return DeferredCritic(make) if traces.llm_enrichment.mode == "never" else make()


def tables_of(config: LoomConfig) -> list[Table]:
    """Return the tables that a config brings; raise `ConfigError` for what is none, and for one name twice."""
    tables: dict[str, Table] = {}
    for number, written in enumerate(config.policies):
        try:
            table = load_table(written) if isinstance(written, str) else Table.of(written)
        except PolicyTableError as error:
            file = f" in file [{written}]" if isinstance(written, str) and written not in str(error) else ""
            raise ConfigError(f"key [policies.{number}] has no valid table{file}: {error}") from error
        if table.name in tables:
            raise ConfigError(
                f"key [policies.{number}] is another table of the name [{table.name}]; expected one of each name: "
                "rename or remove it"
            )
        tables[table.name] = table
    return list(tables.values())


def actors_of(modules: Sequence[str]) -> list[type[Actor[Any]]]:
    """Import what a config lists; `package.module` brings all actors defined there, `package.module:Class` one."""
    return [
        value
        for home, value in named_in(modules)
        if isinstance(value, type) and issubclass(value, Actor) and value.__module__ == home
    ]
