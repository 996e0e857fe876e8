"""Policies: what may be decided, as data with versions: rules in Python, their documents, hashes and evaluations."""

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
from loom.policies.describe import describe_model
from loom.policies.evaluation import BAD_FACTS, NO_MATCH, RULE_FAILED, Evaluation, Facts, Params, RuleMiss
from loom.policies.policy import Policy, policy

__all__ = [
    "BAD_FACTS",
    "NO_MATCH",
    "RULE_FAILED",
    "Case",
    "Document",
    "Effect",
    "Evaluation",
    "Facts",
    "Json",
    "Params",
    "Policy",
    "RuleMiss",
    "VersionRef",
    "allow",
    "canonical",
    "case",
    "deny",
    "describe_model",
    "first_match",
    "implicit_document",
    "indeterminate",
    "otherwise",
    "parse_version",
    "policy",
    "require_approval",
    "version_hash",
    "version_id",
]
