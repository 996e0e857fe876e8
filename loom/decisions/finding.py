"""What `Traces.find` asks of the view: which decisions match, in an order that an index gives.

The view has no statistics, so that which index answers is said here: the first of the filters below that is given
leads, and the others look at what it finds. Time never goes back from one position to the next, so that bounds of time
are bounds of position, and every filter can be bounded by both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypeAlias

from loom.clock import us_from_datetime
from loom.decisions.trace import DecisionSummary

__all__ = ["ByTime", "matching", "within"]

ByTime: TypeAlias = Literal["decided", "recorded"]
"""Whether a time is that at which decisions were made, as their source claims of observed ones, or were recorded."""

_LAST = 2**63 - 1
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_SHORT_VERSION = re.compile(r"v[0-9]+_[0-9a-f]{8}\Z")
_FROM_THEN = "SELECT position FROM trace_decisions WHERE recorded_at_us >= {} ORDER BY recorded_at_us, position LIMIT 1"
_SINCE = f"position >= ({_FROM_THEN.format(':since')})"
_UNTIL = f"coalesce(({_FROM_THEN.format(':until')}), :after)"
# Observed decisions may have been made at any time before they were recorded: where those of a day are, the view keeps
# by day, so that bounds of time are bounds of position for them as well, and each is looked at.
_DAY_US = 86_400_000_000
_OBSERVED = "(SELECT {} FROM trace_observed_days WHERE day BETWEEN :since_day AND :until_day)"
# In the order in which they lead: what is met most rarely comes first.
_FILTERS = {
    "actor_key": "actor_key = :actor_key",
    "run_id": "run_id = :run_id",
    "replayed": "origin = 'replayed'",
    "observed": "origin = 'observed'",
    "exception": "is_exception = 1",
    "command_type": "command_type = :command_type",
    "decision_type": "decision_type = :decision_type",
    "policy_hash": "policy_version = (SELECT policy_version FROM trace_versions WHERE policy_hash = :policy_hash)",
    "policy_version": "policy_version = :policy_version",
    "policy": "policy_name = :policy",
    "actor_type": "actor_type = :actor_type",
}
# These have no index: nearly everything matches, or nearly nothing does and it is soon found out.
_OTHERS = {
    "policy_hash": "policy_hash = :policy_hash",
    "original": "origin = 'original'",
    "no_exception": "is_exception = 0",
}
_STATUS = "status = :status"
# What is open is next to nothing; SQLite would rather go through everything, as it comes in order.
_OPEN = "position IN (SELECT position FROM trace_decisions INDEXED BY trace_open WHERE status = 'open')"
# SQLite takes an index of some statuses only where the statement itself says that it asks for one of them.
_RARE = ["status NOT IN ('open', 'settled')"]
_STATUSES: dict[str, list[str]] = {"open": [_OPEN], "settled": []}


def matching(given: Mapping[str, object]) -> tuple[str, dict[str, object]]:
    """Return the condition that decisions meet which match all that is given and not None, and its parameters.

    `given` has the arguments of `Traces.find` by name.
    """
    wanted = {name: _plain(value) for name, value in given.items() if value is not None}
    recorded = wanted.pop("by_time", "decided") == "recorded"
    version, is_exception, origin = (wanted.pop(name, None) for name in ("policy_version", "is_exception", "origin"))
    if isinstance(version, str):
        name = "policy_hash" if _HASH.match(version) else "policy_version"
        wanted[name] = f"policy_{version}" if _SHORT_VERSION.match(version) else version
    if is_exception is not None:
        wanted["exception" if is_exception else "no_exception"] = True
    if origin is not None:
        wanted[str(origin)] = True
    indexed = [condition for name, condition in _FILTERS.items() if name in wanted]
    conditions = indexed[:1] + [f"+{each}" for each in indexed[1:]]  # a plus keeps SQLite from taking another index
    conditions += [_OTHERS[name] for name in _OTHERS if name in wanted]
    if "status" in wanted:
        conditions += [f"+{_STATUS}"] if indexed else [_STATUS, *_STATUSES.get(str(wanted["status"]), _RARE)]
    if recorded:
        conditions += [_SINCE] if "since" in wanted else []
        until = _UNTIL if "until" in wanted else None
    else:
        decided, until = _decided(wanted)
        conditions += decided
    # One upper bound, as SQLite takes one and tries the other on every row.
    position = "+position" if wanted.get("status") == "open" and not indexed else "position"
    conditions += [f"{position} < :after" if until is None else f"{position} < min(:after, {until})"]
    wanted.setdefault("after", _LAST)
    return " AND ".join(conditions), wanted


def _decided(wanted: dict[str, object]) -> tuple[list[str], str | None]:
    """Return the conditions of a window by when decisions were made, and its upper bound; their parameters are added.

    In front stands where recorded ones are, if there are any, then where the observed ones of its days are.
    """
    ends = [name for name in ("since", "until") if name in wanted]
    if not ends:
        return [], None
    since, until = (
        f"coalesce(({_FROM_THEN.format(f':{name}')}), {_LAST})" if name in ends else other
        for name, other in (("since", "0"), ("until", str(_LAST)))
    )
    for name, other in (("since", -_LAST), ("until", _LAST)):
        at = wanted.get(name)
        wanted[f"{name}_day"] = at // _DAY_US if isinstance(at, int) else other
    lower = f"min(iif({since} < {until}, {since}, {_LAST}), coalesce({_OBSERVED.format('min(first)')}, {_LAST}))"
    upper = f"max(iif({since} < {until}, {until}, 0), coalesce({_OBSERVED.format('max(last)')} + 1, 0))"
    exact = [f"+decided_at_us {sign} :{name}" for name, sign in (("since", ">="), ("until", "<")) if name in ends]
    return [f"position >= {lower}", *exact], upper


def within(
    found: DecisionSummary,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    status: str | None = None,
    by_time: ByTime = "decided",
) -> bool:
    """Tell whether a decision lies within a time and has a status: no row of a view says that of itself alone."""
    at = found.recorded_at if by_time == "recorded" else found.decided_at
    return (since is None or at >= since) and (until is None or at < until) and status in (None, found.status)


def _plain(value: object) -> object:
    return us_from_datetime(value) if isinstance(value, datetime) else value
