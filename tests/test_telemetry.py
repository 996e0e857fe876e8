"""Where loom's events go, what they carry, and what they cannot do to a terminal or a log file."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import structlog
from structlog.typing import EventDict, WrappedLogger

from loom.telemetry import bind_turn, configure_logging, get_logger

ROOT = Path(__file__).parent.parent
FORGED = "ok\r\n2026-01-01 [info] decision_recorded \x1b[31mby=root\x1b]0;title\x07\x9b2J\u2028\u202e"
BARE = "\x1b[2J\x1b[31mred"
TURN = {"journal": "discount-agent/7", "turn": "t1", "correlation_id": "c1"}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code as the program of somebody who uses loom as a library."""
    return subprocess.run(
        [sys.executable, "-c", "from loom.telemetry import *\n" + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )


def console(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def parsed(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


# A library that configures nothing


def test_importing_loom_and_making_loggers_configures_nothing() -> None:
    done = run(
        "import logging, structlog\n"
        "get_logger('loom.x').bind(a=1)\n"
        "loggers = [logging.getLogger(n) for n in ('', 'loom', 'loom.x')]\n"
        "print([logger.handlers for logger in loggers], structlog.is_configured())"
    )
    assert done.stdout == "[[], [], []] False\n"


def test_a_user_who_configured_nothing_sees_warnings_on_stderr_and_nothing_on_stdout() -> None:
    done = run(
        "log = get_logger('loom.journal')\n"
        "log.debug('a_debug'); log.info('an_info')\n"
        "log.warning('a_warning', journal='a/b', why='two words'); log.error('bad')"
    )
    assert done.stdout == ""
    assert done.stderr == "a_warning journal=a/b why='two words'\nbad\n"


def test_a_user_of_the_standard_library_gets_loom_events_as_log_records(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="loom")
    with bind_turn(**TURN):
        get_logger("loom.actors").info("command_received", command="RequestDiscount")
    (record,) = caplog.records
    assert (record.name, record.levelname, record.filename) == ("loom.actors", "INFO", "test_telemetry.py")
    assert record.getMessage() == (
        "command_received command=RequestDiscount correlation_id=c1 journal=discount-agent/7 turn=t1"
    )


def test_an_exception_reaches_a_plain_handler_with_its_traceback() -> None:
    done = run("try:\n    1 / 0\nexcept ZeroDivisionError:\n    get_logger('loom').exception('turn_failed', turn='t')")
    assert done.stderr.startswith("turn_failed turn=t\nTraceback (most recent call last):\n")
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_a_plain_handler_gets_one_line_whatever_the_values_are(caplog: pytest.LogCaptureFixture) -> None:
    get_logger("loom").warning("decision_recorded", rationale=FORGED, bare=BARE, nested=[FORGED], **{f"k{FORGED}": 1})
    message = caplog.records[0].getMessage()
    assert message.isprintable()
    assert message.startswith("decision_recorded rationale='ok\\r\\n2026")


# An application that has configured structlog


def test_an_application_with_structlog_gets_loom_events_through_its_own_processors() -> None:
    seen: list[EventDict] = []

    def keep(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        seen.append({**event, "method": method})
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    log = get_logger("loom.actors").bind(actor="a")
    with bind_turn(**TURN):
        log.info("command_received", command="x")
    assert seen == [{"actor": "a", "event": "command_received", "command": "x", "method": "info", **TURN}]


def test_the_level_of_the_application_decides() -> None:
    out = io.StringIO()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(out),
    )
    log = get_logger("loom")
    log.warning("quiet")
    log.error("loud")
    assert parsed(out) == [{"event": "loud"}]


def test_an_application_that_configures_structlog_after_the_import_is_respected_too() -> None:
    out = io.StringIO()
    log = get_logger("loom")
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(out)
    )
    log.info("event")
    configure_logging(stream=io.StringIO())
    log.info("event_two")
    assert [event["event"] for event in parsed(out)] == ["event", "event_two"], "configure_logging leaves it alone"


async def test_an_application_with_an_asynchronous_wrapper_loses_no_event() -> None:
    out = io.StringIO()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.stdlib.AsyncBoundLogger,
        logger_factory=structlog.PrintLoggerFactory(out),
    )
    get_logger("loom").warning("event")
    assert parsed(out) == [{"event": "event"}]


def test_a_failing_processor_does_not_fail_the_turn(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        raise OSError("disk full")

    structlog.configure(processors=[broken])
    get_logger("loom").error("event")
    assert "OSError: disk full" in capsys.readouterr().err


def test_events_of_a_formatter_of_structlogs_keep_their_values() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer()))
    logging.getLogger().addHandler(handler)
    get_logger("loom.x").warning("event", amount=3)
    assert parsed(out) == [{"event": "event", "amount": 3, "level": "warning", "logger": "loom.x"}]


# The shell


def test_the_shell_logs_json_to_stderr_with_the_turn_bound() -> None:
    out = io.StringIO()
    configure_logging(level="info", format="json", stream=out)
    log = get_logger("loom.actors")
    with bind_turn(**TURN):
        log.info("decision_recorded", rationale=FORGED)
        log.debug("hidden")
    log.info("loom_closed")
    first, second = parsed(out)
    timestamp = str(first.pop("timestamp"))
    assert len(timestamp) == len("2026-01-01T00:00:00.000Z")
    assert timestamp.endswith("Z")
    assert first == {
        "event": "decision_recorded",
        "rationale": FORGED,
        "level": "info",
        "logger": "loom.actors",
        **TURN,
    }
    assert second.keys() == {"event", "level", "logger", "timestamp"}


def test_the_default_stream_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    get_logger("loom").info("event")
    structlog.get_logger("mine").warning("theirs")
    logging.getLogger("other").warning("plain %s", "text")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [json.loads(line)["event"] for line in captured.err.splitlines()] == ["event", "theirs", "plain text"]


@pytest.mark.parametrize(
    ("stream", "first"),
    [(io.StringIO(), "{"), (Terminal(), "\x1b")],
    ids=["a file gets JSON", "a terminal gets colours"],
)
def test_the_form_follows_the_stream(stream: io.StringIO, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    configure_logging(stream=stream)
    get_logger("loom").info("event")
    assert stream.getvalue().startswith(first)


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    configure_logging(stream=out)
    get_logger("loom").info("event")
    assert "\x1b" not in out.getvalue()


def test_configuring_twice_logs_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    before = len(logging.getLogger().handlers)
    configure_logging(level="debug", format="json", stream=first)
    configure_logging(level="warning", format="json", stream=second)
    log = get_logger("loom")
    log.info("hidden")
    structlog.get_logger("mine").info("hidden")
    log.warning("shown")
    assert (first.getvalue(), [event["event"] for event in parsed(second)]) == ("", ["shown"])
    assert len(logging.getLogger().handlers) == before + 1


def test_debugging_loom_does_not_debug_the_libraries_below() -> None:
    out = io.StringIO()
    configure_logging(level="debug", format="json", stream=out)
    logging.getLogger("aiosqlite").debug("executing")
    get_logger("loom").debug("event")
    assert [event["event"] for event in parsed(out)] == ["event"]


# What a value cannot do


@pytest.mark.parametrize("value", [FORGED, BARE, "\x1b", "\n", "\r", "\x00", "\ud800", "\x85", "\u2029"])
@pytest.mark.parametrize("form", ["json", "console"])
def test_no_value_begins_a_line_or_steers_a_terminal(value: str, form: Literal["json", "console"]) -> None:
    out = io.StringIO()
    # Pytest's own handlers would carry the half of a surrogate pair to its workers, which cannot take it.
    logging.getLogger().handlers.clear()
    configure_logging(level="debug", format=form, stream=out)
    log = get_logger("loom.x").bind(bound=value)
    with bind_turn(journal=f"a/{value}", turn=value, correlation_id=value):
        log.info("event", value=value, nested={"k": [value]}, **{f"k{value}": value})
        structlog.get_logger("mine").info(value, value=value)
        logging.getLogger("other").warning("%s", value)
    lines = out.getvalue().split("\n")
    assert (len(lines), lines[-1]) == (4, "")
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("form", ["json", "console"])
def test_journaled_text_is_never_the_name_of_an_event(form: Literal["json", "console"]) -> None:
    out = io.StringIO()
    configure_logging(format=form, stream=out)
    get_logger("loom").info(FORGED, turn="t")
    get_logger("loom").info("routing.circuit_opened")
    first, second = out.getvalue().splitlines()
    assert "unnamed_event" in first
    assert "unnamed_event" not in second
    if form == "json":
        assert json.loads(first)["text"] == FORGED


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_text_of_an_exception_cannot_pass_for_an_event(form: Literal["json", "console"]) -> None:
    out = io.StringIO()
    configure_logging(format=form, stream=out)
    try:
        raise ValueError(FORGED)
    except ValueError as error:
        get_logger("loom").exception("turn_failed")
        get_logger("loom").error("turn_failed", exc_info=error)
    structlog.get_logger("mine").error("turn_failed", exception=f"ValueError: {FORGED}")
    structlog.get_logger("mine").error("turn_failed", stack=FORGED)
    lines = out.getvalue().splitlines()
    assert all(line.isprintable() for line in lines)
    events = [line for line in lines if not line.startswith("    | ")]
    assert len(events) == 4
    assert all("turn_failed" in line for line in events)
    assert out.getvalue().count("ValueError: ok") == 3


@pytest.mark.parametrize("value", [float("nan"), {(1, 2): 3}, {1, 2}, object()])
def test_what_is_no_json_is_logged_all_the_same(value: object) -> None:
    out = io.StringIO()
    configure_logging(format="json", stream=out)
    get_logger("loom").info("event", value=value, other=1)
    assert parsed(out)[0]["event"] == "event"
    assert "NaN" not in out.getvalue()


# Binding


def test_an_inner_turn_hides_the_outer_one_and_gives_it_back() -> None:
    out = io.StringIO()
    configure_logging(format="json", stream=out)
    log = get_logger("loom")
    with bind_turn(**TURN):
        with bind_turn(journal="b/1", turn="t2", correlation_id="c1"):
            log.info("inner")
        log.info("outer")
    log.info("none")
    assert [event.get("turn") for event in parsed(out)] == ["t2", "t1", None]


async def test_turns_that_run_at_once_keep_their_bindings_apart() -> None:
    out = io.StringIO()
    configure_logging(format="json", stream=out)
    log = get_logger("loom")
    both_inside = asyncio.Barrier(2)

    async def turn(name: str) -> None:
        with bind_turn(journal=f"a/{name}", turn=name, correlation_id=name):
            await both_inside.wait()
            async with asyncio.TaskGroup() as group:
                group.create_task(look_up(name))

    async def look_up(name: str) -> None:
        log.info("context_gathered", name=name)

    async with asyncio.TaskGroup() as group:
        group.create_task(turn("x"))
        group.create_task(turn("y"))
    assert sorted((event["name"], event["turn"]) for event in parsed(out)) == [("x", "x"), ("y", "y")]


def test_an_event_that_is_filtered_out_runs_no_processor() -> None:
    class Loud:
        def __repr__(self) -> str:
            raise AssertionError("looked at")

    configure_logging(level="warning", format="console", stream=io.StringIO())
    log = get_logger("loom").bind(loud=Loud())
    log._processors = [lambda *_: pytest.fail("processed")]
    log.info("event", loud=Loud())
    log.debug("event", loud=Loud())


async def test_every_entry_of_a_turn_is_an_event_of_its_kind_bound_to_the_turn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from loom import Actor, Command, Loom

    class Noted(Command[None]):
        """Decide something."""

    class NotingAgent(Actor[None]):
        """Decides."""

        async def execute(self, command: Noted) -> None:
            await self.record_decision(rationale="it was asked for")

    async with Loom.open("sqlite://", actors=[NotingAgent], by="robin") as loom:
        configure_logging(level="info", format="json")
        await loom.actor(NotingAgent, "one").ask(Noted(), id="the-turn")
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [
        (event["event"], event["journal"], event["turn"], event["sequence"]) for event in events if "sequence" in event
    ]
    assert told == [
        ("command_received", "noting-agent/one", "the-turn", 1),
        ("decision", "noting-agent/one", "the-turn", 2),
        ("turn_completed", "noting-agent/one", "the-turn", 3),
    ]
    assert [event["correlation_id"] for event in events if event["event"] == "decision"] == ["the-turn"]
