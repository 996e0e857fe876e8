"""A turn that is cut short after any entry comes to the same end, and does nothing twice (design: One idea)."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loom.journal import Recorded
from loom.runtime import Loom
from tests.actors.agents import Carry, Do, Interpreter, Program, Together, Verb, World
from tests.actors.support import MARKERS, Granting, entries, lay_down, opened, until

_VERBS = get_args(Verb)
_TIMES = frozenset({"duration_ms", "retrieved_at", "answered_at", "position"})
"""Times, and how far the index of precedents was, which a resumption of the turn moves."""
_VARIES = frozenset({"value_drawn", "turn_completed"})
_TELLS_ORDER = frozenset({"decision", "approval_requested", "approval_answered"})
"""What these entries say depends on what came before them, which is not fixed among branches."""

EVERY_VERB: Program = [Do.model_validate({"verb": verb, "key": f"{verb}-1"}) for verb in _VERBS]
AT_ONCE: Program = [
    Do(verb="fetch", key="first"),
    Together(
        branches=[
            [Do(verb="fetch", key="a"), Do(verb="note", key="an"), Do(verb="perform", key="ap")],
            [
                Do(verb="fetch_fails", key="b"),
                Together(branches=[[Do(verb="draw", key="bd")], [Do(verb="fetch", key="bf")]]),
            ],
            [Do(verb="ask", key="c"), Do(verb="decide", key="cd")],
        ]
    ),
    Do(verb="fetch", key="last"),
]
PARKED: Program = [
    Do(verb="fetch", key="first"),
    Together(
        branches=[
            [Do(verb="approve", key="vp"), Do(verb="note", key="after vp")],
            [Do(verb="approve", key="cfo"), Do(verb="evaluate", key="after cfo"), Do(verb="fetch", key="then")],
            [Do(verb="fetch", key="meanwhile"), Do(verb="perform", key="letter")],
        ],
        nursery="anyio",
    ),
    Do(verb="approve", key="at last"),
    Do(verb="decide", key="done"),
]


async def run(directory: Path, program: Program, world: World, *, states: bool) -> tuple[Any, list[Recorded]]:
    async with opened(directory, world, approver=Granting(), shutdown_grace_s=20) as loom:
        async with asyncio.timeout(30):
            reply = await loom.actor(Interpreter, "one").ask(
                Carry(program=program, states=states), id="the-command", by="somebody"
            )
            await until(lambda: _lent(loom))  # those that were sent with `tell`
        return reply, await entries(loom)


async def _lent(loom: Loom) -> bool:
    return all(turn.summary.actor_type != "lender" for turn in await loom.turns.unfinished())


async def check_every_cut(program: Program, *, states: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        base, world = Path(name), World()
        reply, whole = await run(base / "whole", program, world, states=states)
        assert set(world.calls.values()) <= {1}
        begin = next(each.position for each in whole if each.kind == "command_received")
        end = next(each for each in whole if each.kind == "turn_completed" and each.command_id == "the-command")
        for cut in range(begin, end.position):
            history = whole[:cut]
            again, directory = World(), base / f"cut-{cut}"
            await lay_down(directory, history)
            resumed, journal = await run(directory, program, again, states=states)
            where = f"cut after position {cut}, {history[-1].kind} {history[-1].entry.step}"
            assert _settled(resumed, history) == _settled(reply, history), where
            assert _content(journal, history, ordered=states) == _content(whole, history, ordered=states), where
            assert [each.body for each in journal[:cut]] == [each.body for each in history], where
            done = _done(history)
            assert again.calls == Counter({call: 1 for call in world.calls if call not in done}), where


def _done(history: Sequence[Recorded]) -> set[str]:
    """Return the calls whose results are in the journal."""
    done = set()
    for recorded in history:
        body: Any = recorded.body_json()
        if recorded.kind == "context_gathered":
            verb = "lend" if body["system"] == "lender" else "fetch"
            done.add(f"{verb} {body['query']}")
        elif recorded.kind == "effect_performed":
            done.add(f"perform {body['key']}")
    return done


def _settled(reply: dict[str, Any], history: Sequence[Recorded]) -> dict[str, Any]:
    """Return a reply without what was drawn for the first time after the cut: that may come out differently."""
    drawn = [each.body_json() for each in history if each.kind == "value_drawn"]
    known = Counter(body["step"][1] for body in drawn if isinstance(body, dict))  # type: ignore[index]
    return {
        key: value if not isinstance(value, list) or known[key] == 3 else "drawn again" for key, value in reply.items()
    }


def _content(journal: Sequence[Recorded], history: Sequence[Recorded], *, ordered: bool) -> list[str]:
    """Return what was journaled, without markers of resumption and without times; in order where order is fixed."""
    counted = [each for each in journal if not _is_marker(each) and not each.journal.startswith("loom/")]
    counted.sort(
        key=lambda each: each.journal
    )  # what was sent with `tell` runs at the same time, in a journal of its own
    steps = {(each.journal, each.sequence): each for each in journal}
    before = [_line(each, body="as it was") for each in counted if each.position <= len(history)]
    after = [_line(each, body=_body(each, steps, ordered=ordered)) for each in counted if each.position > len(history)]
    return before + (after if ordered else sorted(after))


def _is_marker(recorded: Recorded) -> bool:
    """Tell what only says that a turn was away: which moments it was parked at is a matter of timing."""
    return recorded.kind in MARKERS or (recorded.kind == "turn_continued" and recorded.entry.step is None)


def _line(recorded: Recorded, *, body: Any) -> str:
    step = recorded.entry.step
    return f"{recorded.journal} {recorded.command_id} {recorded.kind} {step} {json.dumps(body)}"


def _body(recorded: Recorded, steps: dict[tuple[str, int], Recorded], *, ordered: bool) -> Any:
    body: Any = recorded.body_json()
    _forget_times(body)
    if recorded.kind == "decision":  # when its steps were looked up and answered is a matter of timing, and in a digest
        for references in (body["decision"].get("refers") or {}).values():
            for reference in references:
                step = steps[recorded.journal, reference[0]]
                assert step.body_digest.hex() == reference[1]
                reference[:2] = [_body(step, steps, ordered=ordered)]
    return None if recorded.kind in _VARIES or (recorded.kind in _TELLS_ORDER and not ordered) else body


def _forget_times(value: Any) -> None:
    if isinstance(value, dict):
        for key in value:
            if key in _TIMES:
                value[key] = None
            else:
                _forget_times(value[key])
    elif isinstance(value, list):
        for item in value:
            _forget_times(item)


@pytest.mark.parametrize("program", [EVERY_VERB, AT_ONCE, PARKED], ids=["every verb", "at once", "parked"])
async def test_a_turn_cut_short_after_any_entry_comes_to_the_same_end(program: Program) -> None:
    await check_every_cut(program, states=program is EVERY_VERB)


_Step = st.sampled_from(_VERBS)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Programs of up to a dozen steps, some of them at the same time; every step has a key of its own."""
    left = draw(st.integers(min_value=1, max_value=9))
    number = 0

    def sequence(depth: int) -> Program:
        nonlocal left, number
        steps: Program = []
        for _ in range(draw(st.integers(min_value=1, max_value=4))):
            if left <= 0:
                break
            if depth < 2 and draw(st.booleans()):
                branches = [sequence(depth + 1) for _ in range(draw(st.integers(min_value=2, max_value=3)))]
                nursery = draw(st.sampled_from(["asyncio", "anyio"]))
                steps.append(Together.model_validate({"branches": branches, "nursery": nursery}))
            else:
                left, number = left - 1, number + 1
                steps.append(Do.model_validate({"verb": draw(_Step), "key": f"k{number}"}))
        return steps

    return sequence(0)


@pytest.mark.slow
@settings(max_examples=6, suppress_health_check=list(HealthCheck))
@given(programs())
def test_any_program_cut_short_after_any_entry_comes_to_the_same_end(program: Program) -> None:
    asyncio.run(check_every_cut(program, states=False))
