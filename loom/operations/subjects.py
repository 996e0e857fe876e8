"""Operations on subjects: erased, held, and handed out, in the name of a person."""

from __future__ import annotations

from pydantic import JsonValue

from loom.extension import Named, Reader
from loom.operations.arguments import Arguments
from loom.sealing import HandingOut, Subjects

__all__ = [
    "EraseSubject",
    "ExportSubject",
    "HoldSubject",
    "LiftHold",
    "erase_subject",
    "export_subject",
    "hold_subject",
    "lift_hold",
]


class _InAName(Arguments):
    subject: str
    by: Named
    reason: str


class EraseSubject(_InAName):
    """Whose keys are destroyed, by whom and why."""


class ExportSubject(Arguments):
    """Whose data is handed out, to whom and why."""

    subject: str
    by: Reader
    reason: str


class HoldSubject(_InAName):
    """Who is held against erasure, by whom and why."""


class LiftHold(_InAName):
    """Whose hold is lifted, by whom and why."""


async def erase_subject(subjects: Subjects, given: EraseSubject) -> JsonValue:
    """Erase a subject; the answer comes once it is carried out."""
    is_new = await subjects.erase(given.subject, by=given.by, reason=given.reason)
    return {"subject": given.subject, "erased": True, "before": not is_new}


async def export_subject(handing_out: HandingOut, given: ExportSubject) -> JsonValue:
    """Return every entry that concerns a subject, opened."""
    said: JsonValue = await handing_out.export(given.subject, by=given.by, reason=given.reason)
    return said


async def hold_subject(subjects: Subjects, given: HoldSubject) -> JsonValue:
    """Hold a subject."""
    is_new = await subjects.hold(given.subject, by=given.by, reason=given.reason)
    return {"subject": given.subject, "held": True, "before": not is_new}


async def lift_hold(subjects: Subjects, given: LiftHold) -> JsonValue:
    """Lift the hold on a subject."""
    was_held = await subjects.lift(given.subject, by=given.by, reason=given.reason)
    return {"subject": given.subject, "held": False, "before": was_held}
