"""A support agent of pydantic-ai, made durable and accountable by one line, and killed twice while it works.

    python examples/support_agent.py

Its model is simulated and offline; with OPENAI_BASE_URL and OPENAI_MODEL it is a real one. The first process is killed
while it looks the order up, the second one when the money was paid back and before that is journaled. The third one
finishes: no answer of the model is paid for twice, the money is paid back once, and `loom why` says how it came to it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic_ai import Agent, Tool
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models import Model
from pydantic_ai.models.function import AgentInfo, FunctionModel

from loom import Loom, effect_key
from loom.integrations.pydantic_ai import AgentActor, LoomDurability, RunAgent, handled

MAIL = "My lamp of order o-1001 arrived broken. Can I have the 40 $ back?"
CONFIG = """
data: data
budgets: {models: {unknown_price_usd: 0.05}} # the most that a call may cost of a model whose price is not known
"""
OUTSIDE = Path(os.environ.get("SUPPORT_OUTSIDE", "outside.txt"))
"""What the world outside remembers: each request of the model, each look-up, each payment with its key."""


def order(order_id: str) -> dict[str, Any]:
    """Look an order up."""
    note(f"order {order_id} looked up")
    die("looking up")
    return {"order_id": order_id, "article": "lamp", "paid_usd": 40}


def refund(order_id: str, amount_usd: int) -> str:
    """Pay money back, which the lead has to approve. The provider knows a repetition by its key."""
    key = effect_key()
    if f"payment {key}" not in OUTSIDE.read_text(encoding="utf-8"):
        note(f"payment {key}")
    die("paid")
    return f"{amount_usd} $ paid back for {order_id}"


def simulated(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Answer as a model would: look the order up, pay it back, and say so."""
    note("model asked")
    given = [part.content for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]
    if not given:
        return ModelResponse(parts=[ToolCallPart("order", {"order_id": "o-1001"})])
    if len(given) == 1:
        return ModelResponse(parts=[ToolCallPart("refund", {"order_id": "o-1001", "amount_usd": 40})])
    return ModelResponse(parts=[TextPart(f"I am sorry about the lamp: {given[1]}.")])


def note(line: str) -> None:
    """Have the world outside remember something."""
    with OUTSIDE.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def die(at: str) -> None:
    """Kill this process where the story says so."""
    if os.environ.get("SUPPORT_DIES") == at:
        os.kill(os.getpid(), signal.SIGKILL)


def model() -> Model:
    """Return the model: a real one where two variables name it."""
    if {"OPENAI_BASE_URL", "OPENAI_MODEL"} <= os.environ.keys():
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.providers.openai import OpenAIProvider

        provider = OpenAIProvider(os.environ["OPENAI_BASE_URL"], api_key=os.environ.get("OPENAI_API_KEY", "none"))
        return OpenAIChatModel(os.environ["OPENAI_MODEL"], provider=provider)
    return FunctionModel(simulated, model_name="simulated")


class Support(AgentActor):
    """Answers mails; a run of its agent is a turn."""

    agent = Agent(
        model(),
        name="support",
        instructions="You answer customers of a lamp shop. Look their order up before you refund it.",
        tools=[
            Tool(order, metadata=handled("look_up", system="shop", entity="order")),
            Tool(refund, requires_approval=True, metadata=handled("repeatable")),
        ],
        capabilities=[LoomDurability(approver="lead")],
    )


# --- the story -----------------------------------------------------------------------------------


async def process() -> None:
    """Open the loom, send the mail, which is the same one each time, and have the lead agree when asked."""
    async with Loom.open("loom.config.yaml", actors=[Support], by="robin") as loom:
        asking = asyncio.ensure_future(loom.actor(Support, "desk").ask(RunAgent(prompt=MAIL), id="mail-1", by="ada"))
        while not asking.done():
            for request in await loom.approvals.pending():
                print(f"the lead is asked for: {request.action} {request.arguments}", flush=True)
                await loom.approvals.grant(request.approval_id, by="mira", comment="it is on the photo")
            await asyncio.wait([asking], timeout=0.01)
        print(f"the customer reads: {await asking}")
        [decision] = await loom.traces.find()
        Path("decision.txt").write_text(decision.decision_id, encoding="utf-8")


def main() -> None:
    """Tell the story in a directory that is thrown away."""
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "loom.config.yaml").write_text(CONFIG, encoding="utf-8")
        for dies in ("looking up", "paid", ""):
            code = run(directory, [sys.executable, __file__, "--process"], dies=dies)
            print(f"that process was killed: {dies}" if code == -signal.SIGKILL else "that process has finished")
        lines = (Path(directory) / "outside.txt").read_text(encoding="utf-8").splitlines()
        for what in ("model asked", "order", "payment"):
            print(f"{what}: {sum(line.startswith(what) for line in lines)} times")
        decision = (Path(directory) / "decision.txt").read_text(encoding="utf-8")
        run(directory, [sys.executable, "-m", "loom.cli", "why", decision])


def run(directory: str, command: list[str], *, dies: str = "") -> int:
    """Run a command in the directory of the story, and return its exit code."""
    here = str(Path(__file__).parent)
    env = {**os.environ, "SUPPORT_DIES": dies, "PYTHONPATH": os.pathsep.join([here, *sys.path])}
    sys.stdout.flush()
    code = subprocess.run(command, cwd=directory, env=env, check=False).returncode
    if code not in (0, -signal.SIGKILL):
        raise SystemExit(code)
    return code


if __name__ == "__main__":
    if sys.argv[1:] == ["--process"]:
        asyncio.run(process())
    else:
        main()
