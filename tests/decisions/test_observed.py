"""Observed decisions as entries: no policy, a source, a claimed decider; entries of before are read as before."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from loom.decisions import Decision, DecisionJournalEntry, DecisionObservedEntry, ObservedSource
from loom.decisions.decision import PolicyReference, observed_decision_id
from loom.decisions.entries import RunStartedEntry
from loom.errors import PolicyNotRegisteredError
from loom.journal.entry import KINDS, UnknownEntry
from loom.journal.store import draft
from loom.policies.entries import PolicyAdoptedEntry

POLICY = PolicyReference(name="discount", version="policy_v1_00000000", hash="0" * 64)
SOURCE = ObservedSource(name="bank", own_id="17", digest="d" * 64, row=3, row_digest="e" * 64)
AT = datetime(2015, 3, 1, 12, tzinfo=UTC)

ADOPTED_2 = (
    '{"step":null,"identity_source":"claimed","via":"python","name":"discount","version":"policy_v1_00000000",'
    f'"hash":"{"0" * 64}","by":"vera","reason":null,"trigger":"person"}}'
)
STARTED_2 = (
    '{"step":null,"identity_source":"claimed","via":"python","run_id":"run_36","run_kind":"simulation","by":"vera",'
    '"policies":[],"parameters":{},"seed":null,"note":null}'
)


def observed(**changes: Any) -> Decision:
    decision_id = observed_decision_id(workspace="default", journal="mortgage/17", source="bank", own_id="17")
    given = {
        "decision_id": decision_id,
        "decision_type": "mortgage",
        "rationale": "no reason was recorded",
        "facts": {"income": 17},
        "outcome": {"granted": True},
        "origin": "observed",
        "decided_at": AT,
    }
    return Decision.model_validate(given | changes)


def test_an_observed_decision_has_no_policy_and_comes_back_the_same() -> None:
    entry = DecisionObservedEntry(decision=observed(), source=SOURCE, decided_by="carol", via=SOURCE.via)
    ready = draft(entry, command_id="bank:17")

    again = KINDS.decode(ready.kind, ready.schema_version, ready.body)

    assert isinstance(again, DecisionObservedEntry)
    assert (again.decision, again.source, again.decided_by) == (entry.decision, SOURCE, "carol")
    assert (again.identity_source, again.via) == ("claimed", f"import:{'d' * 64}:3")
    assert "policy" not in json.loads(ready.body)["decision"]
    assert again.decision.replace(confidence=0.5).policy is None
    with pytest.raises(PolicyNotRegisteredError, match="is observed and was judged under no policy"):
        _ = again.decision.under


def test_its_id_follows_from_workspace_journal_source_and_own_id() -> None:
    given = {"workspace": "default", "journal": "mortgage/17", "source": "bank", "own_id": "17"}
    assert observed_decision_id(**given) == "149d1ca5a18b846e57b6fd55c4a807ce2c4462bae855ccfc139742289136bf5f"
    assert (
        len({observed_decision_id(**given | {name: "other"}) for name in given} | {observed_decision_id(**given)}) == 5
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": POLICY},
        {"evaluation": {"effect": "allow", "rule": "r", "why": "w"}},
        {"origin": "original"},
        {"origin": "original", "policy": POLICY},  # only imports set a time of its own
        {"origin": "replayed", "policy": POLICY},
    ],
)
def test_policy_and_own_time_exclude_each_other(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        observed(**changes)


def test_each_kind_holds_its_own_decisions_only() -> None:
    lived = observed(origin="original", policy=POLICY, decided_at=None)
    with pytest.raises(ValidationError, match="expected one of a turn or a replay"):
        DecisionJournalEntry(decision=observed())
    with pytest.raises(ValidationError, match="expected an observed one"):
        DecisionObservedEntry(decision=lived, source=SOURCE)
    body = json.loads(draft(DecisionJournalEntry(decision=lived)).body)
    assert "decided_at" not in body["decision"]  # a decision of a turn is written as it was
    assert DecisionJournalEntry.schema_version == 9


@pytest.mark.parametrize(("kind", "body"), [("policy_adopted", ADOPTED_2), ("run_started", STARTED_2)])
def test_what_schema_2_wrote_is_read_and_what_is_written_now_is_newer(kind: str, body: str) -> None:
    entry = KINDS.decode(kind, 2, body.encode())
    assert isinstance(entry, PolicyAdoptedEntry | RunStartedEntry)
    assert entry.by == "vera"
    assert json.loads(draft(entry).body).items() >= json.loads(body).items()
    assert type(entry).schema_version == 3
    assert isinstance(KINDS.decode(kind, 4, body.encode()), UnknownEntry)
