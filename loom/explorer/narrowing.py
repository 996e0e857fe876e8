"""The filters of the list of decisions, as the address of the page has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Depends, Query
from pydantic import BeforeValidator, Field

from loom.explorer.cases import Shape

__all__ = ["FACETS", "Asked", "Filters", "link_to"]

FACETS: Mapping[str, tuple[str, str]] = {
    "person": ("person", "Person who decided"),
    "requester": ("asked_by", "Asked by"),
    "decision_type": ("type", "Kind of decision"),
    "effect": ("effect", "What the rule said"),
    "rule": ("rule", "Rule"),
    "policy_version": ("version", "Version of the policy"),
    "is_exception": ("exception", "Exceptions"),
    "precedent_class": ("class", "Like cases"),
    "run_id": ("run", "Run"),
}
"""Each facet: its parameter in the address, and its title."""


def _given(value: object) -> object:
    """Take an empty field of a form as one that was not filled in."""
    return None if value == "" else value


_Text = Annotated[str, Field(max_length=300)]
_Word = Annotated[_Text | None, BeforeValidator(_given)]
_Day = Annotated[date | None, BeforeValidator(_given)]


class Asked(Shape):
    """The filters of the address."""

    person: _Word = None
    asked_by: _Word = None
    type: _Word = None
    effect: _Word = None
    rule: _Word = None
    version: _Word = None
    exception: Annotated[Literal["0", "1"] | None, BeforeValidator(_given)] = None
    class_: _Word = None
    run: _Word = None
    words: _Word = None
    since: _Day = None
    until: _Day = None

    def plain(self) -> dict[str, str]:
        """Return the filters in use, as the address has them."""
        return {name.rstrip("_"): str(value) for name, value in self if value is not None}

    def filters(self) -> dict[str, Any]:
        """Return the filters in use, as browsing takes them; the last day is included."""
        plain = self.plain()
        given: dict[str, Any] = {name: plain[known] for name, (known, _) in FACETS.items() if known in plain}
        if "is_exception" in given:
            given["is_exception"] = given["is_exception"] == "1"
        if self.since is not None:
            given["since"] = datetime.combine(self.since, datetime.min.time(), UTC)
        if self.until is not None and self.until < date.max:
            given["until"] = datetime.combine(self.until + timedelta(days=1), datetime.min.time(), UTC)
        return {**given, "words": self.words}


def _asked(
    person: _Word = None,
    asked_by: _Word = None,
    type: _Word = None,
    effect: _Word = None,
    rule: _Word = None,
    version: _Word = None,
    exception: Annotated[Literal["0", "1"] | None, BeforeValidator(_given)] = None,
    class_: Annotated[_Text | None, BeforeValidator(_given), Query(alias="class")] = None,
    run: _Word = None,
    words: _Word = None,
    since: _Day = None,
    until: _Day = None,
) -> Asked:
    return Asked(
        person=person,
        asked_by=asked_by,
        type=type,
        effect=effect,
        rule=rule,
        version=version,
        exception=exception,
        class_=class_,
        run=run,
        words=words,
        since=since,
        until=until,
    )


Filters = Annotated[Asked, Depends(_asked)]


def link_to(plain: Mapping[str, str], path: str = "/decisions") -> str:
    """Return the address of a page with filters."""
    return f"{path}?{urlencode(plain)}" if plain else path
