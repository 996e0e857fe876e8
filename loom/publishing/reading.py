"""Read how far published views are, with any account that may read them; nothing is made or changed."""

from __future__ import annotations

from loom.journal.places import check_installed
from loom.journal.postgres.url import PostgresUrl
from loom.publishing.state import PublishedState

__all__ = ["STATES", "read_published", "state_of_row"]

STATES = "SELECT name, building, version, shape, position, entry_hash, tables, problem FROM published_views"


async def read_published(url: PostgresUrl) -> list[PublishedState]:
    """Return how far the published views at a place are, by name; an empty list where none was ever published there.

    Raises `ConfigError` or `JournalBusyError` where the server refuses the account, or does not answer.
    """
    check_installed()
    from loom.journal.postgres.connecting import connect, has_table, without_cause  # what they need comes with an extra
    from loom.journal.postgres.faults import explained
    from loom.journal.postgres.options import PostgresOptions

    connection = await connect(url, PostgresOptions(), name="loom views", writing=False)
    try:
        if not await has_table(connection, url.schema, "published_views"):
            return []
        rows = await connection.fetch(f"{STATES} ORDER BY name, building")
    except Exception as error:
        raise explained(error, url, writing=False) from without_cause(error)
    finally:
        connection.terminate()
    return [state_of_row(row) for row in rows]


def state_of_row(row: object) -> PublishedState:
    """Return the state that a row of `published_views` says."""
    found = dict(row)  # type: ignore[call-overload]
    return PublishedState(**{**found, "tables": tuple(found["tables"])})
