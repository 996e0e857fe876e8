"""Blocks of Python on pages that are no whole programs run as well, with the names that their page takes for granted.

Whole programs are run by test_docs.py. What needs a package of another environment is named in ELSEWHERE.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Annotated, Any

import pytest

import loom as public
from loom import Actor, Command, Facts, Loom
from loom.circuits import Circuits, bound_to
from loom.drift import Window
from loom.errors import ActorFailedError
from loom.identity import Identity
from loom.policies import Table
from loom.replay import Selection
from loom.sealing import Dropped, Erased, Sealed
from loom.testing import Scenario
from tests.test_docs import DOCS, EXAMPLES
from tests.test_pages import blocks

ELSEWHERE = {
    "api.md: from loom.client import LoomClient": "a server: tests/client",
    "how-to.md: # desk/loom.py": "Django",
    "how-to.md: from os import environ": "an exporter: tests/production",
    "how-to.md: from loom import Loom": "a notebook, whose config another section writes",
    "integrations.md: from pydantic_ai import Agent, Tool": "tests/integrations",
    "integrations.md: from loom.integrations.langgraph import LoomCheckpointer": "tests/integrations",
    "integrations.md: from langchain.agents import create_agent": "tests/integrations",
    "integrations.md: from loom.integrations.openai_agents import handled, run": "tests/integrations",
    "integrations.md: from loom.integrations.otel_intake import GenAiSpans": "tests/integrations",
    "subjects.md: account = await self.gather_context(": "a turn of a subject with keys: tests/sealing",
    "subjects.md: opened = await loom.replay.opening": "a sealed history: tests/sealing",
}
"""Blocks that are not run here, by how they begin, and where what they show is tested or what it needs."""

TABLE = Table.of(
    {
        "format": "loom.table/1",
        "name": "discount",
        "facts": {"percent": {"type": "integer", "min": 0, "max": 100}, "industry": {"type": "string"}},
        "parameters": {"limit": {"type": "integer", "value": 10, "min": 0, "max": 100}},
        "limits": [],
        "rules": [
            {"name": "small", "when": [["percent", "<=", {"param": "limit"}]], "effect": "allow", "why": "small"}
        ],
        "otherwise": {"name": "large", "effect": "deny", "why": "over the limit"},
    }
)


class Asked(Facts):
    percent: int
    industry: str


class RequestDiscount(Command[bool]):
    customer_id: str
    percent: int


class DiscountAgent(Actor):
    policy = TABLE

    async def execute(self, command: RequestDiscount) -> bool:
        said = self.evaluate(Asked(percent=command.percent, industry="trade"))
        await self.record_decision(rationale=said.why, outcome={"granted": said.allowed})
        return said.allowed


class Inside(Command[None]):
    """A turn in which a block runs that speaks of `self`."""

    email: str = "ada@example.org"
    order: str = "o-1"


class Persona(Actor):
    async def execute(self, command: Inside) -> None:
        await self.record_decision(rationale="as she is")


def compiled(code: str) -> CodeType:
    made: CodeType = compile(code, "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return made


async def run(code: str, names: dict[str, Any]) -> None:
    coming = eval(compiled(code), names)
    if inspect.isawaitable(coming):
        await coming


def fragments() -> Iterator[tuple[str, str]]:
    programs = "\n".join(str(each.values[0]) for each in EXAMPLES)
    for page in sorted(DOCS.glob("*.md")):
        for _, code in blocks(page, "python", "py"):
            walked = 'title="' in page.read_text(encoding="utf-8") and code in walked_files(page)
            if code.strip() not in programs and not walked:
                yield f"{page.name}: {code.strip().splitlines()[0]}", code


def walked_files(page: Path) -> str:
    return "\n".join(re.findall(r'^```python title="[^"]+"\n(.*?)^```$', page.read_text("utf-8"), re.M | re.S))


def names(workspace: Loom) -> dict[str, Any]:
    """Return what the pages take for granted."""
    return {
        **{each: getattr(public, each) for each in public.__all__ if each != "loom"},
        **{each.__name__: each for each in (Circuits, Dropped, Erased, Identity, Sealed, Selection, Window, bound_to)},
        **{each.__name__: each for each in (Persona, RequestDiscount, DiscountAgent)},
        "__name__": __name__,
        "Annotated": Annotated,
        "Granted": bool,
        "Onboard": lambda _: Inside(),
        "crm": SimpleNamespace(account=lambda email: {"email": email, "contacts": [{"phone": "+44 20"}]}),
        "loom": workspace,
        "pay": lambda key: key,
        "arguments": {"amount": 5},
        "table": TABLE,
    }


@asynccontextmanager
async def world(at: Path) -> AsyncIterator[dict[str, Any]]:
    """Yield the names, with a loom in which two runs were decided under two versions."""
    async with Loom.open(f"sqlite:///{at}/journal.db", actors=[DiscountAgent, Persona], by="robin") as workspace:
        known = names(workspace)
        for run_id, limit in (("spring", 10), ("autumn", 20)):
            version = await workspace.policies.register(TABLE.with_params(limit=limit), by="robin")
            await workspace.policies.adopt(version.version, by="dana")
            async with workspace.runs.run(run_id=run_id, policies=[version.version]) as run_:
                for number in range(8):
                    asked = RequestDiscount(customer_id=f"c-{number}", percent=10 * (number % 4))
                    await workspace.actor(DiscountAgent, "acme").ask(asked)
        yield {**known, "version": version, "wider": version, "run": run_}


async def in_a_turn(code: str, known: dict[str, Any]) -> None:
    """Run a block as the body of an actor's turn."""

    class Body(Actor):
        async def execute(self, command: Inside) -> None:
            await run(code, {**known, "self": self, "command": command})

    done = await Scenario(Body, answers={"lead": True, "owner": True}).when(Inside())
    if done.error is not None:
        raise done.error


FRAGMENTS = list(fragments())


@pytest.mark.parametrize(("name", "code"), FRAGMENTS, ids=[name for name, _ in FRAGMENTS])
async def test_a_block_of_a_page_runs(tmp_path: Path, name: str, code: str) -> None:
    if reason := next((why for begins, why in ELSEWHERE.items() if name.startswith(begins)), None):
        pytest.skip(f"{name}: {reason}")
    async with world(tmp_path) as known:
        await (in_a_turn(code, known) if re.search(r"\bself\.\w+\(", code) else run(code, known))


def test_a_block_that_is_not_run_is_on_a_page() -> None:
    assert not [begins for begins in ELSEWHERE if not any(name.startswith(begins) for name, _ in FRAGMENTS)]


async def test_a_block_that_is_wrong_would_be_found(tmp_path: Path) -> None:
    async with world(tmp_path) as known:
        with pytest.raises(AttributeError):
            await run("await loom.replay.judged(Selection())", known)
        with pytest.raises(ActorFailedError, match="ask_for_approval"):
            await in_a_turn("await self.ask_for_approval(approver='lead')", known)
