"""A store that hands its calls on by `__getattr__` can what the store behind it can, on every Python.

From Python 3.12 on `isinstance` with a protocol does not see such names: two processes would both take themselves for
the one that was elected, as neither store seemed to hear its writers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loom.errors import JournalReadOnlyError
from loom.identity import Identity
from loom.journal.election import Election, hears_writers
from loom.journal.floor import Floor
from loom.journal.following import Followers
from loom.journal.holders import knows_holders
from loom.journal.sqlite import Reader, SqliteStore
from loom.journal.store import writes
from tests.journal.support import notes
from tests.postgres_server import Place, Server


class HandsOn:
    """A store by delegation, which a type checker cannot take for one."""

    def __init__(self, store: object) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_a_store_on_a_server_is_elected_and_followed(postgres: Server, tmp_path: Path) -> None:
    place = Place(postgres, tmp_path)
    first: Any = HandsOn(await place.open())
    second: Any = HandsOn(await place.open())
    for store in (first, second):
        assert writes(store)
        assert hears_writers(store)
        assert knows_holders(store)

    elections = [Election(each, "critic") for each in (first, second)]
    assert await elections[0].look()
    await elections[1].look()
    assert [each.won for each in elections] == [True, False]

    await first.append(notes("desk/1", 0))
    looked: list[Any] = []

    async def heads(journals: Any) -> dict[str, int]:
        looked.append(set(journals))
        return {}

    first._store.heads = heads
    await Followers(first).catch_up()
    assert looked == [set()], "one look-up for all journals"
    await place.close()


async def test_a_store_on_a_server_has_a_floor_and_a_file_has_none(postgres: Server, tmp_path: Path) -> None:
    place, person = Place(postgres, tmp_path), Identity("dana", "os_user:1000", "shell")
    wrapped: Any = HandsOn(await place.open())
    assert not await Floor(wrapped).raise_to(1, by=person)
    await place.close()
    wrapped = HandsOn(await SqliteStore.open(tmp_path / "journal.db"))
    with pytest.raises(JournalReadOnlyError, match="several processes write"):
        await Floor(wrapped).raise_to(1, by=person)
    await wrapped.close()


def test_a_reader_does_not_write(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "journal.db")
    assert not writes(reader)
    wrapped: Any = HandsOn(reader)
    assert not writes(wrapped)
