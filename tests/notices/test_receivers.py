"""The examples of receivers: each takes what loom sends, refuses what loom did not sign, and passes it on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from loom.notices.posting import Refused, post
from loom.notices.signing import signed
from tests.cli.support import environment
from tests.notices.receiver import KEY, SECRET

EXAMPLES = Path(__file__).parents[2] / "examples" / "notices"
EVENT = {"type": "loom.approval.asked", "subject": "a1", "data": {"link": "https://loom.example/inbox/a1"}}
BODY = json.dumps(EVENT).encode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def running(name: str, **settings: str) -> AsyncIterator[str]:
    """Run an example as its own process; yield its address once it listens."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / name),
        env=environment(NOTICES_SECRET=SECRET, PORT=str(port), **settings),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        await process.wait()


async def send(url: str, *, key: bytes = KEY, age_s: int = 0) -> int:
    headers = signed([key], notice_id="msg_1", at_s=int(time.time()) - age_s, body=BODY)
    return await post(url, BODY, headers, timeout_s=10)


async def test_the_example_for_slack_posts_each_notice_once_and_nothing_that_is_not_signed() -> None:
    got: list[bytes] = []

    async def slack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        got.append(await reader.readexactly(int(length.split(b":")[1])))
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(slack, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with running("slack.py", SLACK_URL=address) as url:
        for wrong in ({"key": KEY[::-1]}, {"age_s": 4_000}):
            with pytest.raises(Refused, match="status 401"):
                await send(url, **wrong)
        assert await send(url) == 204
        assert await send(url) == 204
    server.close()
    assert [json.loads(each) for each in got] == [{"text": "approval asked: https://loom.example/inbox/a1"}]


async def test_the_example_for_mail_hands_a_notice_to_the_server_of_mail() -> None:
    mails: list[str] = []

    async def smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().strip():
            if line.upper() == "DATA":
                writer.write(b"354 go on\r\n")
                mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
            writer.write(b"221 bye\r\n" if line.upper() == "QUIT" else b"250 ok\r\n")
        writer.close()

    server = await asyncio.start_server(smtp, "127.0.0.1", 0)
    port = str(server.sockets[0].getsockname()[1])
    settings = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": port, "MAIL_FROM": "loom@a.example", "MAIL_TO": "vp@a.example"}
    async with running("mail.py", **settings) as url:
        with pytest.raises(Refused, match="status 401"):
            await send(url, key=KEY[::-1])
        assert mails == []
        assert await send(url) == 204
    server.close()
    [mail] = mails
    assert "Subject: approval asked" in mail
    assert "To: vp@a.example" in mail
    assert "https://loom.example/inbox/a1" in mail
