"""Reading the fields of a command from the command line, a file, a pipe or a terminal, so that Ctrl-C ends the wait.

A blocking read in the main thread can swallow a SIGINT: one that arrives after Python last looked for signals and
before the system call begins is handled only when the read returns. So a thread reads, and the event loop, which hears
signals through a file descriptor, waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from pathlib import Path
from typing import Any

import typer

from loom.errors import AdmissionError
from loom.journal.admission import parse_json
from loom.text import one_line

__all__ = ["read_payload"]


async def read_payload(source: str) -> dict[str, Any]:
    """Return the object that `source` holds: JSON itself, `-` for standard input, `@FILE` for a file or a pipe.

    Raises `typer.BadParameter` for what cannot be read, is no JSON or is no object.
    """
    try:
        value = parse_json(await _text(source))
    except (AdmissionError, OSError, UnicodeError) as error:
        raise typer.BadParameter(f"{error}", param_hint="JSON") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(
            f"[{one_line(source, 60)}] is no object; expected [{{…}}]: write its fields", param_hint="JSON"
        )
    return value


async def _text(source: str) -> str:
    if source == "-":
        standard_input = sys.stdin
        return await _in_thread(standard_input.read)
    if source.startswith("@"):
        return await _in_thread(lambda: Path(source[1:]).read_text(encoding="utf-8"))
    return source


async def _in_thread(read: Any) -> str:
    """Wait for a read in a daemon thread: the process may end while it blocks, which a pool's thread would prevent."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str] = loop.create_future()

    def settle(text: str | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(text or "")

    def work() -> None:
        text, failed = None, None
        try:
            text = read()
        except BaseException as error:
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits any more
            loop.call_soon_threadsafe(settle, text, failed)

    threading.Thread(target=work, daemon=True, name="loom-payload").start()
    return await done
