"""Operations on retention: what is due, adopted by a person, and carried out in that person's name."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from loom.archive import ActorBlocker, Adoption, Archives, Due
from loom.extension import Named
from loom.operations.arguments import Arguments, Nothing

__all__ = [
    "AdoptRetention",
    "RunRetention",
    "WithdrawRetention",
    "adopt_retention",
    "list_due",
    "run_retention",
    "withdraw_retention",
]


class AdoptRetention(Arguments):
    """Who has the retention of the config carried out, and why; `digest` is the setting that they looked at."""

    by: Named
    reason: str
    digest: str | None = None


class WithdrawRetention(Arguments):
    """Who ends that, and why."""

    by: Named
    reason: str


class RunRetention(Arguments):
    """In which directory the archive is made."""

    directory: Path


async def adopt_retention(adoption: Adoption, given: AdoptRetention) -> JsonValue:
    """Adopt the retention that is set, if it is the one that the person looked at."""
    is_new = await adoption.adopt(by=given.by, reason=given.reason, digest=given.digest)
    return {"digest": adoption.digest, "adopted": True, "before": not is_new}


async def withdraw_retention(adoption: Adoption, given: WithdrawRetention) -> JsonValue:
    """Withdraw what was adopted."""
    was_adopted = await adoption.withdraw(by=given.by, reason=given.reason)
    return {"adopted": False, "before": was_adopted}


async def list_due(due: Due, _: Nothing) -> JsonValue:
    """Return what is due, and whether the setting was adopted."""
    await due.adoption.load()
    adopted = due.adoption.adopted
    found: list[JsonValue] = [
        {
            "journal": each.journal,
            "entries": each.entries,
            "last_at": each.last_at.isoformat(),
            "kept_until": each.kept_until.isoformat(),
            "left": each.left,
        }
        for each in await due.listed()
    ]
    return {
        "digest": due.adoption.digest,
        "adopted_by": None if adopted is None else str(adopted.identity),
        "in_force": adopted is not None and adopted.digest == due.adoption.digest,
        "due": found,
        "bodies": {name: len(chosen) for name, chosen in (await due.bodies()).items()},
    }


async def run_retention(due: Due, archives: Archives, blocker: ActorBlocker, given: RunRetention) -> JsonValue:
    """Carry out what is due."""
    done = await due.carry_out(archives, given.directory, blocker=blocker)
    return {
        "file": None if done.file is None else str(done.file),
        "by": str(done.by),
        "journals": list(done.pruned.journals),
        "left": dict(done.pruned.left),
        "bodies": None
        if done.bodies is None
        else {
            "file": None if done.bodies.file is None else str(done.bodies.file),
            "journals": dict(done.bodies.journals),
            "left": dict(done.bodies.left),
        },
    }
