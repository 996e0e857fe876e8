"""Check the published views: whether they are there, how far they are behind, and what keeps them from going on."""

from __future__ import annotations

from collections.abc import AsyncIterator

from loom.errors import LoomError
from loom.extension import Check, extensions_of
from loom.journal.places import reader_of
from loom.publishing.making import chosen_views, views_url
from loom.publishing.reading import read_published
from loom.workspace import Workspace, own_projections

__all__ = ["check_published"]


async def check_published(place: Workspace) -> AsyncIterator[Check]:
    """Look at the views that the config has published; it says nothing where there are none."""
    brought = [projection for each in extensions_of(place.config) for projection in each.projections]
    reader = reader_of(place.files)
    try:
        chosen = {each.name for each in chosen_views(place.config, [*own_projections(), *brought])}
        if not chosen:
            return
        url = views_url(place.config, place.files, workspace=place.name)
        found, tail = await read_published(url), await reader.tail()
    except LoomError as error:
        yield Check("bad", "published views", str(error), "nothing is published until then")
        return
    finally:
        await reader.close()
    readable = {each.name: each for each in found if not each.building}
    for each in found:
        if each.problem and each.name in chosen:
            yield Check("bad", "published views", f"{each.name}: {each.problem}", "see `loom docs postgres`")
    if missing := sorted(chosen - readable.keys()):
        yield Check("look", "published views", f"not filled yet: {', '.join(missing)}", "a loom that runs fills them")
    elif chosen:
        behind = max(0, *(tail - readable[name].position for name in chosen))
        yield Check("ok", "published views", f"{len(chosen)} in {url.schema}, at most {behind} entries behind")
