"""A decision says which of its look-ups failed, and what its turn did in the world, or that this is not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loom import Actor, Command, Loom
from loom.actors.entries import EffectIntendedEntry, EffectPerformedEntry
from loom.decisions import DecisionInput, DecisionJournalEntry
from loom.errors import EffectFailedError, LookupFailedError
from loom.identity import derived_id
from loom.journal import Step, TurnFailedEntry
from loom.journal.entry import KINDS, UnknownEntry
from loom.policies.tables import Table
from tests.projections.journals import MOMENT, command, decision
from tests.projections.reading import asked

JOURNAL = "discount-agent/acme"
RULE = Table.of(
    {
        "format": "loom.table/1",
        "name": "lookups",
        "facts": {"known": {"type": "boolean"}},
        "rules": [{"name": "known", "when": [["known", "=", True]], "effect": "allow", "why": "it is known"}],
        "otherwise": {"name": "unknown", "effect": "deny", "why": "nobody knows"},
    }
)


class Look(Command[str]):
    fails: bool = False


class Looker(Actor[None]):
    actor_type = "looker"
    policy = RULE

    async def execute(self, command: Look) -> str:
        async def fetch() -> Any:
            if command.fails:
                raise ConnectionError("the CRM is down")

        known = True
        try:
            await self.gather_context(system="crm", entity="account", query="acme", fetcher=fetch)
        except LookupFailedError:
            known = False
        said = self.evaluate({"known": known})
        return await self.record_decision(rationale=said.why, outcome={"granted": said.allowed})


class Do(Command[str]):
    pass


class Doer(Actor[None]):
    actor_type = "doer"

    async def execute(self, command: Do) -> str:
        await self.perform(action="reserve the seat", effect=lambda key: {"seat": "4C"}, key="seat-7")
        decision_id = await self.record_decision(rationale="it fits", outcome={"granted": True})

        def breaks(key: str) -> None:
            raise RuntimeError("the printer is out of paper")

        try:
            await self.perform(action="print the ticket", effect=breaks, key="ticket-7", repeatable=False)
        except EffectFailedError:
            await self.perform(action="mail the ticket", effect=lambda key: f"sent {key}", key="mail-7")
        return decision_id


async def test_a_look_up_that_failed_is_no_empty_one_in_the_decision_and_in_why(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Looker], by="robin") as loom:
        failed, empty = [
            await loom.traces.get(await loom.actor(Looker, key).ask(Look(fails=key == "down")))
            for key in ("down", "up")
        ]
        told, untold = [(await loom.traces.explain(each.decision_id)).text() for each in (failed, empty)]
        again = [each.verdict async for each in loom.replay.verify("looker/down")]
    [look_up] = failed.context
    assert look_up.failure is not None
    assert (look_up.failure.type_name, look_up.failure.message) == ("ConnectionError", "the CRM is down")
    assert "it failed: ConnectionError: the CRM is down" in told
    [look_up] = empty.context
    assert (look_up.failure, look_up.result) == (None, None)
    assert "failed" not in untold
    assert again == ["same"]


async def test_an_older_decision_does_not_say_whether_its_look_up_failed_and_is_not_made_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(DecisionJournalEntry, "schema_version", 1)
        earlier.setattr(DecisionJournalEntry, "leaves_out_defaults", False)
        earlier.setattr("loom.actors.verbs.decision._refers", lambda turn, step: False)
        earlier.setattr("loom.decisions.entries.DecisionInput", _without_failure)
        async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Looker], by="robin") as loom:
            decision_id = await loom.actor(Looker, "down").ask(Look(fails=True))
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Looker], by="robin") as loom:
        trace = await loom.traces.get(decision_id)
        text = (await loom.traces.explain(decision_id)).text()
        assert [each.verdict async for each in loom.replay.verify("looker/down")] == ["same"]
    assert (trace.schema_version, trace.context[0].failure) == (1, None)
    assert "nothing, or it failed" in text


def _without_failure(**given: Any) -> DecisionInput:
    return DecisionInput(**{**given, "failure": None})


def test_an_older_loom_calls_a_decision_with_failures_newer() -> None:
    entry = DecisionJournalEntry(decision=decision("new"))
    body = entry.model_dump_json().encode()
    newer = KINDS.decode("decision", DecisionJournalEntry.schema_version + 1, body)
    assert isinstance(newer, UnknownEntry)
    assert newer.problem == "newer_schema"
    assert DecisionJournalEntry.schema_version == 9


async def test_effects_of_the_turn_are_told_with_their_keys_results_and_failures(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[Doer], by="robin") as loom:
        decision_id = await loom.actor(Doer, "d").ask(Do())
        trace = await loom.traces.get(decision_id)
        text = (await loom.traces.explain(decision_id)).text()
        await loom.rebuild()
        assert await loom.traces.get(decision_id) == trace
    told = [(each.action, each.key, each.status, each.before, each.repeatable) for each in trace.effects]
    assert told == [
        ("reserve the seat", "seat-7", "performed", True, True),
        ("print the ticket", "ticket-7", "failed", False, False),
        ("mail the ticket", "mail-7", "performed", False, True),
    ]
    assert [each.result for each in trace.effects] == [{"seat": "4C"}, None, "sent mail-7"]
    assert trace.effects_left_out == 0
    done = " ".join(text.partition("What was done?")[2].partition("What was the result?")[0].split())
    for said in (
        "reserve the seat done, before it was decided key seat-7, begun",
        'result: {"seat": "4C"}',
        "failed: RuntimeError: the printer is out of paper, after it was decided",
        "not repeatable",
        "result: sent mail-7",
    ):
        assert said in done


async def test_an_effect_without_a_result_is_not_known_to_have_happened(tmp_path: Path) -> None:
    intended = EffectIntendedEntry(step=Step("perform", "k"), action="pay", key="k", repeatable=False)
    elsewhere = EffectPerformedEntry(step=Step("perform", "k"), action="pay", key="k", result="paid", duration_ms=1.0)
    async with asked(tmp_path) as loom:
        await loom.write(JOURNAL, command(), intended, DecisionJournalEntry(decision=decision("one")), turn="t")
        await loom.write(JOURNAL, command(), elsewhere, turn="u")  # of another turn: it says nothing about this one
        decision_id = derived_id("test", "one")
        [before] = (await loom.traces.get(decision_id)).effects
        waiting = (await loom.traces.explain(decision_id)).text()
        await loom.write(JOURNAL, TurnFailedEntry(type_name="ValueError", message="no"), turn="t")
        [after] = (await loom.traces.get(decision_id)).effects
        ended = (await loom.traces.explain(decision_id)).text()
    assert (before.status, after.status, after.result, after.ended_at) == ("unknown", "unknown", None, None)
    assert "not known yet whether it was done" in " ".join(waiting.split())
    assert "unknown whether it was done" in " ".join(ended.split())


async def test_effects_beyond_a_thousand_are_counted(tmp_path: Path) -> None:
    intents = [
        EffectIntendedEntry(step=Step("perform", "k", number), action="pay", key="k", repeatable=True)
        for number in range(1_003)
    ]
    async with asked(tmp_path) as loom:
        await loom.write(JOURNAL, command(), DecisionJournalEntry(decision=decision("one")), *intents, turn="t")
        trace = await loom.traces.get(derived_id("test", "one"))
        text = (await loom.traces.explain(trace.decision_id)).text()
    assert (len(trace.effects), trace.effects_left_out) == (1_000, 3)
    assert "3 more are not shown" in text


async def test_an_effect_that_only_the_view_knows_is_not_shown(tmp_path: Path) -> None:
    from tests.projections.tampering import tamper

    async with asked(tmp_path) as loom:
        await loom.write(JOURNAL, command(), DecisionJournalEntry(decision=decision("one")), turn="t")
        await loom.traces.find()
        tamper(
            loom.store.files.views,
            "INSERT INTO turn_effects VALUES "
            "(2, ?, 't', '[]', 'pay', 'k', 1, 5, NULL, NULL, 3, 6, '\"paid\"', NULL, NULL, 1.0, NULL)",
            [JOURNAL],
        )
        assert (await loom.traces.get(derived_id("test", "one"))).effects == ()


def test_a_failure_goes_through_the_journal_unchanged() -> None:
    from loom.decisions import Failure

    look_up = DecisionInput(
        system="crm",
        entity="a",
        query="q",
        retrieved_at=MOMENT,
        duration_ms=1.0,
        failure=Failure(type_name="E", message="m"),
    )
    body = DecisionJournalEntry(decision=decision("x", inputs=(look_up,))).model_dump_json().encode()
    read = KINDS.decode("decision", 2, body)
    assert isinstance(read, DecisionJournalEntry)
    assert read.decision.inputs == (look_up,)
