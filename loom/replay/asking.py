"""How decisions are judged: under a version or each under its own, on recorded or other facts, with or without gaps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from loom.errors import AdmissionError, PolicyCodeChangedError, PolicyMismatchError, PolicyNotRegisteredError
from loom.policies.contract import AnyPolicy
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.policies.tables.table import Table
from loom.policies.version import unregistered
from loom.replay.saying import UnderWhich
from loom.replay.scenario import Change, Scenario, WhatIf

__all__ = ["Askable", "Asked", "check_own"]


@dataclass(frozen=True, slots=True)
class Asked:
    """How decisions are judged: under one version or each under its own, on recorded facts or those of a scenario."""

    version: PolicyVersion | None
    scenario: Scenario | None
    under_which: UnderWhich
    gaps: bool = False


class Askable:
    """Finds the versions that can judge, and their code."""

    def __init__(self, policies: PolicyRegistry) -> None:
        self._policies = policies

    def asked(
        self,
        under: str | AnyPolicy | None,
        facts: Change | None,
        what_if: WhatIf | None,
        *,
        gaps: bool = False,
        against: bool = False,
    ) -> Asked:
        """Return how to judge; raise `AdmissionError` if nothing differs, or if the arguments contradict each other."""
        scenario = Scenario.of(facts, what_if)
        if against and scenario is not None:
            raise AdmissionError(
                "decisions are to be judged against [their outcome] on [other facts]; expected the facts that they "
                "were made on: leave out facts and what_if"
            )
        if under is None:
            if scenario is None and not gaps and not against:
                raise AdmissionError(
                    "decisions are to be judged again under [no version] and on [no other facts]; expected one of "
                    "[under, facts, what_if, gaps]: say what differs"
                )
            return Asked(None, scenario, cache(self._own), gaps)
        if isinstance(under, AnyPolicy):
            version, policy = unregistered(under.name, under.document, about=under.about), under
        else:
            version = self._policies.resolve(under)
            runnable = self._runnable(version)
            if runnable is None or not gaps:
                return Asked(version, scenario, lambda _: (version, runnable), gaps)
            policy = runnable
        if gaps and not isinstance(policy, Table):
            raise AdmissionError(
                f"version [{version.version}] is to be judged over gaps, and is a rule in Python; expected a table: "
                "only a table says what holds for every value of a missing fact"
            )
        return Asked(version, scenario, lambda _: (version, policy), gaps)

    def _own(self, policy_hash: str | None) -> tuple[PolicyVersion | None, AnyPolicy | None]:
        """Return the version that a decision names, and its code; None for each that does not exist."""
        if policy_hash is None:
            return None, None
        try:
            version = self._policies.resolve(policy_hash)
        except PolicyNotRegisteredError:
            return None, None
        return version, self._runnable(version)

    def _runnable(self, version: PolicyVersion) -> AnyPolicy | None:
        try:
            return self._policies.runnable(version) if version.has_rule else None
        except PolicyCodeChangedError:
            return None


def check_own(asked: Asked, *, of_another: int) -> None:
    """Raise `PolicyMismatchError` if there were cases, `of_another` many, but none of the policy of the version."""
    if of_another and asked.version is not None:
        raise PolicyMismatchError(
            f"version [{asked.version.version}] is of policy [{asked.version.name}], and none of the [{of_another}] "
            "decisions are; expected a version of their own policy: see `loom policies`"
        )
