"""The routes of circuits, in the shapes that their callers know."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse

from loom.circuits.chain import ChainReply, StepReply
from loom.circuits.circuits import Circuits
from loom.circuits.shapes import (
    AuditAnswer,
    ChainAnswer,
    ChainRequest,
    CloseRequest,
    CycleAnswer,
    CycleRequest,
    DashboardAnswer,
    EscalationAnswer,
    ExecuteAnswer,
    ExecuteRequest,
    HealthAnswer,
    HealthRequest,
)
from loom.ext.http import Approves, HttpRefusal, Listed, Operates, Reads, body, takes

__all__ = ["routes"]

Idempotency = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200, pattern=r"^[!-~]+$")]
Days = Annotated[float, Query(gt=0, le=36_500, allow_inf_nan=False)]


routes = APIRouter(prefix="/api/circuits", tags=["circuits"])


@routes.post("/execute", response_model=ExecuteAnswer, openapi_extra=takes(ExecuteRequest))
async def execute(
    operates: Operates, given: Annotated[ExecuteRequest, body(ExecuteRequest)], idempotency: Idempotency = None
) -> JSONResponse:
    """Run one circuit."""
    reply = await Circuits.of(operates.loom).run(
        given.client_id, [(given.circuit_id, given.inputs)], execution_id=idempotency, by=operates.by
    )
    _check_callers_fault(reply)
    return JSONResponse({"execution_id": reply.execution_id, **_step(reply.results[0])})


@routes.put("/execute", response_model=ChainAnswer, openapi_extra=takes(ChainRequest))
async def chain(
    operates: Operates, given: Annotated[ChainRequest, body(ChainRequest)], idempotency: Idempotency = None
) -> JSONResponse:
    """Run circuits one after the other; what an earlier one finds feeds the later ones."""
    steps = [(each.circuit_id, each.inputs) for each in given.circuits]
    reply = await Circuits.of(operates.loom).run(given.client_id, steps, execution_id=idempotency, by=operates.by)
    if len(reply.results) == 1:
        _check_callers_fault(reply)
    return JSONResponse(
        {
            "success": reply.success,
            "execution_id": reply.execution_id,
            "confidence": reply.confidence,
            "results": [_step(each) for each in reply.results],
            "final_output": reply.final_output,
            "total_decision_path": list(reply.total_decision_path),
        }
    )


@routes.get("/audit", response_model=AuditAnswer)
async def audit(
    reads: Reads,
    client_id: Annotated[str | None, Query(max_length=100)] = None,
    circuit_id: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    days: Days = 30,
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> JSONResponse:
    """Return what was executed, newest first, a page of it, and the metrics of all that match the filters."""
    found = await Circuits.of(reads.loom).view.audit(
        client_id=client_id, circuit_id=circuit_id, limit=limit, days=days, before=before
    )
    return JSONResponse(
        {"workspace_id": reads.caller.workspace, "client_id": client_id, "circuit_id": circuit_id, **found}
    )


@routes.post("/autonomy", response_model=HealthAnswer, openapi_extra=takes(HealthRequest))
async def health(reads: Reads, given: Annotated[HealthRequest, body(HealthRequest)]) -> JSONResponse:
    """Say how a strategy does. Nothing is counted or changed by asking."""
    health, state, last = await Circuits.of(reads.loom).health(given.client_id, given.audience_segment)
    corrected = health.needs_correction and last is not None
    return JSONResponse(
        {
            "workspace_id": reads.caller.workspace,
            "client_id": given.client_id,
            "audience_segment": given.audience_segment,
            "needs_correction": health.needs_correction,
            "health_status": health.model_dump(exclude_none=True),
            "current_metrics": None if state is None else {name: state[name] for name in _METRICS},
            "correction_result": None
            if not corrected or last is None
            else {
                "success": last["new_strategy_id"] is not None,
                "new_strategy_id": last["new_strategy_id"],
                "log_id": last["log_id"],
            },
        }
    )


@routes.patch("/autonomy", response_model=CycleAnswer, openapi_extra=takes(CycleRequest))
async def count(
    operates: Operates, given: Annotated[CycleRequest, body(CycleRequest)], idempotency: Idempotency = None
) -> JSONResponse:
    """Count a cycle; this is where a strategy is rotated."""
    counted = await Circuits.of(operates.loom).count_cycle(
        given.client_id,
        given.audience_segment,
        engagement=given.engagement_score,
        conversion=given.conversion_score,
        confidence=given.confidence,
        id=idempotency,
        by=operates.by,
    )
    return JSONResponse(
        {
            "workspace_id": operates.caller.workspace,
            "client_id": given.client_id,
            "audience_segment": given.audience_segment,
            "message": "Metrics updated",
            "updated_metrics": {
                "engagement_score": counted.engagement,
                "conversion_score": counted.conversion,
                "cycle_count": counted.cycle_count,
                "decline_cycles": counted.decline_cycles,
            },
            "health_status": counted.health.model_dump(exclude_none=True),
        }
    )


@routes.get("/autonomy", response_model=DashboardAnswer)
async def dashboard(
    reads: Reads,
    action: Annotated[str, Query(pattern="^dashboard$")] = "dashboard",
    client_id: Annotated[str | None, Query(max_length=100)] = None,
    days: Days = 30,
) -> JSONResponse:
    """Return how every strategy does, and what was corrected."""
    found = await Circuits.of(reads.loom).view.dashboard(client_id=client_id, days=days)
    return JSONResponse({"workspace_id": reads.caller.workspace, "days": days, **found})


@routes.get("/escalations", response_model=Listed[EscalationAnswer])
async def escalations(reads: Reads) -> JSONResponse:
    """Return what people are to look at, oldest first."""
    return JSONResponse({"items": [each.as_json() for each in Circuits.of(reads.loom).escalations.open()]})


@routes.post("/escalations/{escalation_id}/close", response_model=EscalationAnswer, openapi_extra=takes(CloseRequest))
async def close(
    approves: Approves, escalation_id: str, given: Annotated[CloseRequest, body(CloseRequest)]
) -> JSONResponse:
    """Close an escalation in the name of the key: it was looked at."""
    closed = await Circuits.of(approves.loom).escalations.close(escalation_id, by=approves.by, reason=given.reason)
    return JSONResponse(closed.as_json())


_METRICS = ("engagement_score", "conversion_score", "cycle_count", "decline_cycles")


def _step(reply: StepReply) -> dict[str, Any]:
    said = reply.model_dump(mode="json")
    kept = ("circuit_id", "success", "data", "confidence", "substituted", "error", "provenance", "decision_trace")
    return {name: said[name] for name in kept}


def _check_callers_fault(reply: ChainReply) -> None:
    """Refuse what the caller alone can correct; it is audited all the same."""
    first = reply.results[0]
    if first.code in ("unknown_circuit", "missing_input"):
        raise HttpRefusal(404 if first.code == "unknown_circuit" else 422, str(first.code), str(first.error))
