"""The page that maps the five documents to loom has a row for every section; each row names a test that is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "seeds.md").read_text(encoding="utf-8")
SECTIONS = {
    "loom.md": """
        What We Built | Core Innovation: Hybrid LLM Strategy | Files Created | Core Types | Journal Integration |
        Actor Methods | Tests | Example & Documentation | Test Results | Architecture | Recording a Decision |
        Gathering Context | LLM Enrichment (Async) | Configuration-Driven Behavior | Performance Characteristics |
        Basic Trace | LLM Enrichment | Budget Example | Real-World Example | Strategic Value | Before | After |
        Competitive Positioning | What's Next | Phase 2 | Phase 3 | Phase 4 | Migration Guide | For New Actors |
        For Existing Actors | Configuration | Success Metrics | Files Summary | Team Adoption | Quick Start |
        Best Practices | Questions Answered | Next Steps
    """,
    "dropsim.md": """
        Context | Core Principles | Priority 1: Policy Versioning System | Priority 2: Trace Immutability & Lineage |
        Priority 3: Deterministic Precedent Grouping | Priority 4: Counterfactual Replay Framework |
        Priority 5: Decision-Pattern Drift Detection | Must Never Build | Optimization Engines | Predictive Models |
        Autonomous Decision Systems | Analytics Dashboards | Real-Time Decision APIs | Architectural Invariants |
        Reframing | Implementation Order | Summary
    """,
    "care.md": """
        Scope Lock | Executive Summary | Prerequisites | Phase 5D Objective (Singular) |
        What CARE Optimization IS and IS NOT | Optimization IS | Optimization is NOT | Learning Signals |
        Allowed Signals | Forbidden Signals (Hard Boundary) | Signal Isolation Rule | Decision Contract |
        New Decision Type | New Decision Outcomes | Emission Rule (Frozen) | Decision Record Structure |
        Stability & Rollback Rules | Feature Flag Control | Rollout Phases | Shadow Mode Invariant (Mandatory) |
        Kill-Switch Behavior | Deterministic Replay Requirement | Founder Explainability | Timeline Entry Format |
        Explainability Contract | E2E Test Matrix | Invariant Tests | Stop Conditions | Behavioral Matrix (Frozen) |
        Explicit Non-Goals | Implementation Order | Why This Is the Final Optimization | Completion Note
    """,
    "dir36.md": """
        Sample 36 | Use cases | Architecture | Execution flow (one decision) | How to run | Configuration |
        Database storage | Expected output | Regenerating reports | Methodology notes
    """,
    "circuits.md": """
        Overview | Core Principles | Architecture | 8 Core Decision Circuits | API Reference | Execute Single Circuit |
        Chain Multiple Circuits | Get Execution History | Evaluate Strategy Health | Update Strategy Metrics |
        Autonomy Dashboard | Database Schema | circuit_execution_logs | circuit_strategy_states |
        circuit_autocorrection_logs | Implementing Custom Circuits | Define Circuit in Registry |
        Create Circuit Executor | Use in API Route or Agent | Self-Correction Rules | Strategy Rotation Trigger |
        Escalation Trigger | Confidence Thresholds | Audit & Compliance | What's Logged | Retention Policy |
        Traceability Example | Best Practices | Do | Don't | Troubleshooting | Circuit Always Failing |
        Strategy Not Rotating | Escalation Loop | Integration Examples | With Email Agent | With Content Generation |
        Metrics & KPIs | Support & Feedback
    """,
}
"""The headings of each document, without what they say in brackets about dates."""


@cache
def defined_in(path: str) -> set[str]:
    """Return the names of the tests in a file of this repository."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, functions) and node.name.startswith("test_")}


def rows_of(document: str) -> list[list[str]]:
    """Return the rows of the table of sections of a document, cell by cell."""
    [part] = [each for each in re.split(r"^## ", PAGE, flags=re.MULTILINE) if each.startswith(f"{document}:")]
    [table] = re.findall(r"^\| section \| answered by \| test \|\n\|[-|]+\n((?:\|.*\n)+)", part, re.MULTILINE)
    assert "\n| the document | loom | why |\n" in part, "it has a table of differences"
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in str(table).strip().splitlines()
    ]


@pytest.mark.parametrize("document", SECTIONS)
def test_every_section_of_a_document_has_its_row(document: str) -> None:
    named = [row[0] for row in rows_of(document)]

    assert len(named) == len(set(named))
    for section in SECTIONS[document].split("|"):
        heading = re.compile(rf"(?:^|[:;,] |\d: ){re.escape(section.strip())}(?!\w)|^{re.escape(section.strip())}")
        assert any(heading.search(each) for each in named), f"{document} has no row of [{section.strip()}]"


@pytest.mark.parametrize("document", SECTIONS)
def test_every_row_says_what_answers_it_and_names_a_test_that_is_there(document: str) -> None:
    for section, answer, named in rows_of(document):
        assert answer, section
        [(path, name)] = re.findall(r"^`(tests/[\w/]+\.py)::(test_\w+)`$", named)
        assert name in defined_in(path), f"[{section}]: {path} has no {name}"
