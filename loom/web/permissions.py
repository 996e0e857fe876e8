"""Who may send which command over HTTP: the policy `web.permissions`, and the refusals that are journaled.

The policy is a table like any other: a person registers another version of it, another person adopts it, and from then
on it says who may send what. A refusal names the version and the rule that refused.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, get_args

from loom.errors import JournalReadOnlyError, LoomError
from loom.identity import Identity
from loom.journal.entry import Recorded
from loom.journal.singleton import SingletonJournal
from loom.policies import Table
from loom.policies.registry import PolicyVersion
from loom.runtime import Loom
from loom.telemetry import get_logger
from loom.web.guard import Caller, HttpRefusal
from loom.web.keys import Role
from loom.web.refusals import CommandRefusedEntry

__all__ = ["PERMISSIONS", "REFUSALS_JOURNAL", "Permissions"]

REFUSALS_JOURNAL = "web/refusals"

PERMISSIONS: Final = Table.of(
    {
        "format": "loom.table/1",
        "name": "web.permissions",
        "description": "Who may send which command over HTTP, by the role of the key",
        "facts": {
            "role": {"type": "string", "values": list(get_args(Role))},
            "name": {"type": "string"},
            "actor_type": {"type": "string"},
            "key": {"type": "string"},
            "command": {"type": "string"},
        },
        "rules": [
            {
                "name": "operators",
                "when": [["role", "in", ["operator", "admin"]]],
                "effect": "allow",
                "why": "operators and admins send commands",
            }
        ],
        "otherwise": {"name": "others", "effect": "deny", "why": "this role sends no commands"},
    }
)
"""The policy that holds until a person adopts another version: operators and admins send every command."""

_ONE_ENTRY_PER_S = 60.0
_MOST_REMEMBERED = 1_000
_LONGEST = 200
"""The longest text of a request that is judged and journaled; names that actors have are shorter."""

_log = get_logger("loom.web")


class Permissions:
    """Who may send which command in one workspace."""

    def __init__(self, loom: Loom, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._loom = loom
        self._clock = clock
        self._journal = SingletonJournal(loom.store, REFUSALS_JOURNAL, _nothing, make_draft=loom.draft)
        self._lately: OrderedDict[tuple[str, ...], tuple[float, int]] = OrderedDict()
        """By refusal: when it was last written, and how often it has happened since."""

    @classmethod
    async def open(cls, loom: Loom) -> Permissions:
        """Return the permissions of a loom; the policy is registered, and adopted where no person adopted another."""
        await loom.policies.ensure(PERMISSIONS, by=loom.by)
        return cls(loom)

    async def check(self, caller: Caller, *, actor_type: str, key: str, command: str) -> None:
        """Raise `HttpRefusal` for a command that the caller may not send; that is journaled."""
        version = self._loom.policies.adopted(PERMISSIONS.name) or self._loom.policies.latest(PERMISSIONS.name)
        facts = {
            "role": caller.key.role,
            "name": caller.key.name,
            "actor_type": actor_type[:_LONGEST],
            "key": key[:_LONGEST],
            "command": command[:_LONGEST],
        }
        said = self._loom.policies.runnable(version).evaluate_json(facts, ignore_unknown=True)
        if said.effect == "allow":
            return
        await self._note(caller.identity, facts, version, rule=said.rule, why=said.why)
        raise HttpRefusal(
            403,
            "forbidden",
            f"the role [{caller.key.role}] may not send [{command:.80}] to [{actor_type:.80}] [{said.why}]; expected "
            f"[allow] of [{version.version}]: see `loom policies show {PERMISSIONS.name}`",
        )

    async def _note(
        self, who: Identity, facts: dict[str, str], version: PolicyVersion, *, rule: str | None, why: str
    ) -> None:
        refusal = (str(who.source), facts["actor_type"], facts["key"], facts["command"], version.hash)
        now = self._clock()
        written_at, since = self._lately.get(refusal, (-_ONE_ENTRY_PER_S, 0))
        if now - written_at < _ONE_ENTRY_PER_S:
            self._lately[refusal] = (written_at, since + 1)
            return
        self._lately[refusal] = (now, 0)
        self._lately.move_to_end(refusal)
        if len(self._lately) > _MOST_REMEMBERED:
            self._lately.popitem(last=False)
        del facts["name"]
        fields: dict[str, Any] = {**facts, "policy": version.hash, "rule": rule, "why": why, "not_written": since}
        entry = CommandRefusedEntry(**who.written(), **fields)
        try:
            await self._journal.append_if_missing(lambda: entry)
        except JournalReadOnlyError:
            raise
        except LoomError as error:  # it is refused all the same
            _log.error("refusal_not_journaled", error=str(error), by=str(who), command=facts["command"])


def _nothing(_: Recorded) -> None:
    """Fold nothing: the refusals are read by people."""
