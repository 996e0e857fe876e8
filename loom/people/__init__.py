"""People: who may answer, what they saw, and whether they look at what they answer."""

from __future__ import annotations

from loom.people.config import PeopleConfig
from loom.people.invitations import Invitation, Invitations, Redeemed
from loom.people.people import PEOPLE_JOURNAL, People
from loom.people.register import Person, Register

__all__ = ["PEOPLE_JOURNAL", "Invitation", "Invitations", "People", "PeopleConfig", "Person", "Redeemed", "Register"]
