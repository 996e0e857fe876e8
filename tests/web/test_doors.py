"""Connections that there is no descriptor for are counted, and the log hears of them once."""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import Any

import pytest

from loom.web.config import WebConfig
from loom.web.doors import Doors


def test_connections_without_a_descriptor_are_one_line_of_the_log_and_other_faults_a_line_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    doors, loop = Doors(WebConfig(), clock=lambda: 1.0), asyncio.new_event_loop()

    def failed(error: Exception, message: str) -> None:
        context: dict[str, Any] = {"message": message, "exception": error}
        doors.on_loop_error(loop, context)

    try:
        with caplog.at_level(logging.INFO):
            for _ in range(100):
                failed(OSError(errno.EMFILE, "Too many open files"), "socket.accept() out of system resource")
            doors.say()
            assert [record.name for record in caplog.records] == ["loom.web", "loom.web"]  # the first, and the rest
            assert "99" in caplog.records[1].getMessage()
            failed(OSError(errno.EMFILE, "Too many open files"), "a fault in a callback")
            failed(ValueError("wrong"), "a fault in a callback")
            assert [record.name for record in caplog.records[2:]] == ["asyncio", "asyncio"]
    finally:
        loop.close()
