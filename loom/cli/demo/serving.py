"""The demo in the browser: its journal served with a request that waits, and a key for the person who is asked."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from loom.cli.demo.agent import DiscountAgent, RequestDiscount
from loom.cli.demo.waiting import asked
from loom.cli.output import Output
from loom.cli.web_serving import serve_workspaces, served_extensions
from loom.config import load_config
from loom.runtime import Loom

__all__ = ["serve_demo"]

_ASKING = "robin"
_VP = "dana"
_WAITING_ID = "cobalt-20"


async def serve_demo(directory: Path, output: Output, *, port: int | None) -> None:
    """Serve the journal of the demo until Ctrl-C; the person whom the agent asks gets a key, printed once."""
    from loom.web.config import WebConfig
    from loom.web.keys import keys_of

    config = directory / "loom.config.yaml"
    opens = partial(Loom.open, config, by=_ASKING, extensions=served_extensions())
    async with opens() as loom:
        key = await keys_of(loom).issue(_VP, "approver", by=_ASKING)
        command = RequestDiscount(customer_id="cobalt", percent=20)
        await loom.actor(DiscountAgent, "emea").tell(command, id=_WAITING_ID, by=_ASKING)
        await asked(loom, _WAITING_ID)
        name = loom.workspace

    def listening(at: str, on: int) -> None:
        if output.json:
            output.line({"event": "listening", "host": at, "port": on, "workspaces": [name], "key": key})
        else:
            output.say()
            output.say("And this is what it looks like:", style="bold cyan")
            output.say(f"   Open http://{at}:{on}/inbox and sign in as {_VP}, the VP of sales, with the key")
            output.say(f"   {key}", whole=True)
            output.say("   A request waits there: 20 % for cobalt. Ctrl-C ends it; the journal stays.", style="dim")
        sys.stdout.flush()

    section = load_config(config).sections.get("web")
    settings = section if isinstance(section, WebConfig) else WebConfig()
    await serve_workspaces({name: opens}, settings, port=port, listening=listening)
