"""All checks of a workspace, in the order in which each needs those before it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from loom.doctor.keeping import check_keeping
from loom.doctor.machine import check_journal, check_place
from loom.doctor.opening import check_opening
from loom.doctor.people import check_people
from loom.doctor.publishing import check_published
from loom.doctor.running import check_running, check_views
from loom.doctor.server import check_elected, check_server_journal
from loom.extension import Check, installed
from loom.journal.places import NodeFiles
from loom.workspace import Workspace

__all__ = ["examine"]


async def examine(place: Workspace) -> AsyncIterator[Check]:
    """Look at the config of a workspace, its place, whether a loom starts, its journal, who runs on it, its views.

    The modules of the config are imported. Not every entry is read: verifying does that.
    """
    for check in check_keeping(place.config):
        yield check
    for extension in installed().values():
        for check in () if extension.checks is None else extension.checks(place.config):
            yield check
    for check in check_place(place.files, place.config):
        yield check
    async for check in check_opening(place):
        yield check
    sound = True
    async for check in _of_journal(place):
        sound = sound and check.mark != "bad"
        yield check
    async for check in check_running(place.files):
        yield check
    if isinstance(place.files, NodeFiles):
        async for check in check_elected(place.files):
            yield check
    if sound and place.files.exists():
        async for check in check_people(place):
            yield check
        async for check in check_views(place):
            yield check
        async for check in check_published(place):
            yield check


async def _of_journal(place: Workspace) -> AsyncIterator[Check]:
    if isinstance(place.files, NodeFiles):
        async for check in check_server_journal(place.files):
            yield check
        return
    for check in check_journal(place.files, place.config, workspace=place.name):
        yield check
