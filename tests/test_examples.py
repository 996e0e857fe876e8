"""Every example runs, offline, and tells the same story twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.enrichment.endpoint import served
from tests.postgres_server import PASSWORD, QUOTED, Server

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@cache
def told(example: Path, run: int = 1, *given: str, **environment: str) -> str:
    """Return what an example prints, without moments and durations and the line breaks that depend on them."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(example), *given],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "MOMENT", ran.stdout)
    return re.sub(r"\s+", " ", re.sub(r"\b\d+ (ms|s)\b", "N s", text))


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_tells_the_same_story_twice(example: Path) -> None:
    first = told(example)
    assert first == told(example, 2)
    assert len(first) > 100


def test_the_discount_story_has_its_two_precedents_its_approval_and_its_restart() -> None:
    story = told(ROOT / "examples" / "discount_approval.py")
    assert "delta-retail asks for 8 %: given 8 %, nobody had to be asked" in story
    assert "acme-health asks for 15 %: 3 SEV-1 open, 2 precedents" in story
    assert "given 15 % after the restart; nothing was looked up twice" in story
    assert "exception over the discount limit" in story
    assert "delta-retail asks for 30 %: vp_sales is asked:" in story
    assert "Ledger(granted=4, refused=1, highest_percent=15)" in story


def test_the_discount_story_is_the_same_in_postgresql(postgres: Server) -> None:
    example = ROOT / "examples" / "discount_approval.py"
    on = ("--on", postgres.url(schema="discounts").replace(f":{QUOTED}", ""))
    assert told(example, 1, *on, PGPASSWORD=PASSWORD) == told(example)
    with pytest.raises(AssertionError, match="shown to all users"):
        told(example, 1, "--on", postgres.url())


def test_the_agent_of_the_discount_example_is_short() -> None:
    text = (ROOT / "examples" / "discount_approval.py").read_text(encoding="utf-8")
    agent = text[text.index("class Account") : text.index("# --- the story")]
    assert len([line for line in agent.splitlines() if line.strip()]) <= 120


def test_a_support_agent_that_is_killed_twice_pays_once_and_says_why() -> None:
    pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")
    story = told(ROOT / "examples" / "support_agent.py")
    assert "was killed: looking up" in story
    assert "was killed: paid" in story
    assert "model asked: 3 times order: 2 times payment: 1 times" in story
    assert story.count("function:simulated (") == 3
    assert 'to approve: refund, with {"order_id": "o-1001", "amount_usd": 40} granted by mira' in story


def test_the_support_agent_asks_a_real_endpoint_where_two_variables_name_one(tmp_path: Path) -> None:
    pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")
    with served() as endpoint:
        env = {**os.environ, "OPENAI_BASE_URL": endpoint.url, "OPENAI_MODEL": "house-model"}
        (tmp_path / "loom.config.yaml").write_text(
            "data: data\nbudgets: {models: {unknown_price_usd: 0.05}}\n", encoding="utf-8"
        )
        subprocess.run(
            [sys.executable, str(ROOT / "examples" / "support_agent.py"), "--process"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env=env,
        )
    assert endpoint.asked[0]["model"] == "house-model"
    assert [tool["function"]["name"] for tool in endpoint.asked[0]["tools"]] == ["order", "refund"]


def test_exceptions_become_a_rule_that_somebody_adopts() -> None:
    story = told(ROOT / "examples" / "discount_evolution.py")
    assert "the critic was asked 50 times for $0.10 of $0.10 a day" in story
    assert "industry is healthcare, large is true, percent is 11 to 20: 16 granted, 0 refused; worth a rule" in story
    assert "16 would go from require_approval:vp_sales to allow" in story
    assert "Dana approves it, and so proposes policy_v2_" in story
    assert "Is the pattern of autumn still that of spring?" in story


def test_the_critic_of_that_story_is_a_real_one_where_an_endpoint_is_named() -> None:
    pytest.importorskip("pydantic_ai", reason="the extra [llm] is not installed")
    with served() as endpoint:
        env = {**os.environ, "OPENAI_BASE_URL": endpoint.url, "OPENAI_MODEL": "house-model", "OPENAI_API_KEY": "none"}
        ran = subprocess.run(
            [sys.executable, str(ROOT / "examples" / "discount_evolution.py")],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env=env,
        )
    assert ran.returncode == 0, ran.stderr
    assert len(endpoint.asked) == 2  # nobody knows the price of that model: five cents a call, ten a day
    assert endpoint.asked[0]["model"] == "house-model"
    assert "the critic was asked 2 times for $0.10 of $0.10 a day" in ran.stdout


def test_a_strategy_that_declines_is_rotated_in_the_third_cycle_and_audited_over_http() -> None:
    story = told(ROOT / "examples" / "marketing_circuits.py")
    assert "CX05_BRAND_GUARD 0.67, substituted: rewritten, with a penalty" in story
    assert "the campaign again: [strategy-case-studies] A win for your pipeline" in story
    assert "refused: execution [email-1] has no success of [CX05_BRAND_GUARD, CX06_GENERATION_EXECUTION]" in story
    assert "cycle 5: 0.43, declining for 2 cycle 6: 0.42, declining for 3 → strategy-case-studies" in story
    assert "client-456 has no other strategy: escalate_to_admin waits for a person" in story
    audited = "client-123: 10 executions, 80% succeeded, 2 more with what a failure mode put in"
    assert f"without a key: 401 {audited}" in story


def test_a_customer_who_is_forgotten_while_a_turn_waits_is_gone_from_all_but_the_chain() -> None:
    story = told(ROOT / "examples" / "support_agent_forgets.py")
    assert "the customer reads: Dear Ada Lovelace, it is done. the desk knows {'t-1': 'ada@example.org'}" in story
    assert "the lead is asked: [sealed] wants 300 $ back" in story
    assert "the turn that waited ended: actor [support/desk] failed on [Ticket] with [ErasedError" in story
    assert "the lead is asked no more: True the same mail once more: subject [c-1001] was erased by [vera" in story
    assert "after a restart the desk knows {'t-1': Erased(), 't-2': Erased()}" in story
    assert "the journal verifies: True; in clear it has the address: False" in story
    assert "c-1001: erased by vera (claimed, via python): the customer asked to be forgotten; 12 entries" in story
