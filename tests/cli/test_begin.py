"""`loom init` and `loom demo`: what they write works, from an installed package and without arguments."""

from __future__ import annotations

import ast
import asyncio
import json
from pathlib import Path

from loom.journal import Recorded
from loom.journal.sqlite.reader import Reader
from tests.cli.support import REPOSITORY, run, run_started
from tests.laws.test_law_10_each_value_once import repeated


def test_what_init_writes_runs(tmp_path: Path) -> None:
    made = run_started("init", "shop", cwd=tmp_path)
    assert made.code == 0, made.err
    shop = tmp_path / "shop"
    assert sorted(path.name for path in shop.iterdir()) == ["loom.config.yaml", "refunds.py"]
    small = run(
        "run", "refund-agent/shop", "RequestRefund", '{"order": "A-1", "amount_eur": 20}', "--by", "dana", cwd=shop
    )
    assert small.code == 0, small.err
    assert json.loads(small.out)["amount_eur"] == 20
    large = run(
        "run", "refund-agent/shop", "RequestRefund", '{"order": "A-2", "amount_eur": 90}', "--by", "dana", cwd=shop
    )
    assert "shop_lead" in large.out
    approval_id = large.out.split()[large.out.split().index("approval:") + 1]
    assert run("approve", approval_id, "--by", "kim", cwd=shop).code == 0
    settled = run_started("run", "--once", cwd=shop)
    assert settled.out.strip() == "1 unfinished turn, 1 ended"
    decision_id = run("decisions", "--json", cwd=shop).json[0]["decision_id"]
    assert "granted by kim" in run("why", decision_id, cwd=shop).out
    assert run("replay", "refund-agent/shop", "--verify", cwd=shop).code == 0


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "refunds.py").write_text("mine = True\n", encoding="utf-8")
    said = run("init", cwd=tmp_path)
    assert said.code == 2
    assert "refunds.py" in said.err
    assert (tmp_path / "refunds.py").read_text(encoding="utf-8") == "mine = True\n"
    assert not (tmp_path / "loom.config.yaml").exists()


def test_the_demo_tells_its_story_and_leaves_its_journal_where_it_says(tmp_path: Path) -> None:
    said = run_started("demo", cwd=tmp_path, env={"PYTHONPATH": ""})
    assert said.code == 0, said.err
    for part in (
        "Within the limit",
        "kill -9",
        "finds both precedents",
        "nothing was asked twice",
        "dana denies it",
        "granted=4 refused=1 highest_percent=15",
        "5 decisions, the same",
        "VERIFIED through size",
        "Who agreed?",
    ):
        assert part in said.out
    [place] = (tmp_path / "loom-data").iterdir()
    assert f"cd loom-data/{place.name}" in said.out
    assert run("verify", cwd=place).code == 0
    assert len(run("decisions", "--exception", "--json", cwd=place).json) == 4
    assert run("replay", "discount-agent/emea", "--verify", cwd=place).code == 0
    assert run("turns", "--json", cwd=place).json == []


async def entries_of(journal: Path) -> list[Recorded]:
    reader = Reader(journal)
    try:
        return [each async for each in reader.read_all()]
    finally:
        await reader.close()


def test_the_demo_in_json_and_where_it_is_told(tmp_path: Path) -> None:
    said = run("demo", "here", "--json", cwd=tmp_path)
    assert said.code == 0, said.err
    assert Path(said.json["journal"]).exists()
    assert said.json["state"] == {"granted": 4, "refused": 1, "highest_percent": 15}
    assert repeated(asyncio.run(entries_of(Path(said.json["journal"])))) == []  # law 10
    again = run("demo", "here", cwd=tmp_path)
    assert again.code == 2


def test_the_agent_of_the_demo_is_the_one_of_the_example() -> None:
    def agent(path: Path) -> list[str]:
        """Return classes and constants, from the first class down to the story, as syntax trees."""
        body = ast.parse(path.read_text(encoding="utf-8")).body
        first = next(number for number, node in enumerate(body) if isinstance(node, ast.ClassDef))
        last = max(number for number, node in enumerate(body) if isinstance(node, ast.ClassDef))
        return [ast.dump(node) for node in body[first : last + 1]]

    packaged = agent(REPOSITORY / "loom" / "cli" / "demo" / "agent.py")
    assert packaged == agent(REPOSITORY / "examples" / "discount_approval.py")
