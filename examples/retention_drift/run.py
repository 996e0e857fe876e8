"""Drift that no single check sees: every offer is under the ceiling, and their mean gives them away.

    python examples/retention_drift/run.py [--config FILE] [--data DIR] [--reinstate NAME --reason WHY] [--no-report]

A hundred subscribers want to leave. An agent proposes discounts, the gate checks each against its contract, and a
monitor watches the mean of what was executed. When that is over the threshold, the agent is suspended; only a person
reinstates it. A second run is a second run: nothing is deleted.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from experiment import HERE, Experiment, model_of

from loom import Extension, Loom, LoomConfig
from loom.gate import Flow, Gate, Proposed, extension, load_contract, profitability_monitor
from loom.gate.roa import Model
from loom.monitors import RollingMeanParams

OPERATIONS = "operations"
"""In whose name the contract and the monitor's parameters are registered."""


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


async def decide(gate: Gate, experiment: Experiment, model: Model, flow: Flow, index: int, token: str) -> str:
    """Take one cancellation from its context to the gate's answer; return the code of it."""
    agent = experiment.agent.id
    session = {**experiment.inputs[index], "going_rate_pct": experiment.simulation.offer(index)}
    compiled = await gate.compile(agent, flow, session)
    code = "NO_PROPOSAL"
    for attempt in range(1, 4):
        said = await gate.reason(agent, flow, compiled, model, attempt=attempt)
        if isinstance(said, Proposed):
            answer = await gate.submit(
                agent, flow, said.proposal, token=token, attempt=attempt,
                explanation=said.explanation.model_dump(mode="json"),
            )  # fmt: skip
            code = answer.code
            if answer.verdict != "REJECT" or code == "RBAC_DENIED":
                break
    return code


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
    for index, cancellation in enumerate(experiment.inputs[: experiment.simulation.inputs]):
        code = await decide(gate, experiment, model, gate.flow(run_id, cancellation["id"]), index, shaken.token)
        offer = experiment.simulation.offer(index)
        if index % 10 == 9 or code != "VALIDATION_PASSED":
            print(f"  decision {index + 1:3}: {offer:5.2f} % {code}")
        await loom.reactors.reached()
        if loom.standings.of(agent).standing != "ACTIVE":
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
            "agent": agent, "simulation": simulation, "monitor": experiment.monitor.model_dump(),
            "ceiling": load_contract(experiment.contract).limits["discount_offered"],
        }  # fmt: skip
        async with loom.runs.run(run_id=run_id, parameters=parameters, seed=experiment.simulation.seed):
            reason, decisions = await simulate(loom, experiment, model, run_id)
            await loom.runs.end(run_id, reason=reason, result={"stopped_reason": reason, "decisions": decisions})
        print(f"{run_id} stopped after {decisions} decisions: {reason}")
        standing = loom.standings.of(agent)
        if standing.standing != "ACTIVE":
            print(f"{agent} is {standing.standing} by {standing.by}: {standing.reason}")
        if given.no_report:
            return None
        from loom.reports import write_report

        return await write_report(loom.queries, run_id, data / "results" / f"report_{run_id}.html")


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


if __name__ == "__main__":
    main()
