"""The section `people` of the config: the directory of a small team, and which names count."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from loom.config import Section
from loom.config.models import refusal
from loom.errors import InvalidNameError
from loom.identity import check_person, same_person

__all__ = ["AbsenceConfig", "PeopleConfig", "PersonConfig"]


def _name(text: str) -> str:
    try:
        return check_person(text, what="name")
    except InvalidNameError:
        pass
    raise refusal("1 to 200 printable characters", "write the name of a person or of a role")


_Name = Annotated[str, AfterValidator(_name)]


class AbsenceConfig(Section):
    """When a person is absent, and who answers in their place."""

    since: datetime
    until: datetime
    delegate: _Name | None = None

    @model_validator(mode="after")
    def _in_order(self) -> AbsenceConfig:
        if self.since.tzinfo is None or self.until.tzinfo is None or self.until <= self.since:
            raise refusal("a time with a zone after [since]", "write both as in 2030-01-31T09:00:00Z")
        return self


class PersonConfig(Section):
    """A person of the team: their roles, and the identities that are theirs."""

    name: _Name
    roles: tuple[_Name, ...] = ()
    identities: tuple[str, ...] = ()
    """As answers name them: `api_key:<id>`, `os_user:<uid>`, `oidc:<issuer>/<subject>`. None: any that is established
    in their name."""
    absences: tuple[AbsenceConfig, ...] = ()


class PeopleConfig(Section):
    """Who the persons of a small team are; with persons here, the journal is not asked who they are."""

    persons: tuple[PersonConfig, ...] = Field(default=(), max_length=1_000)
    accept_claims: bool = False
    """Whether a name that nothing has checked counts as the person of that name."""

    @field_validator("persons", mode="after")
    @classmethod
    def _once(cls, persons: tuple[PersonConfig, ...]) -> tuple[PersonConfig, ...]:
        names = [each.name for each in persons]
        if any(same_person(one, other) for at, one in enumerate(names) for other in names[:at]):
            raise refusal("each person once", "drop one of them")
        taken = [identity for each in persons for identity in each.identities]
        if len(set(taken)) < len(taken):
            raise refusal("each identity with one person", "drop it from the others")
        return persons
