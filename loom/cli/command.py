"""How a command is made: a function that takes a `Shell`, sync or async, becomes a Typer command.

Typer calls a coroutine function without awaiting it and exits with 0, with nothing done; here it is run. Every command
gets the common options, prints a `LoomError` as one message, and ends with an exit code that means something.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import traceback
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from loom.cli.helping import Deferred
from loom.cli.output import Output, plain_error
from loom.cli.shell import Shell
from loom.errors import AnswerKind, ControlError, LoomError

__all__ = ["EXIT_ERROR", "EXIT_NO", "EXIT_OK", "EXIT_UNSURE", "Common", "command", "exit_code_of"]

EXIT_OK = 0
EXIT_NO = 1
"""The answer is no, or something was found."""
EXIT_ERROR = 2
"""Wrong usage, or the machine, the config or the journal prevents an answer."""
EXIT_UNSURE = 3
"""Nothing was found, and too little could be examined to say that there is nothing."""
_EXIT_INTERRUPTED = 130
_EXIT_PIPE = 141

_EXIT_CODES: Mapping[AnswerKind, int] = {
    "not_found": EXIT_NO,
    "conflict": EXIT_NO,
    "refused": EXIT_NO,
    "busy": EXIT_ERROR,
    "invalid": EXIT_ERROR,
    "fault": EXIT_ERROR,
}

_PANEL = "Which loom, and how"


class Common(typing.NamedTuple):
    """The common options that were given before the command; those given after it take precedence."""

    config: Path | None = None
    journal: str | None = None
    workspace: str | None = None
    json: bool = False
    debug: bool = False


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="The config file, or its directory.", rich_help_panel=_PANEL, show_default=False
    ),
]
JournalOption = Annotated[
    str | None,
    typer.Option(
        "--journal",
        "-j",
        help="The journal file, its directory, or a sqlite:/// or postgresql:// URL.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
WorkspaceOption = Annotated[
    str | None,
    typer.Option("--workspace", "-w", help="Another workspace than the config's.", rich_help_panel=_PANEL),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.", rich_help_panel=_PANEL)]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error, and the log.", rich_help_panel=_PANEL)
]

_OF_ALL = "of_all_"  # a prefix for the names of the common options: a command may use the same names for its own
_OPTIONS = [
    inspect.Parameter(_OF_ALL + name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
    for name, default, annotation in (
        ("config", None, ConfigOption),
        ("journal", None, JournalOption),
        ("workspace", None, WorkspaceOption),
        ("json", False, JsonOption),
        ("debug", False, DebugOption),
    )
]


def command(
    app: typer.Typer, name: str, *, panel: str | None = None, default: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function a command of `app`; with `default` it is what the group does when no command is named.

    The function gets a `Shell` first, then its own arguments and options. What it returns is the exit code; None is 0.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        made = functools.cache(lambda: _as_command(function))
        if default:
            app.callback(invoke_without_command=True, help=app.info.help)(_unless_subcommand(made()))
        app.command(name, cls=Deferred.of(made), rich_help_panel=panel, help=function.__doc__)(_in_its_place)
        return function

    return decorate


def exit_code_of(error: LoomError) -> int:
    """Return the exit code for an error: 1 if it is the answer, 2 if something prevents an answer."""
    return _EXIT_CODES[error.kind]


def _in_its_place() -> None:
    """Hold the place of a command in Typer's list: `Deferred` gives what is run."""


def _as_command(function: Callable[..., Any]) -> Callable[..., Any]:
    hints = typing.get_type_hints(function, include_extras=True)
    own = [
        parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in list(inspect.signature(function).parameters.values())[1:]
    ]
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [context, *own, *_OPTIONS]

    @functools.wraps(function)
    def run(*, context: typer.Context, **given: Any) -> None:
        shell = _shell(context, {option.name: given.pop(option.name) for option in _OPTIONS})
        raise typer.Exit(_run(function, shell, given))

    # Typer reads both; `functools.wraps` has copied what belongs to the function inside.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    del run.__wrapped__
    return run


def _unless_subcommand(as_command: Callable[..., Any]) -> Callable[..., Any]:
    """Let the callback of a group be its default command, which does not run if another is named."""

    @functools.wraps(as_command)
    def run(*, context: typer.Context, **given: Any) -> None:
        if context.invoked_subcommand is None:
            as_command(context=context, **given)
        else:
            context.obj = _merged(context.obj, given)

    run.__signature__ = inspect.signature(as_command)  # type: ignore[attr-defined]
    del run.__wrapped__
    return run


def _merged(before: Common | None, given: dict[str, Any]) -> Common:
    before = before or Common()
    return Common(*(given.get(_OF_ALL + name) or getattr(before, name) for name in Common._fields))


def _shell(context: typer.Context, given: dict[str, Any]) -> Shell:
    common = _merged(context.obj, given)
    return Shell(**common._asdict(), output=Output(json=common.json))


def _run(function: Callable[..., Any], shell: Shell, given: dict[str, Any]) -> int:
    import asyncio

    _set_logging(shell)
    try:
        said = function(shell, **given)
        code = asyncio.run(said) if inspect.iscoroutine(said) else said
        sys.stdout.flush()
    except (typer.Exit, typer.BadParameter):
        raise
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        return _reader_gone()
    except LoomError as error:
        return _report_error(error, shell, exit_code_of(error))
    except (OSError, UnicodeError) as error:
        return _report_error(error, shell, EXIT_ERROR)
    except Exception as error:
        traceback.print_exception(error)
        plain_error("this is a fault in loom, or in the code of an actor; expected an answer: please report it")
        return EXIT_ERROR
    return EXIT_OK if code is None else int(code)


def _set_logging(shell: Shell) -> None:
    """Keep the log to what went wrong; `loom run` and --debug want more of it."""
    import logging

    logging.getLogger("loom").setLevel(logging.DEBUG if shell.debug else logging.ERROR)
    if shell.debug:
        from loom.telemetry import configure_logging

        configure_logging(level="debug")


def _report_error(error: Exception, shell: Shell, code: int) -> int:
    if shell.debug:
        traceback.print_exception(error)
    plain_error(str(error) or type(error).__name__)
    if isinstance(error, LoomError):
        sys.stderr.write(f"see: loom docs errors#{_name_of(error)}\n")
    return code


def _name_of(error: LoomError) -> str:
    """Return the name under which the page of errors has it: of one from a running loom, that of its error there."""
    from loom.cli.reference.found import loaded

    named = error.type_name if isinstance(error, ControlError) else None
    return next((each.__name__ for each in loaded(LoomError) if each.__name__ == named), type(error).__name__)


def _reader_gone() -> int:
    """End quietly when the reader of the output is gone, as in `loom export | head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _EXIT_PIPE
