"""What a package brings to a loom, and how installed packages are found: loom's own wings come this way, too.

A package offers an extension under the entry-point group `loom.extensions`, and the shell commands that go with it,
a function that takes the Typer app, under `loom.commands`. It is used where a config names it under `extensions:` or
fills in a section of it, or where it is handed to `Loom.open`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel, JsonValue, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from loom.actors import Actor, ActorRef, ActorSystem, Approvals
from loom.actors.making import ActorFactory
from loom.background import Background
from loom.config import LoomConfig, Section
from loom.decisions import Decision, Run, Traces
from loom.errors import ConfigError, LoomError
from loom.identity import Edge, Identity
from loom.journal.entry import Entry
from loom.journal.sqlite import JournalFiles
from loom.journal.store import Draft, JournalStore
from loom.policies.contract import AnyPolicy
from loom.policies.registry import PolicyRegistry
from loom.projections import Projection, Queries
from loom.reactors import Reactor, Reactors
from loom.sealing import Subjects
from loom.standings import Standings

__all__ = [
    "ActorFactory",
    "Cases",
    "Check",
    "Extension",
    "Host",
    "Mark",
    "Named",
    "Operation",
    "Reader",
    "Routes",
    "Site",
    "extensions_of",
    "installed",
]

if TYPE_CHECKING:  # the extra `server`
    from fastapi import APIRouter
    from starlette.types import ASGIApp

_GROUP = "loom.extensions"

A = TypeVar("A", bound=Actor[Any])
P = TypeVar("P")


def _identify(value: object, info: ValidationInfo) -> Identity:
    """Take a name from outside as its edge establishes it: input cannot say where its name comes from."""
    if not isinstance(value, str):
        raise ValueError("Input should be a valid string")  # noqa: TRY004 - what pydantic takes for a refusal
    edge = (info.context or {}).get("edge")
    return edge.identity(value) if isinstance(edge, Edge) else Identity(value)


Named: TypeAlias = Annotated[
    Identity,
    PlainValidator(_identify),
    PlainSerializer(lambda identity: identity.name, return_type=str),
    WithJsonSchema({"type": "string"}),
]
"""The type of a `by` in the arguments of an operation: a name from outside, an identity inside.

What is established of the name depends on where it came in; an argument of type `str` is claimed, in Python.
"""


def _identify_reader(value: object, info: ValidationInfo) -> Identity:
    """Take the name of a person who is to open what is sealed as what its edge establishes of it."""
    claimed = _identify(value, info)
    edge = (info.context or {}).get("edge")
    return edge.reader(claimed.name) if isinstance(edge, Edge) else claimed


Reader: TypeAlias = Annotated[
    Identity,
    PlainValidator(_identify_reader),
    PlainSerializer(lambda identity: identity.name, return_type=str),
    WithJsonSchema({"type": "string"}),
]
"""The type of a `by` under which something sealed is opened: the account that runs loom may be established, too."""


class Host(Protocol):
    """What an open loom offers to an extension that starts on it."""

    actors: ActorSystem
    approvals: Approvals
    queries: Queries
    traces: Traces
    standings: Standings
    reactors: Reactors
    subjects: Subjects
    background: Background
    """Owns what the extension does in the background; it is cancelled when the loom closes."""
    closing: AsyncExitStack
    """Left once the actors have ended, while the journal can still be written."""

    @property
    def store(self) -> JournalStore:
        """The journal."""
        ...

    @property
    def files(self) -> JournalFiles:
        """Where the workspace lies."""
        ...

    @property
    def policies(self) -> PolicyRegistry:
        """The registry of policies."""
        ...

    @property
    def config(self) -> LoomConfig:
        """What the loom is set to, with the sections of the extension."""
        ...

    @property
    def by(self) -> str:
        """In whose name it was opened."""
        ...

    @property
    def resumes(self) -> bool:
        """Whether it runs what waits; one that the shell opens for a moment does not."""
        ...

    def actor(self, cls: type[A], key: str) -> ActorRef[A]:
        """Return the handle of one actor."""
        ...

    def part(self, cls: type[P]) -> P:
        """Return the part of that class that another extension started; raise `ConfigError` where none has."""
        ...

    async def register(self, cls: type[Actor[Any]], factory: Callable[[], Actor[Any]] | None = None) -> None:
        """Make an actor class known; what waited for its code is resumed."""
        ...

    def draft(self, entry: Entry) -> Draft:
        """Make an entry ready for a journal that is no actor's."""
        ...

    def now(self) -> datetime:
        """Return the time by the loom's clock."""
        ...


Routes: TypeAlias = "Callable[[Any], APIRouter]"
"""Takes the `loom.ext.http.Api` of a server, and returns the routes of an extension."""

Site: TypeAlias = "Callable[[Any], ASGIApp]"
"""Takes the `loom.ext.http.Api` of a server, and returns the application that has all paths but those of the API."""

Mark = Literal["ok", "look", "bad"]
"""It is so; a person should look at it; a promise cannot be kept."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that `loom doctor` looked at: what it is about, what was found, and what to do about it."""

    mark: Mark
    about: str
    found: str
    advice: str = ""


class Cases(NamedTuple):
    """What the decisions of a run were about, for the table of a report.

    Heading → name of a field of a case; and the cases by what `key` names in the context of a decision.
    """

    columns: Mapping[str, str] = {}
    cases: Mapping[str, Mapping[str, Any]] = {}
    key: str = "case_id"

    def of(self, decision: Decision) -> tuple[Any, ...]:
        """Return the cells of a decision, None for what its case does not say."""
        case = self.cases.get(str(decision.context.get(self.key)), {})
        return tuple(case.get(field) for field in self.columns.values())


class Operation(NamedTuple):
    """Something that can be asked of a running loom from the shell: `work` gets the started part and the arguments."""

    arguments: type[BaseModel]
    work: Callable[[Any, Any], Awaitable[JsonValue]]


@dataclass(frozen=True, slots=True)
class Extension:
    """What a package brings to a loom: actors, projections, reactors, sections of the config, and a part of its own.

    `start` is entered once the loom is open and left before it closes; what it yields is `loom.parts[name]`.
    `operations` are named `<extension>.<word>` over the control socket. `replays` is entered instead of `start` where
    journals are only replayed: it makes actors known, on a host that is not resumed and that nothing is written to.
    `policies` are the rules that it decides by, earlier ones, too: an audit judges again with them. `routes` are served
    by `loom serve`, and `errors` say with which status the API answers errors of its own; `site` is what it has at `/`,
    for one extension only. `checks` are asked by `loom doctor` and `cases` by `loom report`. `notices` are kinds of its
    entries that people are notified of, with the type of each notice. Shell commands are named by the package under
    `loom.commands`: the shell would have to import all of every extension otherwise, whatever is asked of it.
    """

    name: str
    actors: Sequence[type[Actor[Any]] | ActorFactory[Any]] = ()
    projections: Sequence[Projection] = ()
    policies: Sequence[AnyPolicy] = ()
    reactors: Sequence[Reactor] = ()
    sections: Mapping[str, type[Section]] = field(default_factory=dict)
    operations: Mapping[str, Operation] = field(default_factory=dict)
    start: Callable[[Host], AbstractAsyncContextManager[Any]] | None = None
    replays: Callable[[Host], AbstractAsyncContextManager[Any]] | None = None
    routes: Routes | None = None
    site: Site | None = None
    errors: Mapping[type[LoomError], int] = field(default_factory=dict)
    checks: Callable[[LoomConfig], Iterable[Check]] | None = None
    cases: Callable[[Queries, Run], Awaitable[Cases]] | None = None
    notices: Mapping[str, str] = field(default_factory=dict)


@cache
def installed() -> Mapping[str, Extension]:
    """Return the extensions of all installed packages, by name; raise `ConfigError` for one that cannot be had."""
    found: dict[str, Extension] = {}
    for point in entry_points(group=_GROUP):
        try:
            extension = point.load()
        except Exception as error:
            raise ConfigError(
                f"extension [{point.name}] of [{point.value}] cannot be loaded [{error!r}]; expected an Extension: "
                "correct or uninstall the package that brings it"
            ) from error
        if not isinstance(extension, Extension) or extension.name != point.name:
            raise ConfigError(
                f"extension [{point.name}] of [{point.value}] is [{extension!r:.80}]; expected an Extension of that "
                "name: correct the package that brings it"
            )
        found[point.name] = extension
    return found


def extensions_of(config: LoomConfig) -> tuple[Extension, ...]:
    """Return the installed extensions that a config names, or fills in a section of; raise for one that is not there.

    A section that is only there with its defaults brings nothing.
    """
    known = installed()
    unknown = [name for name in config.extensions if name not in known]
    if unknown:
        raise ConfigError(
            f"extension [{unknown[0]}] of [extensions] is not installed; expected one of [{', '.join(sorted(known))}]: "
            "install the package that brings it, or drop it"
        )
    filled = {name for name, section in config.sections.items() if section.model_fields_set}
    return tuple(
        extension
        for name, extension in known.items()
        if name in config.extensions or not filled.isdisjoint(extension.sections)
    )
