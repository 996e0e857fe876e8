"""A process of its own for a kill test: asks, sends back, informs and grants until it is killed, and notes each act."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from loom import Actor, Command, Loom
from loom.errors import ApprovalAnsweredError
from tests.actors.kill_worker import note
from tests.on_postgres import join

TURNS = 12


class Ask(Command[str]):
    number: int


class Asking(Actor[None]):
    async def execute(self, command: Ask) -> str:
        answer = await self.request_approval(approver="lead", reason=f"case {command.number}")
        await self.record_decision(rationale="as answered", outcome={"granted": answer.granted})
        return f"{command.number} {answer.comment}"


async def answer_all(loom: Loom, directory: str | None = None) -> None:
    """Send back, inform and grant, one act each for every pending request, until there is none."""

    def noted(act: str, approval_id: str) -> None:
        if directory is not None:
            note(directory, "acts", f"{act} {approval_id}")

    for number in range(TURNS):
        await loom.actor(Asking, f"{number % 4}").tell(Ask(number=number), id=f"ask-{number}", by="ada")
    while len(await loom.approvals.list(status="granted", limit=TURNS)) < TURNS:
        for request in await loom.approvals.pending():
            try:
                if request.question is not None:
                    await loom.approvals.inform(request.approval_id, by="ada", information="so")
                    noted("informed", request.approval_id)
                elif request.information is None:
                    await loom.approvals.send_back(request.approval_id, by="mira", question="why?")
                    noted("sent_back", request.approval_id)
                else:
                    await loom.approvals.grant(request.approval_id, by="mira", comment="fine")
                    noted("granted", request.approval_id)
            except ApprovalAnsweredError:
                continue
        await asyncio.sleep(0)


async def main(directory: Path) -> None:
    """Answer everything, in a journal of the directory."""
    async with Loom.open(f"sqlite:////{directory}/journal.db", actors=[Asking], by="worker") as loom:
        print("open", flush=True)
        await answer_all(loom, str(directory))


if __name__ == "__main__":
    join()
    asyncio.run(main(Path(sys.argv[1])))
