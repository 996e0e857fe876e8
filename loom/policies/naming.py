"""Valid names of policies."""

from __future__ import annotations

import re

from loom.errors import PolicyRuleError

__all__ = ["check_policy_name"]

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)*\Z")
_MAX_NAME = 64


def check_policy_name(name: str) -> str:
    """Return a policy's name if it is valid; otherwise raise `PolicyRuleError`."""
    if len(name) > _MAX_NAME or not _NAME.match(name):
        raise PolicyRuleError(
            f"policy name [{name!r:.80}] is not a name; expected [a-z, 0-9, words joined by - _ or ., at most "
            f"{_MAX_NAME}]: choose another"
        )
    return name
