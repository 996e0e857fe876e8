"""Drift that no single check sees: every offer is under the ceiling, and their mean gives them away.

    python examples/retention_drift/run.py [--config FILE] [--data DIR] [--reinstate NAME --reason WHY] [--no-report]
    USE_MOCK_LLM=1 python examples/retention_drift/run.py         # the mock model, whatever the config says
    OPEN_REPORT_HTML=1 python examples/retention_drift/run.py     # and show the report in a browser

A hundred subscribers want to leave. An agent proposes discounts, the gate checks each against its contract, and a
monitor watches the mean of what was executed. When that is over the threshold, the agent is suspended; only a person
reinstates it. A second run is a second run: nothing is deleted.
"""

from __future__ import annotations

import argparse
import asyncio
import webbrowser
from datetime import UTC, datetime
from pathlib import Path

from experiment import HERE, Experiment, model_of, shows

from loom import Extension, Loom, LoomConfig
from loom.gate import Flow, Gate, Proposed, extension, load_contract, profitability_monitor
from loom.gate.roa import Model
from loom.monitors import RollingMeanParams

OPERATIONS = "operations"
"""In whose name the contract and the monitor's parameters are registered."""

COLUMNS = {"input": "id", "plan": "plan", "channel": "channel", "reason": "reason"}
"""What the report shows of each cancellation: heading → field of the input."""


def log_with_dfid(flow: Flow, message: str) -> None:
    """Print a line of the decision path with the id of its flow, by which the audit finds it."""
    print(f"[DFID={flow.flow_id[:12]}] {message}")


def gate_of(experiment: Experiment) -> Extension:
    """Return the gate with the monitor as the experiment sets it."""
    watch = experiment.monitor
    params = RollingMeanParams(window=watch.window, threshold=watch.threshold)
    return Extension(
        name="gate",
        projections=extension.projections,
        operations=extension.operations,
        start=lambda loom: Gate.open(
            loom, monitors=[profitability_monitor(loom.standings, params=params, reason=watch.reason)]
        ),
    )


async def next_run(loom: Loom, wanted: str) -> str:
    """Return the id of the next run: run_36_retention_01, _02, …"""
    taken = {run.run_id for run in await loom.runs.find(limit=10_000)}
    return next(run_id for number in range(1, 10_000) if (run_id := f"{wanted}_{number:02}") not in taken)


async def decide(
    gate: Gate, experiment: Experiment, model: Model, flow: Flow, index: int, token: str
) -> tuple[str, object]:
    """Take one cancellation from its context to the gate's answer; return the code of it, and what was offered."""
    agent = experiment.agent.id
    session = {**experiment.inputs[index], "going_rate_pct": experiment.simulation.offer(index)}
    compiled = await gate.compile(agent, flow, session)
    code, offered = "NO_PROPOSAL", None
    for attempt in range(1, 4):
        said = await gate.reason(agent, flow, compiled, model, attempt=attempt)
        if isinstance(said, Proposed):
            answer = await gate.submit(
                agent,
                flow,
                said.proposal,
                token=token,
                attempt=attempt,
                explanation=said.explanation.model_dump(mode="json"),
            )
            code, offered = answer.code, _offered(said)
            if answer.verdict != "REJECT" or code == "RBAC_DENIED":
                break
    return code, offered


def _offered(said: Proposed) -> object:
    params = said.proposal.get("params")
    return params.get("discount_offered") if isinstance(params, dict) else None


async def rolling_mean(loom: Loom, agent: str, run_id: str) -> float | None:
    """Return the mean that the monitor saw last, None while its window is not full."""
    rows = await loom.queries.fetch(_LAST_MEAN, (agent, run_id), names=["monitors"])
    return None if not rows else rows[0]["mean"]


_LAST_MEAN = """
SELECT json_extract(facts, '$.mean') AS mean FROM monitor_observations
WHERE subject = ? AND run_id = ? AND facts IS NOT NULL ORDER BY position DESC LIMIT 1
"""


async def simulate(loom: Loom, experiment: Experiment, model: Model, run_id: str) -> tuple[str, int]:
    """Run the experiment; return why it stopped, and after how many decisions."""
    gate, agent = Gate.of(loom), experiment.agent.id
    contract = load_contract(experiment.contract)
    await gate.contracts.register(contract, by=OPERATIONS, reason="the experiment's contract")
    shaken = await gate.handshake(
        agent, contract_id=contract.contract_id, requirement=experiment.agent.requirement, contract_hash=contract.hash
    )
    if not shaken.token:
        return shaken.code, 0
    if loom.standings.of(agent).standing != "ACTIVE":
        return "agent_already_suspended", 0
    many, over = experiment.simulation.inputs, False
    for index, cancellation in enumerate(experiment.inputs[:many]):
        flow = gate.flow(run_id, cancellation["id"])
        code, offer = await decide(gate, experiment, model, flow, index, shaken.token)
        await loom.reactors.reached()
        accepted, mean = code == "VALIDATION_PASSED", await rolling_mean(loom, agent, run_id)
        line = f"decision {index + 1}/{many} discount={offer}% - {'DIM accepts' if accepted else code}"
        if accepted and not over and isinstance(offer, int | float) and offer > experiment.monitor.threshold:
            over = True
            log_with_dfid(flow, f"{line}, it is under its cap; the mean is not its business")
        elif not accepted or index % 10 == 9:
            log_with_dfid(flow, f"{line} - monitor: {'window not full' if mean is None else f'mean {mean:.2f}%'}")
        if loom.standings.of(agent).standing != "ACTIVE":
            reason = loom.standings.of(agent).reason
            log_with_dfid(flow, f"Agent state transition: {agent} -> SUSPENDED (reason={reason})")
            return "profitability_drift_monitor", index + 1
    return "completed_all_inputs", experiment.simulation.inputs


async def run(given: argparse.Namespace) -> Path | None:
    """Run it, and write the report."""
    experiment = Experiment.read(given.config)
    data = given.data or experiment.database
    model, words = model_of(experiment.llm)
    print(f"{experiment.agent.id} speaks through {words}")
    async with Loom.open(LoomConfig(data=data), by=OPERATIONS, extensions=[gate_of(experiment)]) as loom:
        agent = experiment.agent.id
        if given.reinstate:
            await loom.standings.reinstate(agent, by=given.reinstate, reason=given.reason)
            print(f"{agent} was reinstated by {given.reinstate}: {given.reason}")
        run_id = await next_run(loom, experiment.simulation.run_id)
        simulation = experiment.simulation.model_dump(mode="json")
        parameters = {
            "agent": agent,
            "simulation": simulation,
            "monitor": experiment.monitor.model_dump(),
            "ceiling": load_contract(experiment.contract).limits["discount_offered"],
            "columns": COLUMNS,
        }
        async with loom.runs.run(
            kind="simulation", run_id=run_id, parameters=parameters, seed=experiment.simulation.seed
        ):
            reason, decisions = await simulate(loom, experiment, model, run_id)
            await loom.runs.end(run_id, reason=reason, result={"stopped_reason": reason, "decisions": decisions})
        print(f"{run_id} stopped after {decisions} decisions: {reason}")
        print(f"Stopped: {reason}")
        standing = loom.standings.of(agent)
        if standing.standing != "ACTIVE":
            print(f"{agent} is {standing.standing} by {standing.identity}: {standing.reason}")
        if given.no_report:
            return None
        from loom.reports import report_name, write_report

        results = experiment.results if given.data is None else given.data / "results"
        return await write_report(loom.queries, run_id, results / report_name(run_id, datetime.now(UTC)))


def main() -> None:
    """Run the experiment from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=HERE / "config.yaml")
    parser.add_argument("--data", type=Path, help="where the journal lies; by default what the config says")
    parser.add_argument("--reinstate", metavar="NAME", help="reinstate the agent first, in this person's name")
    parser.add_argument("--reason", default="looked into it", help="why it is reinstated")
    parser.add_argument("--no-report", action="store_true", help="write no report")
    report = asyncio.run(run(parser.parse_args()))
    if report is not None:
        print(f"report: {report}")
        if shows():
            webbrowser.open(report.absolute().as_uri())


if __name__ == "__main__":
    main()
