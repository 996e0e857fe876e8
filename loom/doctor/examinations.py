"""Examinations of looms that are served: the journal verified in full, and the checks that a running loom can be given.

One runs at a time for a workspace, in a thread, and its result is kept until the server ends.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime

from loom.doctor.keeping import check_keeping
from loom.doctor.machine import check_journal, check_machine, check_place
from loom.doctor.server import check_server_journal
from loom.extension import Check
from loom.identity import Identity
from loom.journal.findings import Verification
from loom.journal.places import NodeFiles
from loom.journal.verifying import verify_journal
from loom.runtime import Loom

__all__ = ["Examination", "Examinations"]


@dataclass(frozen=True, slots=True)
class Examination:
    """One examination: `verification` and `checks` come at its end, `problem` where it could not be done."""

    began_at: datetime
    by: Identity
    ended_at: datetime | None = None
    verification: Verification | None = None
    checks: tuple[Check, ...] = ()
    problem: str | None = None


class Examinations:
    """The last examination of each workspace."""

    def __init__(self) -> None:
        self._last: dict[str, Examination] = {}

    def last(self, workspace: str) -> Examination | None:
        """Return the last examination of a workspace, which may still run; None where there was none."""
        return self._last.get(workspace)

    def begin(self, loom: Loom, *, by: Identity) -> bool:
        """Begin one in the background; False where one runs already."""
        last = self._last.get(loom.workspace)
        if last is not None and last.ended_at is None:
            return False
        begun = Examination(loom.now(), by)
        self._last[loom.workspace] = begun
        loom.background.start(self._examine(loom, begun), name="loom-examination")
        return True

    async def _examine(self, loom: Loom, begun: Examination) -> None:
        done = replace(begun, problem="it was cut short; begin it again")
        try:
            checks = await asyncio.to_thread(_checked, loom)
            if isinstance(loom.files, NodeFiles):
                checks += tuple([check async for check in check_server_journal(loom.files)])
            verification = await verify_journal(loom.files, workspace=loom.workspace)
            done = replace(begun, verification=verification, checks=checks)
        except Exception as error:  # whatever a damaged disk makes of it is what there is to say
            done = replace(begun, problem=f"{type(error).__name__}: {error}")
        finally:
            self._last[loom.workspace] = replace(done, ended_at=loom.now())


def _checked(loom: Loom) -> tuple[Check, ...]:
    checks = [*check_machine(), *check_keeping(loom.config)]
    for extension in loom.extensions:
        checks += () if extension.checks is None else extension.checks(loom.config)
    checks += check_place(loom.files, loom.config)
    if not isinstance(loom.files, NodeFiles):
        checks += check_journal(loom.files, loom.config, workspace=loom.workspace)
    return tuple(checks)
