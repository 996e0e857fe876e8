"""TRACE v0.2 Trust Records, Level 0 (software only): one for each decision under a policy, signed.

Higher levels ask for a measurement by hardware, which software cannot make. What loom does not know is said so: the
appraisal is `none`, the policy is `declared` (a rule's answer is kept with the decision; nothing here proves that it
was enforced), and a decision in whose turn no model was called has the provider `none`.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from importlib import metadata

import rfc8785

from loom.decisions import DecisionTrace
from loom.formats.plain import Json, digest_of, inputs_of, part
from loom.formats.reading import LeftOut
from loom.formats.signing import base64url, jwk_of
from loom.proof.keys import Signer

__all__ = ["PROFILE", "trust_records"]

PROFILE = "tag:agentrust-io.com,2026:trace-v0.2"
_DISTRIBUTION = "loom-journal"


async def trust_records(
    traces: AsyncIterator[DecisionTrace],
    *,
    workspace: str,
    signer: Signer,
    data_class: str,
    now: Callable[[], datetime],
    left_out: LeftOut,
) -> AsyncIterator[Json]:
    """Yield the records, each signed for itself."""
    software = _software()
    async for trace in traces:
        if trace.decision.policy is None:
            left_out.add("it was decided under no policy: a Trust Record needs one")
            continue
        record = _record(trace, workspace=workspace, software=software, data_class=data_class)
        record |= {"iat": int(now().timestamp()), "cnf": {"jwk": dict(jwk_of(signer.public))}}
        signature = signer.sign(rfc8785.dumps(record))
        yield {**record, "signature": base64url(signature)}


def _record(trace: DecisionTrace, *, workspace: str, software: str, data_class: str) -> Json:
    policy = trace.decision.policy
    assert policy is not None  # noqa: S101 - see `trust_records`
    calls = [*inputs_of(trace), *(each.model_dump(mode="json") for each in trace.effects)]
    return {
        "eat_profile": PROFILE,
        "subject": f"spiffe://loom/{part(workspace)}/{part(trace.actor_type)}/{part(trace.actor_key)}/{trace.decision_id}",
        "model": _model(trace),
        "runtime": {"platform": "software-only", "measurement": software},
        "policy": {"bundle_hash": f"sha256:{policy.hash}", "enforcement_mode": "declared", "version": policy.version},
        "data_class": data_class,
        "tool_transcript": {"hash": digest_of(calls), "call_count": len(calls)},
        "build_provenance": {"slsa_level": 0, "digest": software},
        "appraisal": {"status": "none", "verifier": "urn:loom:no-verifier"},
    }


def _model(trace: DecisionTrace) -> Json:
    called = [each for each in trace.model_calls if each.made]
    if not called:
        return {"provider": "none", "model_id": "none"}
    provider, colon, name = called[-1].model.partition(":")
    return {"provider": provider, "model_id": name} if colon else {"provider": "unknown", "model_id": provider}


def _software() -> str:
    """Return the digest of what the installed package says of its own files, with the version of Python.

    It names the software, and proves nothing about what ran: that is what Level 0 means.
    """
    try:
        distribution = metadata.distribution(_DISTRIBUTION)
        files = distribution.read_text("RECORD") or ""
        said = f"{_DISTRIBUTION} {distribution.version}\n{files}"
    except metadata.PackageNotFoundError:
        said = f"{_DISTRIBUTION} not installed"
    said += f"\npython {platform.python_version()}"
    return f"sha256:{hashlib.sha256(said.encode()).hexdigest()}"
