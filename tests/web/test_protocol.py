"""HTTP byte by byte: what can be read in two ways is refused, and what does not come in time ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path

import pytest

from tests.web.raw import Raw, raw
from tests.web.support import Client, served

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/circuits/execute?workspaceId=one HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b'{"circuitId": "CX01_INTENT_DETECTION", "clientId": "c-1", "inputs": {"business_profile": "SaaS"}}'


def authorized(client: Client, role: str = "operator") -> bytes:
    return POST + b"Authorization: Bearer " + client.keys["one", role].encode() + b"\r\n"


AMBIGUOUS = {
    "length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks and length, to a GET": GET + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + SMUGGLED,
    "the same length twice": POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "a list of lengths": POST + b"Content-Length: 0, 0\r\n\r\n" + SMUGGLED,
    "a length with a sign": POST + b"Content-Length: +0\r\n\r\n" + SMUGGLED,
    "a length before a colon apart": POST + b"Content-Length : 0\r\n\r\n" + SMUGGLED,
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "another coding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunks in HTTP/1.0": POST.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded header": GET + b"X-Long: one\r\n Content-Length: 5\r\n\r\n" + SMUGGLED,
    "a header folded by a tab": GET + b"Transfer-Encoding:\r\n\tchunked\r\n\r\n" + SMUGGLED,
    "bare line feeds": GET.replace(b"\r\n", b"\n") + b"\n" + SMUGGLED,
    "one bare line feed": GET + b"X-One: 1\nContent-Length: 5\r\n\r\n" + SMUGGLED,
    "two hosts": GET + b"Host: evil.example\r\n\r\n" + SMUGGLED,
    "no host": b"GET /health HTTP/1.1\r\n\r\n" + SMUGGLED,
    "an endless head": GET + b"X-Long: " + b"x" * 40_000 + b"\r\n\r\n" + SMUGGLED,
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
async def test_a_request_that_can_be_read_in_two_ways_is_refused_before_the_app_and_its_connection_closed(
    name: str, tmp_path: Path
) -> None:
    async with served(tmp_path) as client:
        seen: list[str] = []
        inner = client.app.middleware_stack

        async def watched(scope, receive, send):  # type: ignore[no-untyped-def]
            seen.append(scope["type"])
            assert inner is not None
            await inner(scope, receive, send)

        client.app.middleware_stack = watched
        async with raw(client.port) as connection:
            await connection.send(AMBIGUOUS[name])
            said = await connection.rest()
        assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 ")), said
        assert said.count(b"HTTP/1.1 ") == 1, "what was smuggled along is not answered"
        assert b"connection: close" in said.lower()
        assert b"x-content-type-options: nosniff" in said
        assert b'"code":"bad_http"' in said
        assert not seen, "the app never saw it"


@pytest.mark.parametrize(
    "chunks",
    [b"zz\r\nhello\r\n", b"-5\r\nhello\r\n", b"0x5\r\nhello\r\n", b"3\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloXX0\r\n\r\n"],
)
async def test_a_bad_chunk_is_refused_and_nothing_that_comes_after_it_is_read(chunks: bytes, tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        async with raw(client.port) as connection:
            await connection.send(authorized(client) + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + SMUGGLED)
            said = await connection.rest()
        assert said.count(b"HTTP/1.1 ") == 1
        assert said.startswith(b"HTTP/1.1 400 ")
        assert (await client.call("GET", "/health", role=None, workspace="")).status == 200


async def test_what_is_right_is_answered_also_in_chunks_in_pieces_and_one_after_the_other(tmp_path: Path) -> None:
    async with served(tmp_path) as client, raw(client.port) as connection:
        whole = authorized(client) + b"Content-Length: " + str(len(BODY)).encode() + b"\r\n\r\n" + BODY
        for at in range(0, len(whole), 40):
            await connection.send(whole[at : at + 40])
            await asyncio.sleep(0)
        assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")
        chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (BODY[:30], BODY[30:])) + b"0\r\n\r\n"
        await connection.send(authorized(client) + b"Transfer-Encoding: chunked\r\n\r\n" + chunked)
        assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")
        await connection.send((GET + b"\r\n") * 3)
        for _ in range(3):
            assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")


# --- deadlines -------------------------------------------------------------------------------------


async def trickle(connection: Raw, data: bytes, every_s: float = 0.05) -> None:
    """Send one byte at a time, for ever."""
    with contextlib.suppress(ConnectionError):
        for byte in data:
            await connection.send(bytes([byte]))
            await asyncio.sleep(every_s)


async def ended_after(client: Client, begin: bytes, then: bytes) -> tuple[float, bytes]:
    """Return after how long a connection is ended that trickles, and what it was told."""
    async with raw(client.port) as connection:
        began = time.monotonic()
        await connection.send(begin)
        trickling = asyncio.create_task(trickle(connection, then))
        try:
            return time.monotonic() - began, await connection.rest()
        finally:
            trickling.cancel()
            await asyncio.gather(trickling, return_exceptions=True)


async def test_a_head_that_does_not_come_in_time_ends_however_steadily_it_trickles(tmp_path: Path) -> None:
    async with served(tmp_path, header_timeout_s=0.5) as client:
        async with asyncio.timeout(20):
            _, said = await ended_after(client, GET, b"X-Slow: " + b"x" * 2_000)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"request_timeout"' in said
        async with asyncio.timeout(20):
            _, silent = await ended_after(client, b"", b"")
        assert silent == b"", "who said nothing is told nothing"


async def test_a_second_request_of_a_connection_has_a_deadline_of_its_own(tmp_path: Path) -> None:
    async with served(tmp_path, header_timeout_s=0.5) as client, raw(client.port) as connection:
        await connection.send(GET + b"\r\n")
        assert (await connection.answer()).startswith(b"HTTP/1.1 200 ")
        trickling = asyncio.create_task(trickle(connection, GET + b"x" * 2_000))
        said = await connection.rest(within_s=20)
        trickling.cancel()
        assert said.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_does_not_come_in_time_ends_and_the_app_is_not_kept_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path, body_timeout_s=0.5) as client:
        with caplog.at_level(logging.INFO):
            async with asyncio.timeout(20):
                _, said = await ended_after(client, authorized(client) + b"Content-Length: 5000\r\n\r\n{", b"x" * 4_000)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR], "it is no fault"
        assert not (await client.loom().traces.find())


async def test_a_body_that_nobody_waits_for_is_not_read_for_ever(tmp_path: Path) -> None:
    async with served(tmp_path, body_timeout_s=0.5) as client, asyncio.timeout(20):
        _, said = await ended_after(client, POST + b"Content-Length: 500000\r\n\r\n", b"x" * 4_000)
        assert said.startswith(b"HTTP/1.1 401 ")
        assert said.count(b"HTTP/1.1 ") == 1


async def test_a_body_that_is_broken_off_is_no_fault_of_the_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path) as client:
        with caplog.at_level(logging.INFO):
            async with raw(client.port) as connection:
                await connection.send(authorized(client) + b"Content-Length: 5000\r\n\r\n{")
            assert (await client.call("GET", "/health", role=None, workspace="")).status == 200
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_an_answer_that_is_not_read_does_not_hold_its_connection_for_ever(tmp_path: Path) -> None:
    async with served(tmp_path, body_timeout_s=0.5) as client:
        big = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1_024)
        try:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(big * 400)
            async with asyncio.timeout(30):
                while not writer.is_closing() and client.server.server_state.connections:
                    await asyncio.sleep(0.01)
        finally:
            writer.transport.abort()
        assert not client.server.server_state.connections
        assert reader is not None


# --- many of them ----------------------------------------------------------------------------------


async def test_connections_that_wait_give_way_to_those_that_ask(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path, max_connections=8) as client:
        with caplog.at_level(logging.WARNING, logger="loom.web"):
            async with contextlib.AsyncExitStack() as stack:
                half_open = [await stack.enter_async_context(raw(client.port)) for _ in range(40)]
                for each in half_open:
                    await each.send(GET)
                for _ in range(3):
                    said = await client.call("GET", "/health", role=None, workspace="")
                    assert said.status == 200
                assert len(client.server.server_state.connections) <= 8
                assert await half_open[0].rest() == b"", "the one that had waited longest went first"
        said_of_it = [record for record in caplog.records if "connections_ended" in record.getMessage()]
        assert len(said_of_it) == 1, "one line, however many they are"


async def test_what_is_under_way_never_gives_way(tmp_path: Path) -> None:
    async with served(tmp_path, max_connections=4) as client, contextlib.AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(raw(client.port)) for _ in range(4)]
        for each in busy:
            await each.send(authorized(client) + b"Content-Length: " + str(len(BODY)).encode() + b"\r\n\r\n{")
        await asyncio.gather(*(_reads_body(client) for _ in range(1)))
        async with raw(client.port) as late:
            await late.send(GET + b"\r\n")
            refused = await late.rest()
        assert refused == b"" or refused.startswith(b"HTTP/1.1 503 ")
        for each in busy:
            await each.send(BODY[1:])
            assert (await each.answer()).startswith(b"HTTP/1.1 200 ")
        assert (await client.call("GET", "/health", role=None, workspace="")).status == 200


async def _reads_body(client: Client) -> None:
    """Wait until four requests are at work."""
    async with asyncio.timeout(30):
        while len(client.server.server_state.tasks) < 4:
            await asyncio.sleep(0.005)
