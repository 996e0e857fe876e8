"""The shapes of requests and answers, as the OpenAPI document has them."""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
    create_model,
)

from loom.decisions import DecisionTrace, Explanation, Shown
from loom.replay import Judgement

__all__ = [
    "AnswerRequest",
    "DenyRequest",
    "EntryAnswer",
    "ErrorAnswer",
    "ExplainedTrace",
    "InformRequest",
    "JournalAnswer",
    "JudgeRequest",
    "JudgementAnswer",
    "Listed",
    "OpenRequest",
    "Page",
    "PolicyAnswer",
    "PreviewRequest",
    "ResolveRequest",
    "SendBackRequest",
    "Shape",
]

T = TypeVar("T")

Json = dict[str, JsonValue]

Moment = Annotated[
    AwareDatetime,
    PlainSerializer(lambda at: at.isoformat(), return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment as entries are printed with it: with its offset."""


class Shape(BaseModel):
    """What every request and every answer is: nothing in it is unknown, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- in general ------------------------------------------------------------------------------------


class Problem(Shape):
    """What is wrong: a code for programs, a message for people."""

    code: str
    message: str


class ErrorAnswer(Shape):
    """A refusal."""

    error: Problem


class Page(Shape, Generic[T]):
    """A page of a list; `after=` with `next_after` goes on from there, and null says that there is no more."""

    items: list[T]
    next_after: int | str | None


class Listed(Shape, Generic[T]):
    """A list that is short enough to be whole."""

    items: list[T]


# --- what a workspace holds ------------------------------------------------------------------------


class OpenRequest(Shape):
    """Why a person who is asked looks at what is sealed in the request; without words, as they are asked."""

    reason: str | None = Field(default=None, max_length=10_000)


class AnswerRequest(Shape):
    """What a person has to say when granting a request for approval. Who it is, the key says."""

    comment: str | None = Field(default=None, max_length=10_000)
    changes: dict[str, JsonValue] | None = None
    """Values other than those asked for, where the request permits them."""
    distinguished: str | None = Field(default=None, max_length=10_000)
    """Why the case differs from earlier ones that were answered otherwise."""
    shown: Shown | None = None
    """What the person saw."""


class DenyRequest(Shape):
    """Why a person denies a request for approval. Who it is, the key says."""

    comment: str = Field(min_length=1, max_length=10_000, pattern=r"\S")
    distinguished: str | None = Field(default=None, max_length=10_000)
    shown: Shown | None = None


class SendBackRequest(Shape):
    """The question with which a person sends a request for approval back."""

    question: str = Field(min_length=1, max_length=10_000, pattern=r"\S")
    shown: Shown | None = None


class InformRequest(Shape):
    """The answer to the question with which a request for approval was sent back."""

    information: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


class ResolveRequest(Shape):
    """Which outcome of a contradiction stands, by its key or its words, and why."""

    stands: str = Field(min_length=1, max_length=500)
    reason: str = Field(min_length=1, max_length=10_000, pattern=r"\S")


class PreviewRequest(Shape):
    """The values that a request for approval would be granted with."""

    changes: dict[str, JsonValue]


class JudgeRequest(Shape):
    """Which decisions are judged again, under which version."""

    under: str = Field(min_length=1, max_length=200)
    policy: str | None = None
    run_id: str | None = None
    ids: tuple[str, ...] = ()
    open_why: str | None = Field(default=None, min_length=1, max_length=1_000)
    """Why sealed facts are opened for it; null leaves them sealed."""


class ExplainedTrace(DecisionTrace):
    """A decision with everything that is joined to it, and in the order in which a person asks."""

    explanation: Explanation


JudgementAnswer = create_model(
    "JudgementAnswer",
    __base__=Shape,
    __doc__="What another version would have decided, and how much of it could be judged.",
    **{name: (field.annotation, field) for name, field in Judgement.model_fields.items()},  # type: ignore[call-overload]
    coverage=(float | None, ...),
)


class AdoptionAnswer(Shape):
    """Who adopted the version that new turns pin, or whose code did at start, and why."""

    by: str
    identity_source: str | None
    via: str | None
    trigger: Literal["person", "code"]
    reason: str | None
    at: Moment
    effective_from: Moment | None


class PolicyAnswer(Shape):
    """A version of a policy."""

    name: str
    number: int
    version: str
    hash: str
    adopted: bool
    has_rule: bool
    by: str
    identity_source: str | None
    via: str | None
    trigger: Literal["person", "code"]
    reason: str | None
    registered_at: Moment
    adoption: AdoptionAnswer | None
    document: Json
    about: Json


class JournalAnswer(Shape):
    """A journal: how long it is, and what stands last in it."""

    journal: str
    entries: int
    last_at: Moment | None
    last_kind: str | None


class EntryAnswer(Shape):
    """An entry of a journal: its header, and its body, which is null where it was pruned."""

    position: int
    journal: str
    sequence: int
    kind: str
    schema_version: int
    command_id: str | None
    epoch: int
    recorded_at: Moment
    policy: str | None
    entry_hash: str
    erased: bool
    body: JsonValue
