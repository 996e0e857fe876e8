"""What must not change: digests of contracts, hashes of rules, and entries as an earlier loom wrote them."""

from __future__ import annotations

from pathlib import Path

from loom.gate import gate_validation, load_contract
from loom.gate.entries import ContractRegisteredEntry
from loom.journal.entry import KINDS, UnknownEntry
from loom.monitors import RollingMeanParams, rolling_mean, rolling_mean_of
from tests.gate.support import CONTRACT

EXAMPLE = Path(__file__).parents[2] / "examples" / "retention_drift" / "contract.yaml"

REGISTERED = (
    b'{"step":null,"contract":{"contract_id":"retention-offers","version":"1.2.0","role":"a retention agent, who may '
    b'offer subscribers that want to leave a discount","allowed_policy_types":["retention_discount"],"limits":'
    b'{"discount_offered":15.0},"minimum_confidence":0.5},"contract_hash":'
    b'"456de9b0c46f7fdc1a3c2274c4970ab865e7c46c6ca95a8447eb30e6ab616569","by":"operations","reason":"the experiment\'s '
    b'contract"}'
)
"""The body of schema 1, before contracts had floors."""


def test_a_contract_without_floors_keeps_the_digest_it_had_before_there_were_any() -> None:
    assert load_contract(EXAMPLE).hash == "456de9b0c46f7fdc1a3c2274c4970ab865e7c46c6ca95a8447eb30e6ab616569"
    assert CONTRACT.hash == "6dfc73585a48f0a963516c000109563e6c656e64cd9999f81979c4e9aaad164e"
    assert not {"floors", "escalate_to"} & CONTRACT.model_dump(mode="json").keys()


def test_what_is_set_is_in_the_digest() -> None:
    floored = CONTRACT.model_copy(update={"floors": {"discount_offered": 0.0}})
    addressed = CONTRACT.model_copy(update={"escalate_to": "vp_sales"})
    assert len({CONTRACT.hash, floored.hash, addressed.hash}) == 3
    assert floored.model_dump(mode="json")["floors"] == {"discount_offered": 0.0}


def test_a_contract_that_an_earlier_loom_registered_reads_as_before() -> None:
    entry = KINDS.decode("gate.contract_registered", 1, REGISTERED)
    assert isinstance(entry, ContractRegisteredEntry)
    assert entry.contract == load_contract(EXAMPLE)
    assert entry.contract.hash == entry.contract_hash


def test_a_contract_of_a_later_schema_is_newer_and_not_damaged() -> None:
    later = ContractRegisteredEntry.schema_version + 1
    entry = KINDS.decode("gate.contract_registered", later, REGISTERED[:-1] + b',"more":1}')
    assert isinstance(entry, UnknownEntry)
    assert entry.problem == "newer_schema"


def test_the_rules_of_gate_and_monitor_are_the_versions_that_were_registered_from_the_first() -> None:
    """Floors, consent and credit came by the facts that these rules are asked about, so each old version runs on."""
    assert gate_validation.version_hash == "bf1e3842aa71b5e7f22a94072267f58becb29221d962657b6fd65fb289079359"
    assert rolling_mean.version_hash == "9e8cd8103938404bf82f8724cf080a9209f3f615a05dfd10f45624a09f9958e5"
    of_gate = rolling_mean_of("monitor-profitability", RollingMeanParams())
    assert of_gate.version_hash == "42c324d63f4bfc76e9dd8c142c8dc799dd9e28b0bdd57ca07b03eacfdc7fafa6"
