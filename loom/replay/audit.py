"""The audit: does every decision name a registered version, and does that version still give the same evaluation?

It only reports what it found; it decides and repairs nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from loom.decisions.rows import written_decision
from loom.errors import LoomError, PolicyCodeChangedError, PolicyNotRegisteredError
from loom.policies.contract import AnyPolicy
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.projections import Queries
from loom.projections.confirming import differing
from loom.replay.sealed import AsRecorded, Sights
from loom.replay.selection import Recall, Recalled, Selection

__all__ = ["Audit", "AuditCode", "AuditFinding", "AuditVerdict", "AuditedPolicies", "audit"]

AuditCode: TypeAlias = Literal[
    "version_missing", "mismatch", "no_rule", "no_facts", "no_evaluation", "code_changed", "sealed", "erased"
]
"""The findings about a decision that is not confirmed. These words are stable."""

AuditVerdict: TypeAlias = Literal["sound", "not_sound", "unconfirmed"]
"""The result of an audit: every evaluation by a rule is confirmed; something contradicts the record; neither."""

_KEPT = 1_000
_UNCONFIRMED: tuple[AuditCode, ...] = ("code_changed", "no_facts", "no_evaluation", "sealed", "erased")


class AuditFinding(BaseModel):
    """A finding about one decision."""

    model_config = ConfigDict(frozen=True)

    decision_id: str
    journal: str
    version: str
    code: AuditCode
    detail: str


class Audit(BaseModel):
    """The result of an audit: how many decisions were confirmed, and how many have findings.

    `observed` decisions are counted apart: they were made before loom was in use, under no version, which is no fault.
    `mixed_runs` are runs whose decisions name more than one version of one policy. Findings are kept up to 1,000 of
    each code; `counts` counts all of them.
    """

    model_config = ConfigDict(frozen=True)

    decisions: int
    confirmed: int
    counts: dict[str, int]
    versions: dict[str, int]
    missing_versions: tuple[str, ...]
    mixed_runs: dict[str, tuple[str, ...]]
    findings: tuple[AuditFinding, ...]
    observed: int = 0
    left_out: int = 0
    """The number of rows of the views that differ from the journal: the decisions behind them were not audited."""

    @property
    def unconfirmed(self) -> int:
        """How many decisions under a rule could not be judged again: they are neither confirmed nor contradicted."""
        return sum(self.counts.get(code, 0) for code in _UNCONFIRMED)

    @property
    def verdict(self) -> AuditVerdict:
        """The result: `not_sound` if a version is missing, an evaluation differs, or a run mixes versions.

        It is `sound` only if at least one decision was confirmed, every decision under a rule was confirmed, and no row
        of the views was left out.
        """
        if self.missing_versions or self.counts.get("mismatch") or self.mixed_runs:
            return "not_sound"
        return "sound" if self.confirmed and not self.unconfirmed and not self.left_out else "unconfirmed"

    @property
    def sound(self) -> bool:
        """Whether everything that was decided under a rule is confirmed, and nothing contradicts the record."""
        return self.verdict == "sound"


async def audit(queries: Queries, policies: PolicyRegistry, selection: Selection, *, sight: AsRecorded) -> Audit:
    """Audit every decision of a selection, original and replayed, read through `sight`."""
    looked, recall = _Looked(policies), Recall(queries, selection)
    async for page in recall.pages():
        for recalled in await sight.page(page):
            looked.at(recalled)
    return looked.audit(await _mixed_runs(queries, looked.runs), left_out=recall.left_out)


class AuditedPolicies(PolicyRegistry):
    """The registry of policies, with the audit of the decisions made under them."""

    queries: Queries
    sights: Sights

    async def audit(self, selection: Selection | None = None, *, opened: AsRecorded | None = None) -> Audit:
        """Audit the decisions of a selection; without one, all decisions.

        Decisions on sealed facts are reported as `sealed` or `erased`, and not confirmed, unless they are `opened` (see
        `Replay.opening`).
        """
        sight = opened or self.sights.as_recorded()
        return await audit(self.queries, self, selection or Selection(origin="any"), sight=sight)


class _Looked:
    def __init__(self, policies: PolicyRegistry) -> None:
        self._policies = policies
        self._known: dict[str, tuple[PolicyVersion | None, AnyPolicy | None]] = {}
        self._decisions = self._confirmed = self._observed = 0
        self._counts: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()
        self._missing: dict[str, None] = {}
        self._findings: list[AuditFinding] = []
        self.runs: set[str] = set()
        """The runs that decisions belong to."""

    def at(self, recalled: Recalled) -> None:
        """Look at one decision."""
        if recalled.policy_version is None:
            self._observed += 1
            return
        self._decisions += 1
        self._versions[recalled.policy_version] += 1
        if recalled.run_id is not None:
            self.runs.add(recalled.run_id)
        found = self._judge(recalled)
        if found is None:
            self._confirmed += 1
            return
        code, detail = found
        self._counts[code] += 1
        if code == "version_missing":
            self._missing[recalled.policy_version] = None
        if self._counts[code] <= _KEPT:
            self._findings.append(
                AuditFinding(
                    decision_id=recalled.decision_id,
                    journal=recalled.journal,
                    version=recalled.policy_version,
                    code=code,
                    detail=detail,
                )
            )

    def audit(self, mixed_runs: dict[str, tuple[str, ...]], *, left_out: int) -> Audit:
        """Return the result so far."""
        return Audit(
            decisions=self._decisions,
            confirmed=self._confirmed,
            counts=dict(sorted(self._counts.items())),
            versions=dict(sorted(self._versions.items())),
            missing_versions=tuple(self._missing),
            mixed_runs=mixed_runs,
            findings=tuple(self._findings),
            left_out=left_out,
            observed=self._observed,
        )

    def _judge(self, recalled: Recalled) -> tuple[AuditCode, str] | None:
        version, policy = self._version(recalled.policy_hash or "")
        if version is None:
            return "version_missing", f"[{recalled.policy_hash}] is not registered"
        if not version.has_rule:
            return "no_rule", "its version has no rule"
        if recalled.facts is None:
            return "no_facts", "it was recorded without facts"
        if recalled.effect is None:
            return "no_evaluation", "it was recorded without an evaluation"
        if policy is None:
            return "code_changed", "the code at hand does not give its version"
        if recalled.closed is not None:
            return recalled.closed, _CLOSED[recalled.closed]
        try:
            verdict = policy.verdict_again(recalled.facts, recorded_rule=recalled.rule)
        except (LoomError, ValueError) as error:
            problem = type(error).__name__ if recalled.opened else error  # its text may contain sealed values
            return "mismatch", f"its facts cannot be judged any more [{problem}]"
        then, now = (recalled.effect, recalled.rule, recalled.tier), (verdict.effect, verdict.rule, verdict.tier)
        if then == now:
            return None
        return "mismatch", f"recorded [{_joined(then)}], judged again [{_joined(now)}]"

    def _version(self, full_hash: str) -> tuple[PolicyVersion | None, AnyPolicy | None]:
        if full_hash not in self._known:
            version: PolicyVersion | None = None
            policy: AnyPolicy | None = None
            try:
                version = self._policies.resolve_hash(bytes.fromhex(full_hash))
                policy = self._policies.runnable(version) if version.has_rule else None
            except (PolicyNotRegisteredError, PolicyCodeChangedError, ValueError):
                pass
            self._known[full_hash] = version, policy
        return self._known[full_hash]


_CLOSED = {"sealed": "its facts are sealed, and were not opened", "erased": "its facts are erased"}


async def _mixed_runs(queries: Queries, runs: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the runs that mix versions of one policy, among those that the decisions of a selection belong to."""
    rows = await queries.fetch(_VERSIONS, (json.dumps(sorted(runs)),), names=("traces",)) if runs else ()
    first = await queries.entries.at({row["position"] for row in rows}) if rows else {}
    mixed: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        recorded = first.get(row["position"])
        written = None if recorded is None else written_decision(recorded)
        expected = {} if written is None else {"run_id": written.get("run_id"), **_of_policy(written["policy"])}
        if problem := differing(row, expected or None):
            queries.differences.add("trace_run_versions", f"{row['run_id']} {row['policy_version']}", problem)
        else:
            mixed.setdefault((row["run_id"], row["policy_name"]), []).append(row["policy_version"])
    found: dict[str, tuple[str, ...]] = {}
    for (run_id, _), versions in mixed.items():
        if len(versions) > 1:
            found[run_id] = (*found.get(run_id, ()), *versions)
    return found


def _of_policy(policy: Mapping[str, Any]) -> dict[str, object]:
    return {"policy_name": policy["name"], "policy_version": policy["version"], "policy_hash": policy["hash"]}


_VERSIONS = """
SELECT run_id, policy_name, policy_version, policy_hash, first_position AS position FROM trace_run_versions
WHERE run_id IN (SELECT value FROM json_each(?)) ORDER BY run_id, first_position
"""


def _joined(verdict: tuple[str | None, ...]) -> str:
    return ", ".join(str(part) for part in verdict if part is not None)
