"""What the shell offers, how fast it says so, and that no command is one that Typer would not run."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from loom.cli.app import app
from loom.cli.helping import Deferred
from tests.cli.support import environment, invoke, run

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_help_names_every_command_and_the_exit_codes() -> None:
    said = invoke("--help")
    assert said.code == 0
    assert all(name in said.out for name in COMMANDS)
    assert "Exit codes" in said.out


def test_without_arguments_the_shell_shows_twelve_commands_and_how_to_see_the_rest() -> None:
    said = invoke()
    assert said.code == 0
    shown = re.findall(r"^  (\w+)  ", said.out, flags=re.MULTILINE)
    assert len(shown) == 12
    assert set(shown) <= set(COMMANDS)
    assert f"12 of {len(COMMANDS)} commands" in said.out
    assert "--all" in said.out
    everything = invoke("--all")
    assert (everything.code, everything.out) == (0, invoke("--help").out)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_the_common_options(name: str) -> None:
    leaf = {"replay": ("replay", "state"), "outcomes": ("outcomes", "import"), "witness": ("witness", "show")}
    said = invoke(*leaf.get(name, (name,)), "--help")
    assert said.code == 0
    for option in ("--config", "--journal", "--workspace", "--json"):
        assert option in said.out, "a group needs a command of its own: `command(group, NAME, default=True)`"


def test_no_command_is_a_coroutine_function_which_typer_would_call_and_drop() -> None:
    def callbacks(group: typer.Typer) -> list[object]:
        own: list[object] = [each.callback for each in group.registered_commands]
        own += [group.registered_callback.callback] if group.registered_callback else []
        return own + [
            found for each in group.registered_groups if each.typer_instance for found in callbacks(each.typer_instance)
        ]

    found = callbacks(app)
    assert len(found) >= len(COMMANDS)
    assert not any(inspect.iscoroutinefunction(each) for each in found)


def test_no_two_commands_of_a_group_have_one_name() -> None:
    groups = [app]
    for group in groups:
        groups += [each.typer_instance for each in group.registered_groups if each.typer_instance]
        named = [*(each.name for each in group.registered_commands), *(each.name for each in group.registered_groups)]
        assert None not in named
        assert len(named) == len(set(named)), sorted(map(str, named))


def test_help_does_not_wait_for_what_it_does_not_need() -> None:
    code = (
        "import sys; sys.argv = ['loom', '--help']\n"
        "from loom.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'structlog', 'aiosqlite', 'anyio', 'asyncio', 'sqlite3', 'yaml', 'rich', 'pygments'}\n"
        "heavy |= {'typer.rich_utils', 'loom.runtime'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    # measuring what it runs imports sqlite3 into it
    unmeasured = {name: value for name, value in environment().items() if name != "COVERAGE_PROCESS_CONFIG"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=unmeasured, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.strip() == "[]"


def test_a_list_of_commands_works_out_the_options_of_none_of_them() -> None:
    listed = typer.main.get_command(app)
    assert all(name in listed.get_help(typer.Context(listed)) for name in COMMANDS)
    deferred = [each for each in listed.commands.values() if isinstance(each, Deferred)]  # type: ignore[attr-defined]
    assert len(deferred) > 10
    assert not [each.name for each in deferred if "_built" in vars(each)]
    assert [each.name for each in deferred[0].params]
    assert "_built" in vars(deferred[0])


def test_help_has_its_commands_and_options_in_sections() -> None:
    said = invoke("--help").out
    assert said.index("Which loom, and how:") < said.index("Run:") < said.index("Read back:") < said.index("Check:")
    assert "Which loom, and how:" in invoke("why", "--help").out


def test_version(tmp_path: Path) -> None:
    said = run("--version", cwd=tmp_path)
    assert said.code == 0
    assert said.out.startswith("loom ")


def test_an_unknown_command_or_option_is_a_usage_error() -> None:
    assert invoke("wherefore").code == 2
    assert invoke("decisions", "--colour").code == 2


def test_common_options_count_before_the_command_and_after_it(filled: Path) -> None:
    before = invoke("-c", filled, "--json", "decisions")
    after = invoke("decisions", "--json", config=filled)
    assert before.code == after.code == 0
    assert before.json == after.json


def test_common_options_before_a_group_reach_its_commands(filled: Path) -> None:
    assert invoke("-c", filled, "--json", "policies", "list").json == invoke("policies", "--json", config=filled).json
    assert invoke("policies", "-c", filled, "--json", "list").json == invoke("policies", "--json", config=filled).json
