"""Formats of other people, as loom writes them. tests/conformance has them read by other people's code."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from loom.formats import FORMATS, SIGNED, FormatName
from loom.formats.acta import issuer_of
from loom.formats.plain import flattened
from tests.cli.conftest import HOSTILE
from tests.cli.support import Answer, invoke


def exported(form: FormatName, config: Path, key_file: Path, *more: str) -> Answer:
    signed = ["--key", str(key_file)] if form in SIGNED else []
    return invoke("export", "--as", form, *signed, *more, config=config)


def files_of(config: Path) -> dict[str, str]:
    found = [path for path in config.parent.rglob("*") if path.name in ("journal.db", "heads", "journal.heads")]
    assert found
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_written_and_the_journal_stays_as_it_was(
    form: FormatName, filled: Path, key_file: Path
) -> None:
    before = files_of(filled)
    answer = exported(form, filled, key_file)
    assert answer.code == 0, answer.err
    text = answer.out
    assert [json.loads(text)] if form == "prov" else [json.loads(line) for line in text.splitlines()]
    assert files_of(filled) == before


def test_a_cloud_event_holds_each_entry_as_it_is_stored(filled: Path, key_file: Path) -> None:
    events = exported("cloudevents", filled, key_file).lines
    stored = invoke("export", config=filled).lines
    assert [each["id"] for each in events] == [str(each["position"]) for each in stored]
    for event, entry in zip(events, stored, strict=True):
        assert event["data"] == entry["body"]
        assert event["loomentryhash"] == entry["entry_hash"]
        assert event["subject"] == f"{entry['journal']}/{entry['sequence']}"
        assert all(isinstance(event[name], str) for name in event if name != "data")
        assert all(re.fullmatch(r"[a-z0-9]+", name) for name in event)


def test_only_what_was_asked_for_is_written(filled: Path, key_file: Path) -> None:
    every = [each["decision_id"] for each in exported("opa", filled, key_file).lines]
    of_b = [each["decision_id"] for each in exported("opa", filled, key_file, "note-agent/b").lines]
    assert 0 < len(of_b) < len(every)
    [one] = exported("opa", filled, key_file, "--decision", every[0][:12]).lines
    assert one["decision_id"] == every[0]
    nothing = invoke("export", "note-agent/nobody", "--as", "opa", config=filled)
    assert (nothing.code, nothing.out) == (1, "")


def test_what_is_written_for_opa_can_be_imported_again(filled: Path, key_file: Path, tmp_path: Path) -> None:
    events = exported("opa", filled, key_file).lines
    log = tmp_path / "log.jsonl"
    log.write_text("".join(f"{json.dumps(each)}\n" for each in events), encoding="utf-8")
    (tmp_path / "map.yaml").write_text(
        "format: loom.import/1\nsource: other\ntype: note\nown_id: {column: decision_id}\n"
        "facts: {topic: {column: input.topic}, weight: {column: input.weight, as: integer}}\n"
        "outcome: {granted: {column: result.verdict, values: {granted: true, denied: false}}}\n"
        "decided_at: {column: timestamp}\n",
        encoding="utf-8",
    )
    (tmp_path / "loom.config.yaml").write_text("data: data\nworkspace: w\n", encoding="utf-8")
    config = tmp_path / "loom.config.yaml"
    done = invoke("import", log, "--map", tmp_path / "map.yaml", "--from", "opa", "--by", "vera", config=config)
    assert done.code == 0, done.out
    again = exported("opa", config, key_file).lines
    assert [each["input"] for each in again] == [each["input"] for each in events]
    assert [each["result"]["verdict"] for each in again] == [each["result"]["verdict"] for each in events]
    assert [each["timestamp"] for each in again] == [each["timestamp"] for each in events]


def test_an_opa_event_says_what_the_rule_said_and_what_people_answered(filled: Path, key_file: Path) -> None:
    events = exported("opa", filled, key_file).lines
    results = {(each["result"]["effect"], each["result"]["verdict"]) for each in events}
    assert {("allow", "granted"), ("require_approval", "granted"), ("require_approval", "denied")} <= results
    for each in events:
        assert each["result"]["allow"] == (each["result"]["effect"] == "allow")
        assert len(each["bundles"][each["path"].removeprefix("loom/")]["revision"]) == 64


def canonical(entry: dict[str, Any]) -> str:
    """The rule of the format, written again: names in order, no blanks, names with a low line left out."""
    kept = {name: value for name, value in entry.items() if not name.startswith("_")}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_every_entry_of_a_testimony_record_is_covered_by_a_chain_of_digests(filled: Path, key_file: Path) -> None:
    entries = exported("testimony", filled, key_file).lines
    by_id = {each["id"]: each for each in entries}
    assert len(by_id) == len(entries)
    links = [each for each in entries if each["type"] == "integrity"]
    covered = [name for each in links for name in each["covers"]]
    assert set(by_id) - {links[-1]["id"]} == set(covered)
    for each in links:
        text = "\n".join(canonical(by_id[name]) for name in each["covers"])
        assert each["digest"] == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    assert all(earlier["id"] in later["covers"] for earlier, later in itertools.pairwise(links))
    assert [each["at"] for each in entries] == sorted(each["at"] for each in entries)


def test_a_testimony_says_who_answered_and_that_nothing_checked_the_name(filled: Path, key_file: Path) -> None:
    entries = exported("testimony", filled, key_file).lines
    decisions = {each["id"]: each for each in entries if each["type"] == "decision"}
    approvals = [each for each in entries if each["type"] == "approval"]
    assert {each["answer"] for each in approvals} == {"granted", "denied"}
    for each in approvals:
        decision = decisions[each["decision"]]
        assert each["approver"] == {"id": "dana", "kind": "human"}
        assert each["identity_source"] == "x-loom-claimed"
        assert decision["risk_class"] == "high"
        assert (decision["verdict"], decision["executed"]) == (
            ("permitted", True) if each["answer"] == "granted" else ("refused", False)
        )
        assert ("approval" in decision) == (each["answer"] == "granted")


def test_a_trust_record_is_signed_and_claims_nothing_that_software_cannot_know(
    filled: Path, key_file: Path, key: Ed25519PrivateKey
) -> None:
    import base64

    for record in exported("trace", filled, key_file, "--data-class", "internal").lines:
        signature = base64.urlsafe_b64decode(record.pop("signature") + "==")
        key.public_key().verify(signature, rfc8785.dumps(record))
        assert record["runtime"]["platform"] == "software-only"
        assert record["appraisal"]["status"] == "none"
        assert record["policy"]["enforcement_mode"] == "declared"
        assert record["build_provenance"]["slsa_level"] == 0
        assert record["data_class"] == "internal"


def test_receipts_are_signed_and_chained_and_a_change_shows(
    filled: Path, key_file: Path, key: Ed25519PrivateKey
) -> None:
    receipts = exported("acta", filled, key_file).lines
    before = None
    for each in receipts:
        payload = each["payload"]
        assert payload["issuer_id"] == each["signature"]["kid"] == issuer_of(key.public_key().public_bytes_raw())
        key.public_key().verify(bytes.fromhex(each["signature"]["sig"]), rfc8785.dumps(payload))
        assert payload.get("previousReceiptHash") == before
        assert ("previousReceiptHash" in payload) == (before is not None)
        before = f"sha256:{hashlib.sha256(rfc8785.dumps(each)).hexdigest()}"
    assert {each["payload"]["decision"] for each in receipts} == {"allow", "deny"}
    changed = {**receipts[0]["payload"], "decision": "deny"}
    with pytest.raises(InvalidSignature):
        key.public_key().verify(bytes.fromhex(receipts[0]["signature"]["sig"]), rfc8785.dumps(changed))


def test_what_a_format_cannot_hold_is_counted(tmp_path: Path, key_file: Path) -> None:
    """Observed decisions were made under no policy: receipts and Trust Records leave them out, and say so."""
    rows = tmp_path / "rows.csv"
    rows.write_text("id,approve\n1,yes\n2,no\n", encoding="utf-8")
    (tmp_path / "map.yaml").write_text(
        "format: loom.import/1\nsource: s\ntype: loan\nown_id: {column: id}\n"
        "facts: {number: {column: id, as: integer}}\n"
        'outcome: {granted: {column: approve, values: {"yes": true, "no": false}}}\n',
        encoding="utf-8",
    )
    (tmp_path / "loom.config.yaml").write_text("data: data\nworkspace: w\n", encoding="utf-8")
    config = tmp_path / "loom.config.yaml"
    done = invoke("import", rows, "--map", tmp_path / "map.yaml", "--by", "vera", config=config)
    assert done.code == 0, done.err
    for form in ("acta", "trace"):
        answer = exported(form, config, key_file)
        assert (answer.code, answer.out) == (1, "")
        assert "2 left out" in answer.err
    decisions = [each for each in exported("testimony", config, key_file).lines if each["type"] == "decision"]
    assert [each["risk_source"] for each in decisions] == ["x-loom-no-rule"] * 2
    assert [each["executed"] for each in decisions] == [False] * 2


def test_hostile_text_is_kept_and_escaped(filled: Path, key_file: Path) -> None:
    for form in FORMATS:
        assert "\x1b" not in exported(form, filled, key_file).out
    kept = [json.dumps(each.get("data")) for each in exported("cloudevents", filled, key_file).lines]
    assert any(json.dumps(HOSTILE)[1:-1] in each for each in kept)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--as", "acta"],
        ["--as", "opa", "--key", "KEY"],
        ["--as", "opa", "--joined"],
        ["--decision", "abc"],
        ["--key", "KEY"],
        ["--as", "yaml"],
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[str], filled: Path, key_file: Path) -> None:
    answer = invoke("export", *[str(key_file) if each == "KEY" else each for each in arguments], config=filled)
    assert answer.code == 2
    assert answer.out == ""


def test_a_single_decision_as_cloud_events_is_refused(filled: Path, key_file: Path) -> None:
    answer = exported("cloudevents", filled, key_file, "--decision", "abc")
    assert answer.code != 0
    assert "an event for each entry" in answer.err


def test_the_key_that_signs_checkpoints_signs_where_none_is_named(filled: Path, key_file: Path, tmp_path: Path) -> None:
    config = tmp_path / "loom.config.yaml"
    data = filled.parent / "data"
    config.write_text(f"data: {data}\nworkspace: w\ncheckpoints: {{key_file: {key_file}}}\n", encoding="utf-8")
    named, found = exported("acta", filled, key_file).lines, invoke("export", "--as", "acta", config=config).lines
    assert found[0]["signature"]["kid"] == named[0]["signature"]["kid"]


def test_the_name_of_a_key_is_its_first_letters_in_base_58() -> None:
    assert issuer_of(bytes(32)) == "sb:issuer:111111111111"
    assert issuer_of(b"\0" * 31 + b"\x3a") == "sb:issuer:111111111111"
    assert re.fullmatch(r"sb:issuer:[1-9A-HJ-NP-Za-km-z]{12}", issuer_of(bytes(range(32))))


def test_nested_values_are_named_by_their_path() -> None:
    assert flattened({"a": {"b": 1, "c": [1, {"d": 2}]}, "e": None}) == {"a.b": 1, "a.c": [1, {"d": 2}], "e": None}
