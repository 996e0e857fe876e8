"""Operations on policies: register, propose and adopt versions, each in a person's name."""

from __future__ import annotations

from pydantic import JsonValue

from loom.errors import SelfAdoptionError
from loom.evolution import Suggestions
from loom.operations.arguments import Adopt, Judge, Register
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.policies.tables import Table
from loom.policies.version import Adoption

__all__ = ["adopt_suggestion", "adopt_version", "approve_suggestion", "policy_as_json", "register_table"]


async def adopt_version(policies: PolicyRegistry, given: Adopt) -> JsonValue:
    """Make a registered version the one that new turns pin."""
    adopted = await policies.adopt(given.version, by=given.by, reason=given.reason, effective_from=given.effective_from)
    return policy_as_json(adopted, policies.adoption(adopted.name))


async def register_table(policies: PolicyRegistry, given: Register) -> JsonValue:
    """Make the version known that a table is; adopt it, too, where another person proposed it."""
    table = Table.of(given.table, source=given.source)
    known = any(each.hash == table.version_hash for each in policies.versions(table.name))
    if given.adopt and not known:
        raise SelfAdoptionError(
            f"version [{table.version_hash[:12]}] of [{table.name}] would be adopted by [{given.by.name}], who "
            "proposes it; expected another person to adopt it: register it, and ask one"
        )
    version = await policies.register(table, by=given.by, reason=given.reason)
    if given.adopt:
        await policies.adopt(version.hash, by=given.by, reason=given.reason)
    return policy_as_json(version, policies.adoption(version.name))


async def approve_suggestion(policies: PolicyRegistry, suggestions: Suggestions, given: Judge) -> JsonValue:
    """Make a suggestion a version that a person proposes."""
    version = await suggestions.approve(given.id, by=given.by, reason=given.reason)
    return policy_as_json(version, policies.adoption(version.name))


async def adopt_suggestion(policies: PolicyRegistry, suggestions: Suggestions, given: Judge) -> JsonValue:
    """Let new turns pin a suggestion that another person approved."""
    version = await suggestions.adopt(given.id, by=given.by, reason=given.reason)
    return policy_as_json(version, policies.adoption(version.name))


def policy_as_json(version: PolicyVersion, adoption: Adoption | None) -> dict[str, JsonValue]:
    """Return a policy version as plain JSON, with its document, and its adoption where new turns pin it."""
    adopted = adoption is not None and adoption.version == version
    return {
        "name": version.name,
        "number": version.number,
        "version": version.version,
        "hash": version.hash,
        "adopted": adopted,
        "has_rule": version.has_rule,
        "by": version.by,
        "identity_source": version.identity_source,
        "via": version.via,
        "trigger": version.trigger,
        "reason": version.reason,
        "registered_at": version.registered_at.isoformat(),
        "adoption": adoption.as_json() if adoption is not None and adopted else None,
        "document": dict(version.document),
        "about": dict(version.about),
    }
