"""Windows of decisions: those of a run, of a policy version, of a time, or of several of these together."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from loom.clock import us_from_datetime
from loom.decisions.finding import ByTime
from loom.errors import WindowError

__all__ = ["Window", "WindowCount"]


class Window(BaseModel):
    """Original and observed, usable decisions that match all conditions; `since` is included, `until` is not.

    Times are those of the decisions (for observed ones as their source claims), or `by_time` those of their records.
    `run` and `policy_version` may be shortened as long as they name one thing. Raises `WindowError` for a time without
    a zone, or one that ends before it begins.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str | None = None
    policy_version: str | None = None
    policy: str | None = None
    actor_type: str | None = None
    decision_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    by_time: ByTime = Field(default="decided", exclude_if=lambda by_time: by_time == "decided")

    @model_validator(mode="after")
    def _is_a_time(self) -> Self:
        for name, at in (("since", self.since), ("until", self.until)):
            if at is not None and at.tzinfo is None:
                raise WindowError(f"{name} is [{at}]; expected [a moment with its zone]: use datetime(…, tzinfo=UTC)")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise WindowError(
                f"a window goes from [{self.since}] to [{self.until}]; expected an end after its beginning: swap them"
            )
        return self

    def __str__(self) -> str:
        """Return the window in words: `run r-1`, `version policy_v2_9af01c22 from 2026-01-01`, …"""
        named = (
            ("run", self.run),
            ("version", self.policy_version),
            ("policy", self.policy),
            ("actor type", self.actor_type),
            ("type", self.decision_type),
            ("from", _day(self.since)),
            ("until", _day(self.until)),
            ("by time", None if self.by_time == "decided" else self.by_time),
        )
        return " ".join(f"{name} {value}" for name, value in named if value is not None) or "all decisions"

    @property
    def since_us(self) -> int | None:
        """The beginning in microseconds since 1970."""
        return None if self.since is None else us_from_datetime(self.since)

    @property
    def until_us(self) -> int | None:
        """The end in microseconds since 1970."""
        return None if self.until is None else us_from_datetime(self.until)


class WindowCount(BaseModel):
    """The numbers of a window: decisions with a class, classes, and policy versions.

    `unclassified` decisions are not compared: their actor has no equivalence rule, or the requested rule cannot
    classify them.
    """

    model_config = ConfigDict(frozen=True)

    window: Window
    decisions: int
    classes: int
    unclassified: int
    versions: dict[str, int]


def _day(at: datetime | None) -> str | None:
    """Return a moment in its shortest form."""
    if at is None:
        return None
    text = at.isoformat(sep=" ")
    return text.removesuffix("+00:00").removesuffix(" 00:00:00")
