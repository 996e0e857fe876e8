"""What the section `publish` of a config means: where views are published, and by what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from loom.background import Background
from loom.config import LoomConfig
from loom.errors import ConfigError
from loom.journal.election import Election
from loom.journal.entry import Entry
from loom.journal.places import NodeFiles, check_installed
from loom.journal.postgres.url import PostgresUrl
from loom.journal.sqlite.files import JournalFiles
from loom.journal.store import Draft, JournalStore
from loom.projections.projection import Projection
from loom.projections.published import published_by
from loom.publishing.config import EVERY, PublishConfig
from loom.publishing.publisher import PUBLISHER, Publisher

__all__ = ["chosen_views", "config_of", "publisher_of", "views_url"]

_VIEWS = "_views"


def config_of(config: LoomConfig) -> PublishConfig:
    """Return what a config says of published views."""
    section = config.sections.get("publish")
    return section if isinstance(section, PublishConfig) else PublishConfig()


def views_url(config: LoomConfig, files: JournalFiles, *, workspace: str) -> PostgresUrl:
    """Return where the views of a workspace are published; raise `ConfigError` where nothing says it."""
    given = config_of(config).url
    if given is not None:
        url = PostgresUrl.parse(given.get_secret_value(), workspace=workspace)
        if "schema=" in given.get_secret_value():
            return url
    elif isinstance(files, NodeFiles):
        url = files.url
    else:
        raise ConfigError(
            "publish.views names views, and there is no database for them; expected [publish.url], as the journal is "
            "in a file: name one, such as [postgresql://user@host/database]"
        )
    return replace(url, schema=PostgresUrl.parse(f"postgresql:///x?schema={url.schema}{_VIEWS}").schema)


def chosen_views(config: LoomConfig, projections: Sequence[Projection]) -> list[Projection]:
    """Return the projections that a config has published; raise `ConfigError` for a name that cannot be."""
    wanted = config_of(config).views
    known = {each.name: each for each in projections if published_by(each)}
    if unknown := sorted({*wanted} - {*known, EVERY}):
        raise ConfigError(
            f"publish.views names [{', '.join(unknown)}]; expected some of [{', '.join(sorted(known))}], or "
            f"[{EVERY}] for all: correct the names"
        )
    return [each for name, each in known.items() if name in wanted or EVERY in wanted]


def publisher_of(
    config: LoomConfig,
    files: JournalFiles,
    store: JournalStore,
    projections: Sequence[Projection],
    *,
    make_draft: Callable[[Entry], Draft],
    background: Background,
) -> Publisher | None:
    """Return what publishes the views that a config names; None where it names none."""
    chosen = chosen_views(config, projections)
    if not chosen:
        return None
    check_installed()
    from loom.publishing.server import PublishedSchema  # what it needs comes with an extra

    wanted, url = config_of(config), views_url(config, files, workspace=store.workspace)
    in_journal = isinstance(files, NodeFiles) and (files.url.dsn, files.url.database) == (url.dsn, url.database)
    writer = (files.url.schema, store.writer) if isinstance(files, NodeFiles) and in_journal else None
    return Publisher(
        store,
        files.published,
        chosen,
        PublishedSchema(url, readers=wanted.readers, writer=writer),
        Election(store, PUBLISHER, make_draft=make_draft),
        every_s=wanted.every_s,
        batch=config.projections.batch,
        background=background,
    )
