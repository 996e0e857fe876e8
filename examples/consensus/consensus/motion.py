"""The actor of one motion: it is proposed, voted on, and closed by a decision."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel

from consensus.rule import Tally, quorum
from loom import Actor, Command, Entry

__all__ = [
    "Choice",
    "Close",
    "Motion",
    "MotionClosedEntry",
    "MotionProposedEntry",
    "Propose",
    "Result",
    "Vote",
    "VoteCastEntry",
]

Choice = Literal["for", "against", "abstain"]
Refusal = Literal["closed", "not_a_voter"]


class MotionProposedEntry(Entry):
    """A motion was put to the vote."""

    kind: ClassVar[str] = "consensus.motion_proposed"

    motion: str
    title: str
    voters: tuple[str, ...]


class VoteCastEntry(Entry):
    """Someone voted, or changed a vote."""

    kind: ClassVar[str] = "consensus.vote_cast"

    motion: str
    voter: str
    choice: Choice


class MotionClosedEntry(Entry):
    """A motion takes no more votes: it is being decided."""

    kind: ClassVar[str] = "consensus.motion_closed"

    motion: str


class Result(BaseModel):
    """What came of a command: `refused` says why nothing did."""

    motion: str
    refused: Refusal | None = None
    carried: bool | None = None
    decision_id: str | None = None


class Propose(Command[Result]):
    """Put a motion to the vote."""

    title: str
    voters: tuple[str, ...]


class Vote(Command[Result]):
    """Vote, or change a vote."""

    voter: str
    choice: Choice


class Close(Command[Result]):
    """Take no more votes, and decide."""


class Ballot(BaseModel):
    """The state of a motion."""

    title: str | None = None
    voters: tuple[str, ...] = ()
    votes: dict[str, Choice] = {}
    closed: bool = False


class Motion(Actor[Ballot]):
    """One motion. A tie is put to `chair`."""

    policy = quorum

    def __init__(self, chair: str) -> None:
        self._chair = chair

    def apply(self, entry: Entry) -> None:
        """Fold an entry into the ballot."""
        match entry:
            case MotionProposedEntry():
                self.state.title, self.state.voters = entry.title, entry.voters
            case VoteCastEntry():
                self.state.votes[entry.voter] = entry.choice
            case MotionClosedEntry():
                self.state.closed = True

    async def execute(self, command: Propose | Vote | Close) -> Result:
        """Carry out a command."""
        ballot = self.state
        if isinstance(command, Propose):
            if ballot.title is not None:
                return Result(motion=self.key, refused="closed")
            await self.record(MotionProposedEntry(motion=self.key, title=command.title, voters=command.voters))
            return Result(motion=self.key)
        if ballot.title is None or ballot.closed:
            return Result(motion=self.key, refused="closed")
        if isinstance(command, Vote):
            if command.voter not in ballot.voters:
                return Result(motion=self.key, refused="not_a_voter")
            await self.record(VoteCastEntry(motion=self.key, voter=command.voter, choice=command.choice))
            return Result(motion=self.key)
        return await self._decide()

    async def _decide(self) -> Result:
        await self.record(MotionClosedEntry(motion=self.key))
        cast = list(self.state.votes.values())
        evaluation = self.evaluate(
            Tally(
                voters=len(self.state.voters),
                votes_for=cast.count("for"),
                votes_against=cast.count("against"),
                abstained=cast.count("abstain"),
            )
        )
        carried = evaluation.allowed
        if evaluation.effect == "require_approval":
            carried = (await self.request_approval(approver=self._chair, reason=f"tie: {self.state.title}")).granted
        decision_id = await self.record_decision(
            rationale=evaluation.why or "decided by the rule",
            outcome={"granted": carried},
            context={"motion": self.key},
        )
        return Result(motion=self.key, carried=carried, decision_id=decision_id)
