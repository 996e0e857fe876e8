"""Who may ask: a key of its own, of a role that only reads.

A key that lies in the settings of a model's host must not be able to answer a request anywhere, so a key of any other
role is refused, even though it may read.
"""

from __future__ import annotations

from typing import Final

from loom.errors import LoomError
from loom.journal.store import JournalReader
from loom.web.guard import RANKS
from loom.web.keys import ApiKey, Keys, Role

__all__ = ["KEY_VARIABLE", "READING_ROLES", "KeyRefusedError", "check_form", "reading_key"]

KEY_VARIABLE: Final = "LOOM_MCP_KEY"
"""The environment variable that holds the key of a server on standard input."""

READING_ROLES: tuple[Role, ...] = tuple(role for role, may in RANKS.items() if may <= {"read", "audit"})
"""The roles whose keys are taken: those that may do nothing but read."""


class KeyRefusedError(LoomError):
    """A key is missing, unknown, revoked, of another workspace, or may do more than read.

    To do: add a key that only reads, with `loom keys add`, and set it where the message says.
    """

    kind = "refused"

    def __init__(self, message: str, *, known: bool = False) -> None:
        super().__init__(message)
        self.known = known
        """Whether the key is one of this workspace, of a role that is refused."""


async def reading_key(reader: JournalReader, text: str | None) -> ApiKey:
    """Return the key that a text is, as the journal has it now; raise `KeyRefusedError` for any other.

    The message names no key: the text may be anything.
    """
    keys = Keys(reader)
    await keys.load()
    found = keys.who(text)
    if found is None:
        raise _unknown()
    if found.role not in READING_ROLES:
        raise KeyRefusedError(
            f"the key of [{found.name}] has the role [{found.role}]; expected one of [{', '.join(READING_ROLES)}], "
            "which only read: make the model a key of its own",
            known=True,
        )
    return found


def check_form(text: str | None) -> None:
    """Raise `KeyRefusedError` for a text that has not the form of a key."""
    if Keys.named_in(text or "") is None:
        raise _unknown()


def _unknown() -> KeyRefusedError:
    return KeyRefusedError(
        "this key opens nothing here; expected one of this workspace that is not revoked: "
        "`loom keys add NAME --role reader --by YOU` makes one"
    )
