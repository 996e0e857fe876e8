"""The checkpointer for LangGraph: the conformance suite, and a graph that goes on in another process' place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypedDict

import pytest

pytest.importorskip("langgraph.checkpoint.conformance", reason="LangGraph is not installed: see `make integrations`")

from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from loom import Loom
from loom.integrations.langgraph import LoomCheckpointer
from loom.journal.sqlite.verify import verify


class State(TypedDict, total=False):
    order: str
    approved: bool
    looked_up: int


async def test_the_conformance_suite_passes_in_all_capabilities(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", by="the tester") as loom:

        @checkpointer_test(name="LoomCheckpointer")
        async def made() -> AsyncIterator[LoomCheckpointer]:
            yield LoomCheckpointer(loom)

        report = await validate(made)
    failures = {name: each.failures for name, each in report.results.items() if not each.passed}
    assert failures == {}
    assert len(report.results) == 8
    assert report.passed_all()


def graph(saver: LoomCheckpointer, calls: list[str]) -> Any:
    def look_up(state: State) -> State:
        calls.append("look_up")
        return {"looked_up": 40}

    def ask(state: State) -> State:
        return {"approved": interrupt("refund?")}

    builder = StateGraph(State)
    builder.add_node("look_up", look_up)
    builder.add_node("ask", ask)
    builder.add_edge(START, "look_up")
    builder.add_edge("look_up", "ask")
    builder.add_edge("ask", END)
    return builder.compile(checkpointer=saver)


async def test_a_graph_goes_on_after_a_restart_where_it_was_interrupted(tmp_path: Path) -> None:
    config = {"configurable": {"thread_id": "ticket 7/a"}}
    calls: list[str] = []
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", by="the tester") as loom:
        await graph(LoomCheckpointer(loom), calls).ainvoke({"order": "o-1"}, config)
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", by="the tester") as loom:
        saver = LoomCheckpointer(loom)
        found = await graph(saver, calls).ainvoke(Command(resume=True), config)
        assert found == {"order": "o-1", "looked_up": 40, "approved": True}
        assert [each async for each in saver.alist(None)]
        journal = loom.files.journal
    assert calls == ["look_up"]
    assert verify(journal, workspace="default").ok


async def test_a_method_that_blocks_is_refused_on_the_event_loop(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", by="the tester") as loom:
        with pytest.raises(Exception, match="expected the asynchronous one"):
            LoomCheckpointer(loom).get_tuple({"configurable": {"thread_id": "t"}})
