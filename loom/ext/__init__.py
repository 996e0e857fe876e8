"""What a package outside loom builds an extension of: the second public tier, next to `loom` itself.

`loom` is for those who write agents, `loom.ext` for those who bring a wing: entries and a journal of their own, a
projection, operations, a section of the config, errors with a status of their own. Its edges are `loom.ext.shell`, for
commands of `loom`, and `loom.ext.http`, for routes of the API. Nothing of loom imports a wing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loom.lazy import lazily

if TYPE_CHECKING:
    from loom.config import Section
    from loom.errors import AnswerKind, LoomError
    from loom.extension import ActorFactory, Cases, Check, Extension, Host, Named, Operation
    from loom.identity import By, Identity, check_person
    from loom.journal.admission import json_value
    from loom.journal.entry import PersonEntry
    from loom.journal.singleton import SingletonJournal
    from loom.projections import Confirmation, Projection, Queries
    from loom.projections.published import Published
    from loom.reactors import Reactor
    from loom.telemetry import get_logger

__all__ = [
    "ActorFactory",
    "AnswerKind",
    "By",
    "Cases",
    "Check",
    "Confirmation",
    "Extension",
    "Host",
    "Identity",
    "LoomError",
    "Named",
    "Operation",
    "PersonEntry",
    "Projection",
    "Published",
    "Queries",
    "Reactor",
    "Section",
    "SingletonJournal",
    "check_person",
    "get_logger",
    "json_value",
]

if not TYPE_CHECKING:
    __getattr__ = lazily(
        __name__,
        "loom.config loom.errors loom.extension loom.identity loom.journal.admission loom.journal.entry "
        "loom.journal.singleton loom.projections loom.projections.published loom.reactors loom.telemetry",
    )
