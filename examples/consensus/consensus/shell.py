"""`loom consensus`: how motions stand, and votes on them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from loom.ext.shell import ByOption, Column, Sections, Shell, command

__all__ = ["add_to"]

_Motion = Annotated[str, typer.Argument(metavar="MOTION", help="The name of a motion.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(cls=Sections, help="Vote on motions: propose, vote, close.")
    command(group, "list", default=True)(motions)
    command(group, "propose")(propose)
    command(group, "vote")(vote)
    command(group, "close")(close)
    app.add_typer(group, name="consensus", rich_help_panel="Wings")


async def motions(shell: Shell) -> None:
    """List motions, and how they stand."""
    from consensus.view import read_motions
    from consensus.wing import extension
    from loom.ext.acting import open_readings

    async with open_readings(shell, extension) as readings:
        found = await read_motions(readings.queries)
    if shell.json:
        shell.output.document(found)
        return
    if not found:
        shell.output.say("No motions: `loom consensus propose` puts one to the vote.")
        return
    columns = [
        Column("motion"),
        Column("title", wide=True),
        Column("for", right=True),
        Column("against", right=True),
        Column("of", right=True),
        Column(""),
    ]
    words = {None: "open", True: "carried", False: "lost"}
    shell.output.table(
        columns,
        [
            (
                each["motion"],
                each["title"],
                str(each["votes_for"]),
                str(each["votes_against"]),
                str(each["voters"]),
                "waits for the chair" if each["closed"] and each["carried"] is None else words[each["carried"]],
            )
            for each in found
        ],
    )


async def propose(
    shell: Shell,
    motion: _Motion,
    title: Annotated[str, typer.Option("--title", help="What it is about.", show_default=False)],
    voters: Annotated[str, typer.Option("--voters", help="Names, with commas between.", show_default=False)],
    by: ByOption,
) -> None:
    """Put a motion to the vote."""
    named = [each.strip() for each in voters.split(",") if each.strip()]
    await _act(shell, "propose", {"motion": motion, "title": title, "voters": named, "by": by}, begins=True)
    _say(shell, motion, f"{motion} is open for {len(named)} votes")


async def vote(
    shell: Shell,
    motion: _Motion,
    choice: Annotated[Literal["for", "against", "abstain"], typer.Argument(help="How.", show_default=False)],
    by: ByOption,
) -> None:
    """Vote, or change a vote."""
    await _act(shell, "vote", {"motion": motion, "choice": choice, "by": by})
    _say(shell, motion, f"{by} votes {choice} on {motion}")


async def close(shell: Shell, motion: _Motion, by: ByOption) -> None:
    """Take no more votes, and decide; on a tie it waits for the chair."""
    done = await _act(shell, "close", {"motion": motion, "by": by})
    if done["decision_id"] is None:
        _say(shell, motion, f"{motion} is a tie, and waits for the chair: see `loom approvals`")
    else:
        words = "carried" if done["carried"] else "lost"
        _say(shell, motion, f"{motion} is {words}: see `loom why {done['decision_id']}`")


async def _act(shell: Shell, word: str, arguments: dict[str, Any], *, begins: bool = False) -> Any:
    from consensus.wing import extension
    from loom.ext.acting import act

    by = str(arguments["by"])
    answer, _ = await act(shell, f"consensus.{word}", arguments, by=by, extensions=(extension,), begins=begins)
    return answer


def _say(shell: Shell, motion: str, words: str) -> None:
    if shell.json:
        shell.output.document({"motion": motion})
    else:
        shell.output.say(words)
