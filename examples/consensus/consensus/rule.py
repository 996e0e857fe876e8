"""The rule that decides a motion: by quorum, then by majority; a tie goes to the chair."""

from __future__ import annotations

from pydantic import Field

from loom import Evaluation, Facts, Params, allow, case, deny, first_match, otherwise, policy, require_approval

__all__ = ["Quorum", "Tally", "quorum"]


class Quorum(Params):
    """How many of the voters have to vote, in percent."""

    percent: int = Field(50, ge=1, le=100)


class Tally(Facts):
    """How a motion stands when it is closed."""

    voters: int
    votes_for: int
    votes_against: int
    abstained: int


@policy("consensus.quorum", Quorum())
def quorum(params: Quorum, tally: Tally) -> Evaluation:
    """Carry a motion that has a quorum and more votes for it than against it."""
    cast = tally.votes_for + tally.votes_against + tally.abstained
    return first_match(
        case(
            "no-quorum",
            cast * 100 < params.percent * tally.voters,
            deny(),
            why=f"{cast} of {tally.voters} voted, less than {params.percent} %",
            why_not=f"{cast} of {tally.voters} voted, {params.percent} % or more",
        ),
        case(
            "carried",
            tally.votes_for > tally.votes_against,
            allow(),
            why=f"{tally.votes_for} are for it, {tally.votes_against} against it",
            why_not=f"no more than {tally.votes_against} are for it",
        ),
        case(
            "lost",
            tally.votes_for < tally.votes_against,
            deny(),
            why=f"{tally.votes_against} are against it, {tally.votes_for} for it",
            why_not=f"no more than {tally.votes_for} are against it",
        ),
        otherwise("tie", require_approval("chair"), why=f"{tally.votes_for} are for it, and as many against it"),
    )
