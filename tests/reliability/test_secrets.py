"""R35: secrets of fifty kinds, through everything that a loom takes them by: none is in clear in anything it leaves.

What is promised is tested, and no more: values of declared fields, and what loom itself is given to keep to itself (its
keys, and the config's). A secret in a field that nothing declares is in the journal like any other text: that is the
control.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import sqlite3
import subprocess
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from loom import Loom
from loom.archive import seal
from loom.config import ActorsConfig
from loom.errors import LoomError
from loom.formats import FORMATS, DecisionsRead, Written, write_format
from loom.formats.reading import Span
from loom.journal.export import export_lines
from loom.journal.sqlite import Reader
from loom.mcp import Tools
from loom.notices.config import EndpointConfig, NoticesConfig
from loom.notices.extension import extension as notices
from loom.proof.keys import FileSigner, create_key
from loom.reports import report
from loom.sealing import MASTER_KEY, SealingConfig
from loom.spans import instrument, uninstrument
from tests.explorer.support import Browser, Place, house
from tests.notices.receiver import SECRET, Receiver, receiving
from tests.proof.cases import made
from tests.reliability.board import SEED, Tally, row
from tests.reliability.leaking import Blurt, Careless, Clerk, Fold, Keep, Keeper, Waiting, asked_of_models, logged
from tests.reliability.planted import Planted, found_in, planted
from tests.reliability.test_mcp import tools_of

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")
pytest.importorskip("mcp", reason="the extra [mcp] is not installed")

MASTER = base64.b64encode(bytes(range(32))).decode()
_AT_ONCE = 4
_PAGES = 70
_RUN = "season"
_CARRIES = (
    "answers by MCP",
    "answers of the API",
    "archive",
    "backup",
    "errors",
    "export",
    "export as cloudevents",
    "export as opa",
    "export as prov",
    "export as testimony",
    "journal.db, closed",
    "journal.db-wal, open",
    "journal.views.db, closed",
    "journal.views.db-wal, open",
    "log of JSON",
    "log of a terminal",
    "pages",
    "report",
    "requests to models",
)
"""The sinks that have the contents of fields. Others have ids, outcomes and digests only, whatever is declared."""

Sinks = dict[str, bytes]


@pytest.mark.seconds(60)
@pytest.mark.timeout(600)
@row("R35")
async def test_no_secret_of_a_declared_field_is_in_anything_that_a_loom_leaves(
    tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MASTER_KEY, MASTER)
    secrets = planted(random.Random(SEED))
    sinks = await _lived(tmp_path / "declared", secrets, _declared)
    for each, sink in found_in(secrets, sinks):
        tally.fail(f"{each} is in {sink}")
    tally.tried(len(secrets) * len(sinks))
    tally.check(all(sinks.values()), f"nothing came of {[name for name, raw in sinks.items() if not raw]}")
    tally.note(f"{len(secrets)} secrets, {len(sinks)} sinks: {', '.join(sorted(sinks))}")

    few = secrets[::17]
    found = set(found_in(few, await _lived(tmp_path / "bare", few, _bare)))
    tally.control(trials=len(_CARRIES), found=sum(all((each.kind, sink) in found for each in few) for sink in _CARRIES))


# --- what a loom is given -------------------------------------------------------------------------


async def _declared(place: Place, number: int, secret: Planted, said: list[str]) -> None:
    """Give a secret by everything that declares it: in process, by HTTP, and in the words of errors."""
    loom, value = place.loom(), secret.value
    keeper, customer = loom.actor(Keeper, f"k{number % 8}"), f"s-{number}"

    def keep(how: str = "well", sealed: str = value) -> dict[str, str]:
        every = {"hashed": value, "masked": value, "dropped": value}
        return {"customer": customer, "sealed": sealed, "how": how, **every}

    assert value in (await keeper.ask(Keep(**keep()))).text
    for how in ("raises", "look-up raises", "effect raises"):
        await _heard(said, loom.actor(Keeper, f"f{number}-{how[0]}").ask(Keep(**keep(how))))
    await _heard(said, loom.actor(Keeper, f"fold-{number}").ask(Fold(customer=customer, value=value)))
    await loom.actor(Keeper, f"w{number}").tell(Waiting(customer=customer, value=value))
    await _sent(place, "/api/actors/keeper/h/Keep", keep())  # its answer is the reply, in plain, to who asked
    wrong: tuple[dict[str, Any], ...] = (
        {"sealed": f"unfit {value}"},
        {"hashed": [value], "masked": {value: 1}, "customer": None},
    )
    said += [await _sent(place, "/api/actors/keeper/h/Keep", {**keep(), **each}) for each in wrong]
    await _strange(place, secret, said)


async def _bare(place: Place, number: int, secret: Planted, said: list[str]) -> None:
    """Give a secret in fields that nothing declares."""
    actor = place.loom().actor(Careless, f"c{number}")
    await actor.ask(Blurt(value=secret.value))
    await _heard(said, actor.ask(Blurt(value=secret.value, raises=True)))


async def _heard(said: list[str], asked: Any) -> None:
    """Keep what an error says, with its traceback, as a program that asks would log it."""
    try:
        await asked
    except LoomError as error:
        said.append("".join(traceback.format_exception(error)))
    else:
        raise AssertionError("nothing was raised")


async def _sent(place: Place, path: str, body: Any) -> str:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {place.keys['one', 'operator']}"}
    return (await place.browser().ask("POST", f"{path}?workspaceId=one", body=json.dumps(body), headers=headers)).text


async def _strange(place: Place, secret: Planted, said: list[str]) -> None:
    """Send a secret where a browser or a program has one: none of them signs anyone in, none may be written down."""
    written = quote(secret.value)
    carried = {
        "Authorization": f"Bearer {written}",
        "Cookie": f"loom_session={written}; other={written}",
        "X-Proxy-Secret": written,
        "X-Remote-User": "ada",
    }
    answers = [
        await place.browser().ask("GET", "/api/decisions?workspaceId=one", headers=carried),
        await place.browser().sign_in(secret.value),
        await place.browser().open(f"/sign-in/oidc/done?code={written}&state={written}"),
    ]
    said += [each.text for each in answers]


# --- what it leaves -------------------------------------------------------------------------------


async def _lived(path: Path, secrets: Sequence[Planted], give: Callable[..., Any]) -> Sinks:
    """Have a loom live with secrets; return everything that came of it, by the name of the sink."""
    asked_of_models.clear()
    said: list[str] = []
    with logged() as logs, _observed() as observed:
        async with receiving() as receiver, _served(path, receiver) as place:
            todo = asyncio.Semaphore(_AT_ONCE)

            async def one(number: int, secret: Planted) -> None:
                async with todo:
                    await give(place, number, secret, said)

            async with place.loom().runs.run(run_id=_RUN), asyncio.TaskGroup() as group:
                for number, secret in enumerate(secrets):
                    group.create_task(one(number, secret))
            await place.loom().reached()
            waiting = len(await place.loom().approvals.pending())
            await receiver.until(lambda: len(receiver.taken) >= waiting)
            sinks = {**await _on_disk(path, "open"), **await _shown(place), **await _handed_out(place, path)}
            sinks["notices"] = b"\n".join(each.body for each in receiver.received)
            sinks["errors"] = "\n".join(said).encode()
            sinks["requests to models"] = "\n".join(asked_of_models).encode()
            sinks["process list"] = Path("/proc/self/cmdline").read_bytes()
        sinks |= observed()
    sinks |= {name: stream.getvalue().encode() for name, stream in logs.items()}
    return {**sinks, **await _on_disk(path, "closed")}


@asynccontextmanager
async def _served(path: Path, receiver: Receiver) -> AsyncIterator[Place]:
    endpoint = EndpointConfig.model_validate({"url": receiver.url, "secret": SECRET})
    sections = {
        "sealing": SealingConfig(enabled=True),
        "notices": NoticesConfig(endpoints={"one": endpoint}, base_url="https://loom.example", verify_every_s=0),
    }
    given = {"sections": sections, "actors": ActorsConfig(snapshot_every=3, backoff_min_s=300, backoff_max_s=300)}
    bounds: dict[str, Any] = {
        "requests_per_minute": 10_000_000,
        "failed_keys_per_minute": 10_000_000,
        "stream_max_s": 0.1,
    }
    actors = (Keeper, Clerk, Careless)
    async with house(path, actors=actors, extensions=[notices], sections=given, **bounds) as place:
        yield place


async def _shown(place: Place) -> Sinks:
    """Return what is shown to those who may look: the pages, the API, a report, and what a model gets by MCP."""
    loom = place.loom()
    decisions = [each.decision_id for each in await loom.traces.find(limit=200)]
    keys = {"Authorization": f"Bearer {place.keys['one', 'reader']}"}
    wanted = [
        "decisions",
        "approvals",
        "turns",
        "runs",
        "journals",
        "actors",
        "policies",
        "standings",
        "entries/events",
    ]
    wanted += [f"decisions/{each}{more}" for each in decisions for more in ("", "/why")]
    wanted += [f"approvals/{each.approval_id}" for each in await loom.approvals.pending()]
    wanted += [f"journals/{each}" for each in ("keeper/k0", "keeper/f0-r", "keeper/fold-0", "clerk/one")]
    wanted += [f"runs/{_RUN}", f"runs/{_RUN}/report"]
    answers = [await place.browser().ask("GET", f"/api/{each}?workspaceId=one", headers=keys) for each in wanted]
    return {
        "pages": b"\n".join(await _pages(await place.signed_in("admin"))),
        "answers of the API": b"\n".join(each.body for each in answers),
        "report": (await report(loom.queries, _RUN)).encode(),
        "answers by MCP": "\n".join(await _by_mcp(loom, place.keys["one", "reader"], decisions)).encode(),
    }


async def _pages(browser: Browser) -> list[bytes]:
    """Return every page that links lead to, so many of one shape."""
    seen, todo, pages = set[str](), ["/"], list[bytes]()
    while todo and len(pages) < _PAGES:
        answer = await browser.open(todo.pop(0))
        pages.append(answer.body)
        for each in [answer.header("location"), *re.findall(r'href="(/[^"#]*)', answer.text)]:
            if each.startswith("/") and each not in seen and not each.startswith("/assets"):
                seen.add(each)
                todo.append(each.replace("&amp;", "&"))
    return pages


async def _by_mcp(loom: Loom, key: str, decisions: Sequence[str]) -> list[str]:
    from mcp import Client

    from loom.mcp.server import create_server

    tools: Tools = tools_of(loom, "one")
    asked: list[tuple[str, dict[str, Any]]] = [("list_decisions", {}), ("pending_approvals", {})]
    asked += [("why", {"decision_id": each}) for each in decisions]
    asked += [("find_precedents", {"decision_id": each}) for each in decisions[:5]]
    async with Client(create_server(tools, key_of=lambda _: key)) as client:
        answers = [await client.call_tool(tool, given) for tool, given in asked]
    return ["".join(getattr(part, "text", "") for part in each.content) for each in answers]


async def _handed_out(place: Place, path: Path) -> Sinks:
    """Return what is written to be handed out: exports in every format, a case with its proof, an archive, a backup."""
    loom = place.loom()
    reader = Reader(loom.files.journal)
    try:
        sinks = {"export": "\n".join([each async for each in export_lines(reader, workspace="one")]).encode()}
        given = Written(signer=FileSigner(_key_in(path)))
        for form in FORMATS:
            read = DecisionsRead(reader, loom.traces, Span(None, 0, None))
            lines = [each async for each in write_format(form, read, workspace="one", given=given)]
            sinks[f"export as {form}"] = "\n".join(lines).encode()
    finally:
        await reader.close()
    sinks["case"] = (await made(loom.files.journal)).raw
    now, archive = datetime.now(UTC) + timedelta(days=1), path / "archive.zip"
    erasures, vault = loom.subjects.erasures, loom.subjects.vault
    sealed = {"by": "vera", "vault": vault, "erasures": erasures, "until": loom.store.acknowledged}
    await seal(loom.store, archive, workspace="one", before=now, now=now, **sealed)  # type: ignore[arg-type]
    sinks["archive"] = archive.read_bytes()
    await asyncio.to_thread(_back_up, loom.files.journal, path / "backup.db")
    return {**sinks, "backup": (path / "backup.db").read_bytes()}


def _key_in(path: Path) -> Path:
    key = path / "key.pem"
    create_key(key)
    return key


def _back_up(journal: Path, to: Path) -> None:
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db, closing(sqlite3.connect(to)) as other:
        db.backup(other)


async def _on_disk(path: Path, when: str) -> Sinks:
    """Return the files of a workspace by name; another process reads them, as an open here could drop its locks."""
    copy = path.with_name(f"{path.name}-{when}")
    await asyncio.to_thread(lambda: subprocess.run(["cp", "-r", path / "one", copy], check=True))
    files = [each for each in sorted(copy.rglob("*")) if each.is_file() and each.stat().st_size]
    return {f"{each.name}, {when}": each.read_bytes() for each in files}


@contextmanager
def _observed() -> Iterator[Callable[[], Sinks]]:
    """Take spans and metrics; yield what returns them."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, metrics, tracer = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    tracer.add_span_processor(SimpleSpanProcessor(spans))
    meter = MeterProvider(metric_readers=[metrics])

    def taken() -> Sinks:
        data = metrics.get_metrics_data()
        finished = "\n".join(each.to_json() for each in spans.get_finished_spans())
        return {"spans": finished.encode(), "metrics": b"" if data is None else data.to_json().encode()}

    instrument(tracer, meter)
    try:
        yield taken
    finally:
        uninstrument()
        tracer.shutdown()
        meter.shutdown()
