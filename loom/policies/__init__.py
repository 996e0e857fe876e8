"""Policies: versioned rules for decisions: rules in Python and tables, their documents, hashes and evaluations."""

from __future__ import annotations

from loom.policies.canonical import (
    Document,
    Json,
    VersionRef,
    canonical,
    implicit_document,
    parse_version,
    version_hash,
    version_id,
)
from loom.policies.cases import (
    Case,
    Effect,
    allow,
    case,
    deny,
    first_match,
    indeterminate,
    otherwise,
    require_approval,
)
from loom.policies.contract import AnyPolicy, Verdict
from loom.policies.describe import describe_model
from loom.policies.evaluation import (
    BAD_FACTS,
    NO_MATCH,
    RULE_FAILED,
    Evaluation,
    Facts,
    FailedCondition,
    Params,
    RuleMiss,
)
from loom.policies.policy import Policy, policy
from loom.policies.tables import Finding, Table, lint, load_table

__all__ = [
    "BAD_FACTS",
    "NO_MATCH",
    "RULE_FAILED",
    "AnyPolicy",
    "Case",
    "Document",
    "Effect",
    "Evaluation",
    "Facts",
    "FailedCondition",
    "Finding",
    "Json",
    "Params",
    "Policy",
    "RuleMiss",
    "Table",
    "Verdict",
    "VersionRef",
    "allow",
    "canonical",
    "case",
    "deny",
    "describe_model",
    "first_match",
    "implicit_document",
    "indeterminate",
    "lint",
    "load_table",
    "otherwise",
    "parse_version",
    "policy",
    "require_approval",
    "version_hash",
    "version_id",
]
