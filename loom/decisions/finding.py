"""The query behind `Traces.find`: which decisions match, in the order of an index.

The view has no statistics, so the index is chosen here: the first of the filters below that is given selects the index,
and the others filter its rows. Time never goes back from one position to the next. So bounds of time are bounds of
position, and every filter can use both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypeAlias

from loom.clock import us_from_datetime
from loom.decisions.trace import DecisionSummary

__all__ = ["ByTime", "matching", "window_of", "within"]

ByTime: TypeAlias = Literal["decided", "recorded"]
"""Whether a time is that of the decision (for observed ones as their source claims), or that of its record."""

_LAST = 2**63 - 1
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_SHORT_VERSION = re.compile(r"v[0-9]+_[0-9a-f]{8}\Z")
_FROM_THEN = "SELECT position FROM trace_decisions WHERE recorded_at_us >= {} ORDER BY recorded_at_us, position LIMIT 1"
_SINCE = f"position >= ({_FROM_THEN.format(':since')})"
_UNTIL = f"coalesce(({_FROM_THEN.format(':until')}), :after)"
# Observed decisions may have been made at any time before they were recorded. The view keeps their positions by day, so
# bounds of time are bounds of position for them as well; each of them is then checked.
_DAY_US = 86_400_000_000
_OBSERVED = "(SELECT {} FROM trace_observed_days WHERE day BETWEEN :since_day AND :until_day)"
# In the order of preference: the most selective ones first. `floor` bounds how far back a list in memory reaches.
_FILTERS = {
    "actor_key": "actor_key = :actor_key",
    "run_id": "run_id = :run_id",
    "precedent_class": "precedent = :precedent_class",
    "person": (
        "position IN (SELECT position FROM trace_people WHERE person = :person AND position >= :floor "
        "AND position < :after)"
    ),
    "requester": "by = :requester",
    "rule": "rule = :rule",
    "replayed": "origin = 'replayed'",
    "observed": "origin = 'observed'",
    "exception": "is_exception = 1",
    "command_type": "command_type = :command_type",
    "decision_type": "decision_type = :decision_type",
    "policy_hash": "policy_version = (SELECT policy_version FROM trace_versions WHERE policy_hash = :policy_hash)",
    "policy_version": "policy_version = :policy_version",
    "policy": "policy_name = :policy",
    "effect": "effect = :effect",
    "actor_type": "actor_type = :actor_type",
}
# These have no index: nearly all rows match, or nearly none, which is found out quickly.
_OTHERS = {
    "policy_hash": "policy_hash = :policy_hash",
    "original": "origin = 'original'",
    "no_exception": "is_exception = 0",
}
_STATUS = "status = :status"
# Few decisions are open; without this, SQLite would read all rows, as they are in order.
_OPEN = "position IN (SELECT position FROM trace_decisions INDEXED BY trace_open WHERE status = 'open')"
# SQLite uses a partial index of some statuses only where the statement itself names one of them.
_RARE = ["status NOT IN ('open', 'settled')"]
_STATUSES: dict[str, list[str]] = {"open": [_OPEN], "settled": []}


def matching(given: Mapping[str, object], *, first: str | None = None) -> tuple[str, dict[str, object]]:
    """Return the SQL condition for all filters that are not None, and its parameters.

    `given` has the arguments of `Traces.find` by name. `first` names the filter whose index is used; where it names
    none of them, the caller has a more selective condition, and no index of a filter is used.
    """
    wanted = {name: _as_parameter(value) for name, value in given.items() if value is not None}
    recorded = wanted.pop("by_time", "decided") == "recorded"
    version, is_exception, origin = (wanted.pop(name, None) for name in ("policy_version", "is_exception", "origin"))
    if isinstance(version, str):
        name = "policy_hash" if _HASH.match(version) else "policy_version"
        first = name if first == "policy_version" else first
        wanted[name] = f"policy_{version}" if _SHORT_VERSION.match(version) else version
    if is_exception is not None:
        wanted["exception" if is_exception else "no_exception"] = True
    if origin is not None:
        wanted[str(origin)] = True
    led = [name for name in _FILTERS if name in wanted]
    if first is not None:
        first = "exception" if first == "is_exception" else first
        led = [name for name in led if name == first] + [name for name in led if name != first]
    indexed = [_FILTERS[name] for name in led]
    own = 1 if first is None or led[:1] == [first] else 0
    # A plus keeps SQLite from taking another index.
    conditions = indexed[:own] + [f"+{each}" for each in indexed[own:]]
    conditions += [_OTHERS[name] for name in _OTHERS if name in wanted]
    if "status" in wanted:
        conditions += [f"+{_STATUS}"] if indexed else [_STATUS, *_STATUSES.get(str(wanted["status"]), _RARE)]
    if recorded:
        conditions += [_SINCE] if "since" in wanted else []
        until = _UNTIL if "until" in wanted else None
    else:
        decided, until = _decided(wanted)
        conditions += decided
    # One upper bound: of two, SQLite would use one and check the other on every row.
    position = "+position" if wanted.get("status") == "open" and not indexed else "position"
    conditions += [f"{position} < :after" if until is None else f"{position} < min(:after, {until})"]
    wanted.setdefault("after", _LAST)
    if "person" in wanted:
        wanted.setdefault("floor", 0)
    return " AND ".join(conditions), wanted


def window_of(given: Mapping[str, object]) -> tuple[str, dict[str, object]] | None:
    """Return a statement for the positions that a window of time is within, as `first` and `before`; None without one.

    `given` has `since`, `until` and `by_time`. The bounds may be wider than the window.
    """
    wanted = {name: _as_parameter(given[name]) for name in ("since", "until") if given.get(name) is not None}
    if not wanted:
        return None
    if given.get("by_time") == "recorded":
        first = f"coalesce(({_FROM_THEN.format(':since')}), {_LAST})" if "since" in wanted else "0"
        before = f"coalesce(({_FROM_THEN.format(':until')}), {_LAST})" if "until" in wanted else str(_LAST)
        return f"SELECT {first} AS first, {before} AS before", wanted
    conditions, upper = _decided(wanted)
    return f"SELECT {conditions[0].removeprefix('position >= ')} AS first, {upper} AS before", wanted


def _decided(wanted: dict[str, object]) -> tuple[list[str], str | None]:
    """Return the conditions of a window by the time of the decision, and its upper bound. Add their parameters.

    The bounds cover the positions of recorded decisions, if there are any, and of the observed ones of its days.
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
    """Tell whether a decision is within a window of time and has a status. This is checked again after confirmation."""
    at = found.recorded_at if by_time == "recorded" else found.decided_at
    return (since is None or at >= since) and (until is None or at < until) and status in (None, found.status)


def _as_parameter(value: object) -> object:
    return us_from_datetime(value) if isinstance(value, datetime) else value
