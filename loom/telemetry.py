"""Logs: events named like the entry kinds, bound with the journal, turn and correlation id they belong to.

A library must not configure logging. Loom's loggers therefore write to the standard library's `logging` under `loom`,
where warnings reach stderr and the rest is silent until configured; if the application has configured structlog,
they go through the application's processors instead. Only the shell calls `configure_logging`.
Journaled text is a value and never the name of an event, and no value can begin a line of its own or steer a terminal.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import Token
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, TextIO, TypeAlias

import structlog
from structlog.contextvars import bind_contextvars, get_contextvars, reset_contextvars
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from loom.errors import AnswerKind, LoomError

__all__ = ["ANSWER_LEVELS", "LoomLogger", "bind_turn", "configure_logging", "get_logger", "log_answer"]

Level: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]
Format: TypeAlias = Literal["auto", "json", "console"]

ANSWER_LEVELS: Mapping[AnswerKind, Level] = {
    "not_found": "info",
    "conflict": "info",
    "invalid": "info",
    "refused": "warning",
    "busy": "warning",
    "fault": "error",
}
"""At which level an error is logged that was sent as an answer."""

_EVENT = re.compile(r"[A-Za-z][A-Za-z0-9_./:-]{0,127}\Z")
_NOT_VALUES = frozenset({"event", "level", "logger", "exc_info", "stack_info"})


class LoomLogger(structlog.BoundLoggerBase):
    """A structlog bound logger whose sink is decided when it logs; a failing sink never fails its caller.

    `bind(...)` returns one with further values. An event that is filtered out costs one comparison.
    """

    _logger: logging.Logger

    def debug(self, event: str, **values: object) -> None:
        """Log what helps to find a fault."""
        if self._logger.isEnabledFor(logging.DEBUG) or structlog.is_configured():
            self._emit(logging.DEBUG, "debug", event, values)

    def info(self, event: str, **values: object) -> None:
        """Log what happened as it should."""
        if self._logger.isEnabledFor(logging.INFO) or structlog.is_configured():
            self._emit(logging.INFO, "info", event, values)

    def warning(self, event: str, **values: object) -> None:
        """Log what a person should look at."""
        self._emit(logging.WARNING, "warning", event, values)

    def error(self, event: str, **values: object) -> None:
        """Log what went wrong."""
        self._emit(logging.ERROR, "error", event, values)

    def exception(self, event: str, **values: object) -> None:
        """Log what went wrong, with the exception that is being handled."""
        self._emit(logging.ERROR, "error", event, {"exc_info": True, **values})

    def critical(self, event: str, **values: object) -> None:
        """Log what stops loom."""
        self._emit(logging.CRITICAL, "critical", event, values)

    def _emit(self, level: int, method: str, event: str, values: dict[str, Any]) -> None:
        theirs = _application_has_configured_structlog()
        if not theirs and not self._logger.isEnabledFor(level):
            return
        if not _EVENT.match(event):
            event, values = "unnamed_event", {**values, "text": event}
        try:
            if theirs:
                target = structlog.get_logger(self._logger.name).bind(**self._context)
                # An asynchronous wrapper class would return a coroutine that is never awaited.
                getattr(getattr(target, "sync_bl", target), method)(event, **values)
            else:
                arguments, keywords = self._process_event(method, event, values)
                self._logger.log(level, *arguments, **keywords, stacklevel=3)
        except Exception:
            # A log line is worth less than the turn it speaks of; the standard library handles its own the same way.
            if logging.raiseExceptions and sys.stderr:
                traceback.print_exc()


def get_logger(name: str = "loom") -> LoomLogger:
    """Return the logger of a module of loom's; give it `__name__`. It configures nothing."""
    below = name if name == "loom" or name.startswith("loom.") else f"loom.{name}"
    return LoomLogger(logging.getLogger(below), _PROCESSORS, {})


def log_answer(log: LoomLogger, event: str, error: LoomError, **values: object) -> None:
    """Log an error that is sent as an answer, at the level of its kind."""
    level = ANSWER_LEVELS[error.kind]
    told = {"type": type(error).__name__, "kind": error.kind, "error": str(error), **values}
    log._emit(logging.getLevelNamesMapping()[level.upper()], level, event, told)


def bind_turn(*, journal: str, turn: str, correlation_id: str) -> AbstractContextManager[None]:
    """Bind journal, turn and correlation id to every event logged inside, in this task and in those it starts.

    Outer bindings are restored at the end.
    """
    return _Bound({"journal": journal, "turn": turn, "correlation_id": correlation_id})


def configure_logging(*, level: Level = "info", format: Format = "auto", stream: TextIO | None = None) -> None:
    """Set the logging of this process up: everything to stderr, as JSON or for people. Only programs call it.

    `auto` is the console form if stderr is a terminal, else JSON. Calling it again replaces what it did before.
    It takes structlog's default away (which prints to stdout), unless the application has configured structlog itself.
    """
    target = stream if stream is not None else sys.stderr
    on_terminal = target.isatty()
    render = format if format != "auto" else ("console" if on_terminal else "json")
    colors = on_terminal and "NO_COLOR" not in os.environ
    handler = _Handler(target)
    handler.setFormatter(_formatter(_console(colors=colors) if render == "console" else _JSON))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    number = logging.getLevelNamesMapping()[level.upper()]
    # Libraries below log every statement at debug, which does not help to debug loom.
    root.setLevel(max(number, logging.INFO))
    logging.getLogger("loom").setLevel(number)
    if not _application_has_configured_structlog():
        structlog.configure(
            processors=_PROCESSORS,
            wrapper_class=structlog.make_filtering_bound_logger(number),
            logger_factory=_LoggerFactory(),
            cache_logger_on_first_use=False,
        )


class _Bound(AbstractContextManager[None]):
    """Structlog's `bound_contextvars` at half the price: it reads no other variable than its own."""

    __slots__ = ("_tokens", "_values")

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values
        self._tokens: dict[str, Token[Any]] = {}

    def __enter__(self) -> None:
        self._tokens = dict(bind_contextvars(**self._values))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        reset_contextvars(**self._tokens)


class _Handler(logging.StreamHandler[TextIO]):
    """The handler that `configure_logging` put there, and may take away."""


class _LoggerFactory(structlog.stdlib.LoggerFactory):
    """Marks the structlog configuration as the one that `configure_logging` made."""


def _application_has_configured_structlog() -> bool:
    return structlog.is_configured() and not isinstance(structlog.get_config()["logger_factory"], _LoggerFactory)


class _Event(dict[str, Any]):
    """An event as the message of a log record: a line for any formatter, a dict for structlog's ProcessorFormatter."""

    def __str__(self) -> str:
        values = (f"{_escaped(key)}={_value(value)}" for key, value in self.items() if key not in _NOT_VALUES)
        return " ".join([_escaped(str(self.get("event", ""))), *values])


def _merge_context(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Add what is bound, in the same order every time; structlog's own follows the hash of the day."""
    for key, value in sorted(get_contextvars().items()):
        event.setdefault(key, value)
    return event


def _add_origin(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    event["level"] = method
    event["logger"] = logger.name
    return event


def _to_record(logger: WrappedLogger, method: str, event: EventDict) -> Any:
    """Return the arguments for a log call of the standard library's."""
    exc_info = _exc_info(event.pop("exc_info", None))
    if exc_info is not None:
        event["exc_info"] = exc_info
    return (_Event(event),), {"extra": {"_logger": logger, "_name": method}, "exc_info": exc_info}


_PROCESSORS: list[Processor] = [_merge_context, _add_origin, _to_record]


def _exc_info(given: object) -> ExcInfo | None:
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    found = given if isinstance(given, tuple) else sys.exc_info() if given else None
    return found if found and found[0] is not None else None


def _formatter(processors: list[Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[_add_foreign_origin],
        processors=[_add_time, structlog.stdlib.ProcessorFormatter.remove_processors_meta, *processors],
    )


def _add_foreign_origin(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    event["level"] = method
    event["logger"] = record.name
    return event


def _add_time(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    created = datetime.fromtimestamp(event["_record"].created, UTC)
    event["timestamp"] = created.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _dump(event: EventDict, **options: Any) -> str:
    try:
        return json.dumps(event, allow_nan=False, **options)
    except (ValueError, TypeError, RecursionError):
        # NaN, a circle or keys that are no text: a line that says less is better than one that is no JSON, or none.
        return json.dumps({str(key): value if isinstance(value, str) else repr(value) for key, value in event.items()})


_JSON: list[Processor] = [
    structlog.processors.format_exc_info,
    structlog.processors.JSONRenderer(serializer=_dump),
]


def _console(*, colors: bool) -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_indented_traceback, sort_keys=False)
    return [_neutralise, renderer]


class _Shown:
    """Text that the console renderer takes as it is, since it looks for strings only."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _neutralise(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Escape what is not printable: structlog's console renderer lets a bare ESC through."""
    shown: EventDict = {}
    for key, value in event.items():
        if key == "exc_info":
            shown[key] = value
        elif key in ("exception", "stack"):
            # The renderer writes these two as they are, on lines of their own.
            shown[key] = _indented(str(value))
        elif key in ("event", "level", "logger", "timestamp"):
            shown[key] = _escaped(str(value))
        else:
            shown[_escaped(str(key))] = _Shown(_value(value))
    return shown


def _value(value: object) -> str:
    if not isinstance(value, str):
        return _escaped(repr(value))
    plain = value and value.isprintable() and not set(value) & set(" ='\"")
    return value if plain else repr(value)


def _escaped(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _indented_traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    """Write a traceback no line of which can pass for an event."""
    stream.write("\n" + _indented("".join(traceback.format_exception(*exc_info))))


def _indented(text: str) -> str:
    return "\n".join(f"    | {_escaped(line)}" for line in text.rstrip("\n").split("\n"))
