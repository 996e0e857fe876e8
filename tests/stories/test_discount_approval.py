"""The seed's story with real processes: an exception waits for a person, and the process that waits is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from examples import discount_approval as example
from loom import DecisionJournalEntry, Loom
from loom.journal.sqlite.verify import verify
from loom.projections import digest
from tests.sqlite_files import connected
from tests.stories.discount_worker import systems_of

ROOT = Path(__file__).parent.parent.parent


def started(directory: Path, customer_id: str, percent: int) -> subprocess.Popen[str]:
    """Start a process that asks for a discount."""
    return subprocess.Popen(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "tests.stories.discount_worker",
            str(directory),
            customer_id,
            str(percent),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def killed_while_pending(tmp_path: Path) -> Path:
    """A workspace whose process was killed (SIGKILL) while the VP of sales had not answered yet."""
    worker = started(tmp_path, "acme-health", 15)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "pending\n"
    finally:
        worker.kill()
        worker.communicate()
    return tmp_path


async def test_a_request_within_the_limit_is_decided_at_once(tmp_path: Path) -> None:
    worker = started(tmp_path, "delta-retail", 8)
    out, err = worker.communicate(timeout=60)
    assert worker.returncode == 0, err
    assert json.loads(out)["percent"] == 8


async def test_an_approval_that_was_pending_when_the_process_was_killed_is_granted_in_the_next(
    killed_while_pending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = killed_while_pending
    monkeypatch.setattr(example, "CRM", dict(example.CRM))
    monkeypatch.setattr(example, "HELP_DESK", dict(example.HELP_DESK))
    systems_of(directory)
    async with opened(directory) as loom:
        [pending] = await loom.approvals.pending("vp_sales")
        assert pending.requested_by == "robin"
        await loom.approvals.grant(pending.approval_id, by="dana", comment="incidents on our side")
        request = example.RequestDiscount(customer_id="acme-health", percent=15)
        answer = await loom.actor(example.DiscountAgent, "emea").ask(request, id="acme-health-15")
        assert answer.percent == 15
        trace = await loom.traces.get(answer.decision_id)
        decision = trace.decision
        assert decision.is_exception
        assert [given.by for given in decision.approvals] == ["dana"]
        assert [seen.system for seen in decision.inputs] == ["salesforce", "zendesk"]
        assert decision.facts == {"industry": "healthcare", "arr_usd": 500_000, "sev1_open": 3, "percent": 15}
        state = await loom.replay.state("discount-agent/emea")
        assert state == example.Ledger(granted=1, refused=0, highest_percent=15)
    assert (directory / "crm.log").read_text() == "acme-health\n", "looked up once, in the process that was killed"
    assert (directory / "help-desk.log").read_text() == "acme-health\n"
    assert verify(directory / "journal.db").ok


async def test_a_denial_is_a_decision_too(killed_while_pending: Path) -> None:
    async with opened(killed_while_pending) as loom:
        [pending] = await loom.approvals.pending()
        await loom.approvals.deny(pending.approval_id, by="dana", comment="no budget left")
        request = example.RequestDiscount(customer_id="acme-health", percent=15)
        answer = await loom.actor(example.DiscountAgent, "emea").ask(request, id="acme-health-15")
        assert answer.percent == 0
        explanation = await loom.traces.explain(answer.decision_id)
        assert "no budget left" in explanation.text()


async def test_views_that_were_deleted_come_back_the_same(killed_while_pending: Path) -> None:
    views = killed_while_pending / "journal.views.db"
    before = await answered_and_digested(killed_while_pending)
    for path in killed_while_pending.glob("journal.views.db*"):
        path.unlink()
    assert not views.exists()
    async with opened(killed_while_pending) as loom:
        await loom.reached()
    assert digested(views) == before


async def test_the_whole_story_is_in_the_journal_and_nowhere_else(killed_while_pending: Path) -> None:
    await answered_and_digested(killed_while_pending)
    for path in killed_while_pending.glob("journal.views.db*"):
        path.unlink()
    async with opened(killed_while_pending) as loom:
        kinds = [recorded.kind async for recorded in loom.store.read("discount-agent/emea")]
        decisions = [
            recorded.entry.decision
            async for recorded in loom.store.read("discount-agent/emea")
            if isinstance(recorded.entry, DecisionJournalEntry)
        ]
    assert kinds == [
        "command_received",
        "context_gathered",
        "context_gathered",
        "evaluated",
        "precedent_referenced",
        "approval_requested",
        "approval_answered",
        "turn_resumed",
        "turn_continued",
        "decision",
        "turn_completed",
    ]
    assert decisions[0].under.version == f"policy_v1_{example.discount.version_hash[:8]}"


def opened(directory: Path) -> Loom:
    """Return the loom of the story."""
    return Loom.open(f"sqlite:///{directory / 'journal.db'}", actors=[example.DiscountAgent], by="robin")


async def answered_and_digested(directory: Path) -> str:
    """Grant what is pending, let the turn end, and return the digest of the views."""
    async with opened(directory) as loom:
        [pending] = await loom.approvals.pending()
        await loom.approvals.grant(pending.approval_id, by="dana")
        request = example.RequestDiscount(customer_id="acme-health", percent=15)
        await loom.actor(example.DiscountAgent, "emea").ask(request, id="acme-health-15")
        await loom.reached()
    return digested(directory / "journal.views.db")


def digested(views: Path) -> str:
    """Return the digest of the logical tables of a views file, beside its snapshots, which are no projection."""
    with connected(views) as connection:
        return digest(connection)
