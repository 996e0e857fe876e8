"""Writes a span of a workspace in one of the formats, as lines of text, one at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias, get_args

from loom.clock import SystemClock, datetime_from_us
from loom.errors import ConfigError
from loom.formats.acta import acta_receipts
from loom.formats.cloudevents import cloud_events
from loom.formats.opa import opa_event
from loom.formats.plain import Json, compact_json
from loom.formats.prov import prov_lines
from loom.formats.reading import DecisionsRead
from loom.formats.testimony import testimony_entries
from loom.formats.trace_record import trust_records
from loom.proof.keys import Signer

__all__ = ["FORMATS", "SIGNED", "FormatName", "Written", "write_format"]

FormatName: TypeAlias = Literal["cloudevents", "prov", "opa", "testimony", "trace", "acta"]
"""The names of the formats."""

FORMATS: tuple[FormatName, ...] = get_args(FormatName)
SIGNED: frozenset[FormatName] = frozenset({"trace", "acta"})
"""The formats that need a key."""


@dataclass
class Written:
    """What the formats need to know that the journal does not say."""

    signer: Signer | None = None
    data_class: str = "undeclared"
    """The class of the data of a TRACE record, in the words of the person who exports it."""
    now: Callable[[], datetime] = field(default=lambda: datetime_from_us(SystemClock().now_us()))


async def write_format(
    form: FormatName, decisions: DecisionsRead, *, workspace: str, given: Written | None = None
) -> AsyncIterator[str]:
    """Yield the lines of a format, without line breaks; of `prov` all together are one document.

    Raises:
        ConfigError: the format is signed and there is no key, or it has entries and one decision was asked for.
    """
    given = given or Written()
    if form == "prov":
        async for line in prov_lines(decisions.each(), workspace=workspace):
            yield line
        return
    async for each in _objects(form, decisions, workspace, given):
        yield compact_json(each)


def _objects(form: FormatName, decisions: DecisionsRead, workspace: str, given: Written) -> AsyncIterator[Json]:
    left_out = decisions.left_out
    if form == "cloudevents":
        if decisions.decision is not None:
            raise ConfigError(
                "format [cloudevents] has an event for each entry; expected no single decision: "
                "name a journal, --after and --until"
            )
        return cloud_events(decisions.source, workspace=workspace, span=decisions.span, left_out=left_out)
    if form == "opa":
        return _opa_events(decisions, workspace)
    if form == "testimony":
        return testimony_entries(decisions.each(), workspace=workspace, left_out=left_out)
    if given.signer is None:
        raise ConfigError(
            f"format [{form}] is signed; expected an Ed25519 key: give one with --key, or set one under checkpoints: "
            "in the config"
        )
    if form == "acta":
        return acta_receipts(decisions.each(), signer=given.signer, now=given.now, left_out=left_out)
    return trust_records(
        decisions.each(),
        workspace=workspace,
        signer=given.signer,
        data_class=given.data_class,
        now=given.now,
        left_out=left_out,
    )


async def _opa_events(decisions: DecisionsRead, workspace: str) -> AsyncIterator[Json]:
    async for trace in decisions.each():
        yield opa_event(trace, workspace=workspace)
