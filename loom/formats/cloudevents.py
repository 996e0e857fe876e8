"""CloudEvents 1.0: each entry of a journal as one event in the JSON format.

`source` and `id` together name one entry for good: the workspace and its position. The body is the data, as it is
stored; what is sealed stays sealed. Attributes of loom's own carry the place and the hashes, all as text, since the
integers of CloudEvents have 32 bits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from loom.errors import AdmissionError
from loom.formats.plain import Json, moment, part
from loom.formats.reading import LeftOut, Span, entries_in
from loom.journal.admission import parse_json
from loom.journal.entry import Recorded
from loom.journal.export import Readable

__all__ = ["cloud_event", "cloud_events"]

_PREFIX = "loom."


async def cloud_events(source: Readable, *, workspace: str, span: Span, left_out: LeftOut) -> AsyncIterator[Json]:
    """Yield the events of a span. An entry without a body, pruned or erased, is an event without data."""
    async for recorded in entries_in(source, span):
        event = cloud_event(recorded, workspace=workspace)
        if event is None:
            left_out.add("its body or its time cannot be read: see `loom verify`")
        else:
            yield event


def cloud_event(recorded: Recorded, *, workspace: str) -> Json | None:
    """Return one entry as an event; None if its body is not JSON or its time is none."""
    try:
        at = moment(recorded.recorded_at)
        data = None if recorded.body is None else parse_json(recorded.body)
    except (AdmissionError, OverflowError, ValueError, OSError):
        return None
    event: Json = {
        "specversion": "1.0",
        "id": str(recorded.position),
        "source": f"/loom/{part(workspace)}",
        "type": f"{_PREFIX}{recorded.kind}.v{recorded.schema_version}",
        "subject": f"{recorded.journal}/{recorded.sequence}",
        "time": at,
        "partitionkey": recorded.journal,
        "loomjournal": recorded.journal,
        "loomsequence": str(recorded.sequence),
        "loomentryhash": recorded.entry_hash.hex(),
        "loombodydigest": recorded.body_digest.hex(),
    }
    if recorded.command_id is not None:
        event["loomcommandid"] = recorded.command_id
    if recorded.policy is not None:
        event["loompolicy"] = recorded.policy
    if data is not None:
        event |= {"datacontenttype": "application/json", "data": data}
    return event
