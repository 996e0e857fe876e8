"""Run a loom from the shell: until a signal ends it, or until nothing is left to do."""

from __future__ import annotations

import asyncio
import gc
import getpass
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence

from loom.actors import TurnListing
from loom.background import done_before
from loom.cli.acting import open_loom
from loom.cli.shell import Shell
from loom.errors import LoomError
from loom.identity import parse_journal_name
from loom.journal.standby import OnActive
from loom.runtime import Loom
from loom.telemetry import configure_logging

__all__ = ["calm_collector", "person", "serve", "settle", "standing_by"]

_LOOK_EVERY_S = 0.2
_BUSY = frozenset({"received", "running"})


def person(by: str | None) -> str:
    """Return who runs this: the given name, else the user of the machine."""
    return by if by is not None else getpass.getuser()


async def serve(shell: Shell, *, standby: OnActive | None = None, accept_loss: str | None = None) -> None:
    """Resume what is unfinished and take requests until SIGINT or SIGTERM.

    With `standby`, it waits first until no other process runs the workspace. Raises `WriterFencedError` once another
    process has taken over: this one may write nothing more, and ends.
    """
    _log_as_configured(shell)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    loom = open_loom(shell.place, by=person(None), resume=True, standby=standby, accept_loss=accept_loss)
    if not await done_before(loom.__aenter__(), ended):
        shell.output.note("ended, without having run")
        return
    try:
        await _say_hello(shell, loom)
        calm_collector()
        loom.store.on_fenced(lambda _: ended.set())
        await ended.wait()
        if loom.actors.fenced_by is not None:
            raise loom.actors.fenced_by
        shell.output.note("ending: running turns may finish within a moment, others are resumed at the next start")
    finally:
        await loom.close()
    shell.output.note("ended")


def standing_by(shell: Shell) -> OnActive:
    """Return what tells a person, or a script that waits for the line, who runs the workspace meanwhile."""

    def on_active(active: str) -> None:
        if shell.json:
            shell.output.line({"event": "standby", "workspace": shell.place.name, "active": active, "pid": os.getpid()})
        else:
            shell.output.say(f"standing by: workspace {shell.place.name} is run by {active}", style="bold")
        sys.stdout.flush()

    return on_active


async def settle(shell: Shell, *, accept_loss: str | None = None) -> None:
    """Resume unfinished turns, and end when nothing runs any more: parked and stuck turns stay."""
    _log_as_configured(shell)
    async with open_loom(shell.place, by=person(None), resume=True, accept_loss=accept_loss) as loom:
        changed = asyncio.Event()
        loom.store.on_commit(lambda _: changed.set())
        before = [each async for each in loom.turns.every()]
        unwoken = {each.summary.journal for each in before if not await _woken(shell, loom, each)}
        while any([_busy(loom, each) and each.summary.journal not in unwoken async for each in loom.turns.every()]):
            changed.clear()
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):  # a turn can park without another entry
                    await changed.wait()
            except TimeoutError:
                continue
        left = [each async for each in loom.turns.every()]
    if shell.json:
        shell.output.document({"before": len(before), "left": [each.model_dump(mode="json") for each in left]})
        return
    ended = len(before) - sum(1 for each in before if _same_turn(each, left))
    shell.output.say(
        f"{_count(len(before), 'unfinished turn')}, {ended} ended" + (f"; left: {_by_status(left)}" if left else "")
    )


async def _woken(shell: Shell, loom: Loom, listing: TurnListing) -> bool:
    """Wake the actor of a turn, which resumes it; without its code, or if it does not wake, the turn is left."""
    journal = listing.summary.journal
    if not loom.actors.knows(parse_journal_name(journal).actor_type):
        return False
    try:
        await loom.actors.cell(journal)
    except LoomError as error:
        shell.output.note(f"[{journal}] does not wake: {error}")
        return False
    return True


def _busy(loom: Loom, listing: TurnListing) -> bool:
    under_way = loom.actors.running(listing.summary.journal, listing.summary.command_id) is not None
    return under_way and listing.status in _BUSY


def _same_turn(listing: TurnListing, among: Sequence[TurnListing]) -> bool:
    mine = (listing.summary.journal, listing.summary.command_id)
    return any(mine == (each.summary.journal, each.summary.command_id) for each in among)


async def _say_hello(shell: Shell, loom: Loom) -> None:
    """Print what runs, for a person and for a script that waits for the first line."""
    unfinished = [each async for each in loom.turns.every()]
    if shell.json:
        shell.output.line(
            {
                "event": "running",
                "workspace": loom.workspace,
                "journal": str(loom.files),
                "pid": os.getpid(),
                "socket": loom.socket,
                "position": loom.store.acknowledged,
                "unfinished": len(unfinished),
            }
        )
    else:
        modules = ", ".join(shell.settings.modules) or "none: list them at modules: in the config"
        shell.output.say(f"running workspace {loom.workspace}, process {os.getpid()}", style="bold")
        shell.output.say(f"  journal   {loom.files}, {loom.store.acknowledged} entries")
        shell.output.say(f"  modules   {modules}")
        shell.output.say(f"  turns     {_by_status(unfinished) if unfinished else 'none unfinished'}")
        shell.output.say(
            "  Ctrl-C ends it; `loom approvals`, `loom turns` and the other commands work while it runs", style="dim"
        )
    sys.stdout.flush()


def _by_status(turns: Sequence[TurnListing]) -> str:
    counted = Counter(each.status.replace("_", " ") for each in turns)
    return ", ".join(f"{count} {status}" for status, count in sorted(counted.items()))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _log_as_configured(shell: Shell) -> None:
    logging = shell.settings.logging
    configure_logging(level="debug" if shell.debug else logging.level, format=logging.format)


def calm_collector() -> None:
    """Make Python's garbage collector run less often, for a process that does little else than run a loom.

    Objects of the start-up stay, and those of a turn are freed with it: looking for cycles among them takes a fifth of
    the time of a busy loom. It concerns the whole process, so `loom run` calls it, and a library never does.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
