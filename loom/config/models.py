"""The shape of a configuration: frozen models whose defaults are the defaults of loom.

Units go last in a name (`idle_after_s`). Every number has a bound: a slip of the hand is refused and not obeyed.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    JsonValue,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from loom.config.cron import check_cron, check_timezone
from loom.errors import InvalidNameError
from loom.identity import check_workspace

__all__ = [
    "FORMAT_VERSION",
    "ActorsConfig",
    "AlertsConfig",
    "JournalConfig",
    "LoggingConfig",
    "LoomConfig",
    "OperationsConfig",
    "ProjectionsConfig",
    "RetentionConfig",
    "ScheduleConfig",
    "Secret",
    "Section",
    "canonical_key",
    "importable",
    "refusal",
]

FORMAT_VERSION = 1
"""The newest version of the configuration format that this loom reads."""

Secret = SecretStr
"""Text that appears in no repr, no log and no error; `get_secret_value()` gives it."""

_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_YEAR_S = 366 * 86_400
_KIB = 1024
_MIB = 1024 * _KIB

_Count = Annotated[int, Field(ge=1, le=1_000_000)]
_CountOrNone = Annotated[int, Field(ge=0, le=1_000_000)]
_Seconds = Annotated[float, Field(gt=0, le=_YEAR_S)]


class Section(BaseModel):
    """A part of the configuration: frozen, without unknown keys; base of what an extension brings.

    Keys are read in snake_case, camelCase and with-dashes; two spellings of one key in one place are refused.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    @classmethod
    def spares(cls, sections: Mapping[str, Section]) -> frozenset[str]:
        """Return the keys that nothing needs as all sections are set: a variable may be unset there."""
        return frozenset()

    @model_validator(mode="before")
    @classmethod
    def _spell(cls, data: object) -> object:
        # A section whose lines are all commented out is null in YAML and means: all defaults.
        if data is None:
            return {}
        if not isinstance(data, Mapping):
            return data
        spelled: dict[object, str] = {}
        values: dict[object, object] = {}
        for key, value in data.items():
            name = canonical_key(key) if isinstance(key, str) and key not in cls.model_fields else key
            name = name if name in cls.model_fields else key
            if name in values:
                raise PydanticCustomError(
                    "loom_twice",
                    "[{first}] and [{second}] are two spellings of [{name}]",
                    {"name": name, "first": spelled[name], "second": str(key)},
                )
            spelled[name] = str(key)
            values[name] = value
        return values

    @field_validator("*", mode="before")
    @classmethod
    def _no_booleans_for_numbers(cls, value: object, info: ValidationInfo) -> object:
        # Pydantic must be lax, as text from the environment has to fit a number; this is where lax would be too lax.
        accepted = _alternatives(cls.model_fields[str(info.field_name)].annotation)
        if isinstance(value, bool) and bool not in accepted and accepted & {int, float}:
            raise refusal("a number", "write digits")
        if isinstance(value, int | float) and not isinstance(value, bool) and accepted == {bool}:
            raise refusal("true or false", "write one of them")
        return value


def canonical_key(key: str) -> str:
    """Return the snake_case spelling of a key: `maxFailures`, `max-failures` and `max_failures` are one."""
    if key[:1].isupper():
        return key
    return _WORD_BREAK.sub("_", key).replace("-", "_").lower()


def refusal(expected: str, cure: str) -> PydanticCustomError:
    """Return the error of a validator that knows what it expected and what to do; raise it."""
    return PydanticCustomError("loom_expected", "expected {expected}: {cure}", {"expected": expected, "cure": cure})


def _alternatives(annotation: object) -> set[object]:
    if get_origin(annotation) in (Union, UnionType):
        return {kind for part in get_args(annotation) for kind in _alternatives(part)} - {type(None)}
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    return {annotation}


class JournalConfig(Section):
    """How the journal is kept: where, if on a server, durability, the bounds of one entry, the rhythm of the writer."""

    url: SecretStr | None = None
    """A workspace in PostgreSQL, `postgresql://…`; without one the journal is a file in `data`."""

    durability: Literal["full", "process-crash-only"] = "full"
    max_entry_bytes: int = Field(default=_MIB, ge=_KIB, le=16 * _MIB)
    max_depth: int = Field(default=32, ge=1, le=128)
    max_nodes: _Count = 10_000
    max_pending_entries: _Count = 10_000
    max_batch: _Count = 1_000
    head_every: _Count = 256
    checkpoint_pages: _Count = 4_000
    busy_timeout_s: _Seconds = 10.0
    min_free_bytes: int = Field(default=16 * _MIB, ge=0, le=2**53)
    allow_unsupported_filesystem: bool = False
    redactable: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*([_.][a-z0-9]+)*$", max_length=64)], ...] = ()


class ActorsConfig(Section):
    """How actors live: mailboxes, passivation, supervision, resuming."""

    mailbox_size: _Count = 1_000
    idle_after_s: _Seconds = 60.0
    park_keep_s: float = Field(default=60.0, ge=0, le=_YEAR_S)
    remind_every_s: _Seconds | None = None
    reminders: int = Field(default=3, ge=0, le=1_000)
    max_failures: _Count = 5
    failure_window_s: _Seconds = 60.0
    backoff_min_s: float = Field(default=1.0, ge=0, le=_YEAR_S)
    backoff_max_s: _Seconds = 300.0
    resume_attempts: int = Field(default=3, ge=1, le=100)
    divergence_timeout_s: _Seconds = 30.0
    shutdown_grace_s: float = Field(default=5.0, ge=0, le=_YEAR_S)
    snapshot_every: _CountOrNone = 500
    lookup_timeout_s: _Seconds | None = 30.0
    resume_concurrency: int = Field(default=64, ge=1, le=10_000)


class ProjectionsConfig(Section):
    """How views follow the journal, and how long a query waits for them."""

    batch: _Count = 4_000
    query_timeout_s: _Seconds = 10.0


_Days = Annotated[float, Field(ge=0, le=36_500)]


class RetentionConfig(Section):
    """For how long journals are kept whole after their last entry; nothing is dropped then unless a person prunes."""

    keep_days: _Days = 365.0
    kinds: Mapping[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")], _Days] = Field(default_factory=dict)
    """By the type of the actor, where it is not `keep_days`."""
    bodies: Mapping[Annotated[str, Field(pattern=r"^([a-z][a-z0-9-]{0,63}:)?[a-z][a-z0-9_.]{0,63}$")], _Days] = Field(
        default_factory=dict
    )
    """For how many days single bodies are kept, by the kind of the entry, or `type:kind`; others as their journal."""


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class AlertsConfig(Section):
    """Whether the figures of decisions are looked at once a day, over how many days, and what is worth an alert."""

    enabled: bool = True
    days: int = Field(default=60, ge=30, le=3_650)
    at_least: Literal["notice", "warning", "critical"] = "warning"


class LoggingConfig(Section):
    """What the shell logs to stderr, and in which form."""

    level: Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lower)] = "info"
    format: Annotated[Literal["auto", "json", "console"], BeforeValidator(_lower)] = "auto"


class OperationsConfig(Section):
    """Who may ask a running loom over its control socket."""

    socket_group: str | None = Field(default=None, min_length=1, max_length=64)
    """The group of the machine whose members may connect; none: the owner alone, and every name is claimed."""


class ScheduleConfig(Section):
    """A command that is sent at the times of a cron line, in a time zone."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")
    cron: str
    timezone: str = "UTC"
    actor: str = Field(pattern=r"^[a-z][a-z0-9-]{0,63}$")
    key: str = Field(default="main", min_length=1, max_length=200)
    command: str = Field(min_length=1, max_length=200)
    payload: Mapping[str, JsonValue] = Field(default_factory=dict)
    missed: Literal["skip", "once", "all"] = "once"
    """What becomes of the times at which no loom ran: none is made up for, the last, or all up to a bound."""

    @field_validator("cron", mode="after")
    @classmethod
    def _fires(cls, cron: str) -> str:
        try:
            return check_cron(cron)
        except ValueError as error:
            problem = str(error)
        raise refusal(
            f"five fields of cron with a time that comes ({problem})", "write minute, hour, day, month, day of the week"
        )

    @field_validator("timezone", mode="after")
    @classmethod
    def _known_zone(cls, timezone: str) -> str:
        try:
            return check_timezone(timezone)
        except ValueError:
            pass
        raise refusal("the name of a time zone that is known here", "write one such as Europe/Berlin or UTC")


def importable(module: str) -> str:
    """Return what names a module or something in it; refuse what an import could not say."""
    dotted, colon, name = module.partition(":")
    names = [*dotted.split("."), *([name] if colon else [])]
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in names):
        raise refusal(
            "package.module or package.module:ClassName", "write it as in an import, with dots and without .py"
        )
    return module


class LoomConfig(Section):
    """Everything a loom is set to; `LoomConfig()` is loom's defaults, with no modules.

    `sections` holds what extensions brought, by the name they registered; a file cannot write to it by that name.
    Built in code, a wrong value is pydantic's `ValidationError`; read from a file it is a `ConfigError`.
    """

    version: int = Field(default=FORMAT_VERSION, ge=1)
    data: Path = Path("loom-data")
    workspace: str = "default"
    modules: tuple[Annotated[str, AfterValidator(importable)], ...] = ()
    policies: tuple[str | dict[str, JsonValue], ...] = ()
    """Tables that come with the config, each in full or as the path of a file, seen from the file of the config."""
    extensions: tuple[str, ...] = ()
    """Installed extensions that are used although no section of theirs is filled in."""
    engine: Literal["local", "restate"] = "local"
    """What brings commands to the process where their actor lives; `local` where that is this one."""
    journal: JournalConfig = JournalConfig()
    actors: ActorsConfig = ActorsConfig()
    projections: ProjectionsConfig = ProjectionsConfig()
    retention: RetentionConfig = RetentionConfig()
    alerts: AlertsConfig = AlertsConfig()
    logging: LoggingConfig = LoggingConfig()
    operations: OperationsConfig = OperationsConfig()
    schedules: tuple[ScheduleConfig, ...] = ()
    """Commands that are sent at times of the day."""
    sections: Mapping[str, InstanceOf[Section]] = Field(default_factory=dict)

    @field_validator("version", mode="after")
    @classmethod
    def _known_version(cls, version: int) -> int:
        if version > FORMAT_VERSION:
            raise PydanticCustomError(
                "loom_newer",
                "version {version} is newer than {newest}",
                {"version": version, "newest": FORMAT_VERSION},
            )
        return version

    @field_validator("data", mode="after")
    @classmethod
    def _usable_path(cls, data: Path) -> Path:
        text = str(data)
        if text == "." or not text.isprintable():
            raise refusal("the path of a directory", "name one, such as loom-data")
        if text.startswith("~"):
            raise refusal("a path without ~, which only a shell fills in", "write ${HOME} in its place")
        return data

    @field_validator("workspace", mode="after")
    @classmethod
    def _usable_workspace(cls, workspace: str) -> str:
        try:
            return check_workspace(workspace)
        except InvalidNameError:
            pass
        # Raised out here so that the text of the value, which may come from the environment, is not chained to it.
        raise refusal("letters, digits, _ . -, at most 64, no ..", "choose another name")

    @field_validator("schedules", mode="after")
    @classmethod
    def _named_once(cls, schedules: tuple[ScheduleConfig, ...]) -> tuple[ScheduleConfig, ...]:
        names = [each.name for each in schedules]
        if len(set(names)) < len(names):
            raise refusal("each schedule under a name of its own", "rename one")
        return schedules

    @field_validator("modules", "policies", "extensions", "schedules", mode="before")
    @classmethod
    def _none_listed(cls, listed: object) -> object:
        return () if listed is None else listed
