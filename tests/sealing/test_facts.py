"""Facts that are sealed in a decision: opened in memory where they were sealed, or said to be sealed or erased."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loom.sealing import declared_paths, opened_facts, protect, why_closed
from loom.sealing.facts import FACTS_AT
from tests.sealing.support import opening, vault_of

PLAIN: Any = {"age": 17, "a/b": {"~": ["yes", "no"]}, "amount": 5, "none": None}


async def test_facts_open_where_they_were_sealed_and_say_why_they_do_not(tmp_path: Path) -> None:
    declared = declared_paths({"facts.age": "seal", "facts.a/b.~.*": "seal", "facts.none": "seal"})
    async with opening(tmp_path) as subjects:
        vault, erasures = vault_of(subjects), subjects.erasures
        written: Any = await protect({FACTS_AT[1:]: PLAIN}, declared, vault=vault, subject="c-7", once="one")
        facts = written["facts"]
        assert facts["amount"] == 5
        assert why_closed(PLAIN, erasures) is None
        assert why_closed(facts, erasures) == "sealed"
        assert (await opened_facts(PLAIN, None))[:3] == (PLAIN, None, frozenset())
        assert (await opened_facts(facts, vault))[:3] == (PLAIN, None, frozenset({"c-7"}))
        assert (await opened_facts(facts, None))[:3] == (None, "sealed", frozenset())
        moved = {"other": facts["age"], "amount": 5}
        assert (await opened_facts(moved, vault))[:3] == (None, "sealed", frozenset()), "it opens at its own path alone"
        assert why_closed({"x": {"$withheld": "mask"}}) == "sealed"
        await subjects.erase("c-7", by="vera", reason="she asked for it")
        assert why_closed(facts, erasures) == "erased"
        assert why_closed(facts) == "sealed", "without the erasures it is not known"
        assert why_closed({"x": {"$erased": 1}}) == "erased"
        assert (await opened_facts(facts, vault))[:3] == (None, "erased", frozenset())
