"""Write help in sections, without Rich, whose import alone takes a third of the time of `loom --help`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ["Deferred", "FrontDoor", "Sections", "WithDefault"]


class Sections(TyperGroup):
    """A group that shows its commands in sections, by the panel that each of them names."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, then the commands."""
        _write(formatter, _options(self, ctx))
        self.format_commands(ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the first paragraph of each command."""
        _write(formatter, _commands(self, ctx, self.list_commands(ctx)))


class FrontDoor(Sections):
    """The group that a newcomer sees first: without arguments it shows what to begin with, and how to see all."""

    first: ClassVar[tuple[str, ...]] = ()
    """The names of the commands to begin with."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Show what to begin with where nothing is asked."""
        if not args and not ctx.resilient_parsing:
            typer.echo(self.begin(ctx))
            raise typer.Exit
        return super().parse_args(ctx, args)

    def begin(self, ctx: Any) -> str:
        """Return the help with the commands to begin with alone."""
        formatter = ctx.make_formatter()
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...")
        self.format_help_text(ctx, formatter)
        _write(formatter, _commands(self, ctx, self.first))
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(
                f"{len(self.first)} of {len(self.list_commands(ctx))} commands: `{ctx.command_path} --all` shows all, "
                f"`{ctx.command_path} COMMAND --help` one. Where something does not work: `{ctx.command_path} doctor`."
            )
        return str(formatter.getvalue()).rstrip("\n")


class WithDefault(Sections):
    """A group whose first command is meant where none of its commands is named, also with arguments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the first command before arguments that do not begin with the name of one."""
        named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else [next(iter(self.commands)), *args])

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options of the first command, then the commands."""
        first = self.get_command(ctx, next(iter(self.commands)))
        _write(formatter, _options(first, ctx))
        self.format_commands(ctx, formatter)


class Deferred(TyperCommand):
    """A command whose arguments and options are computed when they are read: a list of commands needs none."""

    made: ClassVar[Callable[[], Callable[..., Any]]]
    """Makes the function that Typer reads."""

    @classmethod
    def of(cls, made: Callable[[], Callable[..., Any]]) -> type[Deferred]:
        """Return the class of a command."""
        return type(cls.__name__, (cls,), {"made": staticmethod(made)})

    @functools.cached_property
    def _built(self) -> Any:
        alone = typer.Typer(add_completion=False)
        alone.command(self.name)(type(self).made())
        return typer.main.get_command(alone)

    @property
    def params(self) -> Any:
        """Its arguments and options."""
        return self._built.params

    @params.setter
    def params(self, given: Any) -> None:
        """Set what Typer reads; it is derived from the placeholder function."""

    @property
    def callback(self) -> Any:
        """What runs it."""
        return self._built.callback

    @callback.setter
    def callback(self, given: Any) -> None:
        """Set the function that runs."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options."""
        _write(formatter, _options(self, ctx))


def _commands(group: Any, ctx: Any, names: Iterable[str]) -> Iterable[tuple[str, tuple[str, str]]]:
    for name in names:
        each = group.get_command(ctx, name)
        if each is not None and not each.hidden:
            yield getattr(each, "rich_help_panel", None) or "Commands", (name, (each.help or "").split("\n\n")[0])


def _options(command: Any, ctx: Any) -> Iterable[tuple[str, tuple[str, str]]]:
    for parameter in command.get_params(ctx):
        shown = parameter.get_help_record(ctx)
        if shown is not None:
            usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
            yield getattr(parameter, "rich_help_panel", None) or usual, shown


def _write(formatter: Any, shown: Iterable[tuple[str, tuple[str, str]]]) -> None:
    sections: dict[str, list[tuple[str, str]]] = {}
    for panel, row in shown:
        sections.setdefault(panel, []).append(row)
    for panel, rows in sections.items():
        with formatter.section(panel):
            formatter.write_dl(rows)
