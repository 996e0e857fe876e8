"""A process that writes a shared store as it is told, line by line: `python -m tests.shared.worker OPENER ADDRESS`.

OPENER is `module:function` of a coroutine that opens the store at an address. Each line that it reads is JSON, a verb
and its arguments; each line that it writes is the answer. It prints its writer's number first.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from typing import Any

from loom.errors import LoomError
from loom.journal import JournalStore, Receipt
from tests.journal.support import notes


async def do(store: JournalStore, verb: str, *args: Any) -> Any:
    match verb, args:
        case "acquire", (journal,):
            return (await store.acquire(journal)).sequence
        case "append", (journal, expected, text):
            return shown(await store.append(notes(journal, expected, text=text)))
        case "pipeline", (journal, expected, count, text):
            futures = [store.submit(notes(journal, expected + n, text=text)) for n in range(count)]
            return [shown(each) for each in await asyncio.gather(*futures, return_exceptions=True)]
    raise LookupError(verb)


def shown(outcome: object) -> Any:
    return outcome.sequence if isinstance(outcome, Receipt) else type(outcome).__name__


async def main(opener: str, address: str) -> None:
    module, _, name = opener.partition(":")
    store = await getattr(importlib.import_module(module), name)(address)
    print(store.writer, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            answer = await do(store, *json.loads(line))
        except LoomError as error:
            answer = type(error).__name__
        print(json.dumps(answer), flush=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
