"""What loom writes in other people's formats, read by other people's code: `make conformance` installs it.

A format counts as written when a program that its authors, or a third party, made accepts it. Each test has a control:
one change, and the same program refuses.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from loom.formats import SIGNED
from loom.formats.signing import base64url
from tests.cli.support import run


def needs(module: str, package: str) -> pytest.MarkDecorator:
    """Skip a test, before anything is made for it, where a package is not installed."""
    reason = f"{package} is not installed: see `make conformance`"
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=reason)


@pytest.fixture(scope="session")
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="session")
def exports(key: Ed25519PrivateKey, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the journal of `loom demo` in each format."""
    directory = tmp_path_factory.mktemp("demo")
    done = run("demo", cwd=directory)
    assert done.code == 0, done.err
    [home] = (directory / "loom-data").iterdir()
    pem = directory / "key.pem"
    pem.touch(mode=0o600)
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    found = {}
    for form in ("cloudevents", "prov", "testimony", "trace", "acta"):
        signed = ["--key", str(pem)] if form in SIGNED else []
        answer = run("export", "--as", form, *signed, cwd=home)
        assert answer.code == 0, answer.err
        found[form] = answer.out
    return found


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@needs("cloudevents", "cloudevents")
def test_the_sdk_of_cloudevents_reads_every_event_and_writes_it_again(exports: dict[str, str]) -> None:
    formats = importlib.import_module("cloudevents.core.formats.json")
    form = formats.JSONFormat()
    for line in exports["cloudevents"].splitlines():
        event = form.read(None, line)
        again, written = json.loads(form.write(event)), json.loads(line)
        assert again["time"] == written["time"]
        assert again == written
    wrong = {**json.loads(line), "loomJournal": "x"}
    with pytest.raises(Exception, match="loomJournal"):
        form.read(None, json.dumps(wrong))


@needs("prov", "prov")
def test_prov_reads_the_document_and_a_decision_meets_its_precedents(exports: dict[str, str]) -> None:
    model = importlib.import_module("prov.model")
    document = model.ProvDocument.deserialize(content=exports["prov"], format="json")
    bundles = list(document.bundles)
    assert len(bundles) == len(json.loads(exports["prov"])["bundle"]) == 5
    again = model.ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
    assert again == document
    flat = document.flattened().unified()
    entities = {str(each.identifier) for each in flat.get_records(model.ProvEntity)}
    derived = [dict(each.formal_attributes) for each in flat.get_records(model.ProvDerivation)]
    used = {str(value) for each in derived for name, value in each.items() if str(name) == "prov:usedEntity"}
    assert any(each.startswith("loom:decision.") for each in used), "no decision is derived from a precedent"
    assert used <= entities
    with pytest.raises(Exception, match="wasMadeBy"):
        model.ProvDocument.deserialize(content=exports["prov"].replace("wasGeneratedBy", "wasMadeBy"), format="json")


@needs("testimony_validate", "testimony-pydantic-ai")
def test_the_validator_of_testimony_records_finds_the_highest_level(exports: dict[str, str]) -> None:
    validator = importlib.import_module("testimony_validate")
    report = validator.validate(exports["testimony"])
    assert report.level == "TR-4", [each for each in report.checks if not each["ok"]]
    assert report.spec == "testimony-record/0.2"
    assert all(each["ok"] for each in report.checks)
    changed = validator.validate(exports["testimony"].replace("healthcare", "wellness", 1))
    assert changed.level == "TR-3"


@needs("trace_tests", "agentrust-trace-tests")
def test_the_suite_of_trace_passes_at_the_highest_level_that_software_reaches(
    exports: dict[str, str], tmp_path: Path
) -> None:
    """Level 1 and above ask for a measurement by hardware: the suite refuses `software-only` there by its name."""
    runner = importlib.import_module("trace_tests.runner")
    report = importlib.import_module("trace_tests.report")
    assert report.LEVEL_NAMES[0] == "Software-only"
    records = lines(exports["trace"])
    assert len(records) == 5
    for record in records:
        found = [each for module in runner.run(record, "trace", 0).values() for each in module]
        assert not [each for each in found if each.failed() or each.unverified()]
    above = [each for module in runner.run(records[0], "trace", 1, expected_nonce="n").values() for each in module]
    assert "TR-RTE-001" in {each.code for each in above if each.failed()}
    changed = {**records[0], "data_class": "public"}
    found = [each for module in runner.run(changed, "trace", 0).values() for each in module]
    assert {each.code for each in found if each.failed()} == {"TR-SIG-005"}


@needs("asqav", "asqav")
def test_another_verifier_of_acta_receipts_accepts_each_and_the_chain(
    exports: dict[str, str], key: Ed25519PrivateKey
) -> None:
    oracle = importlib.import_module("asqav.verifier.oracle")
    receipts = lines(exports["acta"])
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_key().public_bytes_raw())}
    keys = {"keys": [{**jwk, "kid": receipts[0]["signature"]["kid"]}]}

    def verdict(receipt: dict[str, Any], before: dict[str, Any] | None) -> str:
        found: str = oracle.verify(receipt, oracle.ADAPTERS, key_provider=keys, predecessor=before).verdict
        return found

    for before, each in zip([None, *receipts], receipts, strict=False):
        assert verdict(each, before) == "verified"
    assert verdict(receipts[2], receipts[0]) == "unverified"
    forged = {**receipts[0], "payload": {**receipts[0]["payload"], "decision": "deny"}}
    assert verdict(forged, None) == "unverified"


@needs("testimony_validate", "testimony-pydantic-ai")
def test_a_record_of_what_was_granted_without_consent_stays_below_the_third_level(exports: dict[str, str]) -> None:
    validator = importlib.import_module("testimony_validate")
    kept = [each for each in lines(exports["testimony"]) if each["type"] != "approval"]
    for each in kept:
        each.pop("approval", None)
    report = validator.validate("".join(f"{json.dumps(each)}\n" for each in kept))
    assert report.level == "TR-2"
    assert "an executed high-risk action has an approval entry" in {each["check"] for each in report.failures("TR-3")}
