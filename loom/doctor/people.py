"""Who may answer requests for approval, as `loom doctor` shows it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from loom.errors import LoomError
from loom.extension import Check
from loom.journal.places import reader_of
from loom.people import People, PeopleConfig
from loom.workspace import Workspace

__all__ = ["check_people"]

_ABOUT = "people"


async def check_people(place: Workspace) -> AsyncIterator[Check]:
    """Say whether a directory says who may answer, and whether claimed names count."""
    section = place.config.sections.get("people")
    config = section if isinstance(section, PeopleConfig) else PeopleConfig()
    try:
        reader = reader_of(place.files)
        try:
            people = People(reader, now=lambda: datetime.now(UTC), config=config)
            await people.load()
        finally:
            await reader.close()
    except LoomError as error:
        yield Check("look", _ABOUT, f"the directory cannot be read: {error}")
        return
    present = [each for each in people.all() if not each.has_left]
    if people.kept_in is None:
        yield Check(
            "look",
            _ABOUT,
            "no directory: any name may answer a request, and no two answers can be asked for",
            "begin one with `loom people add NAME --role ROLE --by YOU`, unless code brings one of its own",
        )
        return
    roles = sorted({role for each in present for role in each.roles})
    yield Check("ok", _ABOUT, f"{len(present)} persons, {len(roles)} roles, in the {people.kept_in}: {people.version}")
    if config.accept_claims:
        yield Check(
            "look",
            _ABOUT,
            "claimed names count as the persons of the directory",
            "set people: {accept_claims: false} once everyone has a key, an invitation or single sign-on",
        )
