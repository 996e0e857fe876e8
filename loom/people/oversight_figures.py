"""The figures of people's answers: how many, how fast, how they went, and what came of them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from loom.identity import same_person
from loom.people.oversight_evidence import evidence_in
from loom.people.oversight_reading import Answer
from loom.people.oversight_rule import OversightFacts, OversightParams
from loom.policies.evaluation import Evaluation

__all__ = ["Look", "PersonOversight", "RoleOversight", "facts_of", "people_in", "person_figures", "role_figures"]

_BURST_S = 60.0
_BURST_ANSWERS = 5


class Look(NamedTuple):
    """A blind second look that was answered: whose answer it was about, and whether it agrees."""

    approval_id: str
    answer: int
    agrees: bool


class _Figures(BaseModel):
    """Figures of answers; shares are 0..1, and none without an answer.

    `median_s` is the median time from the request to the answer, in seconds; `share_under_5_s` the share of answers
    for which there were less than 5 s: since the request, and since the person's previous answer. `bursts` counts runs
    of at least five answers within a minute, `in_bursts` the answers in them. `wrong_later` counts answers whose
    decision was reported as wrong, `otherwise_later` those in whose class another person later answered otherwise.
    """

    model_config = ConfigDict(frozen=True)

    answers: int
    median_s: float | None
    share_under_5_s: float | None
    denied: int
    denied_share: float | None
    changed: int
    wrong_later: int
    otherwise_later: int
    overturned_share: float | None
    bursts: int
    in_bursts: int
    looked_again: int
    disagreed: int
    first_at: datetime | None
    last_at: datetime | None


class PersonOversight(_Figures):
    """The figures of one person, over all roles or in one. `stands_out` is the evaluation by the policy `oversight`."""

    person: str
    sources: tuple[str, ...]
    """Where the name was established: the kinds of sources, as `api_key`; `claimed` is what was typed."""
    role: str | None = None
    stands_out: Evaluation | None = None
    facts: OversightFacts | None = None


class RoleOversight(_Figures):
    """The figures of one role. `expired` counts requests that were not answered in time."""

    role: str
    persons: int
    expired: int


def people_in(answers: Iterable[Answer]) -> Mapping[str, list[Answer]]:
    """Return the answers of each person, in order; two spellings of one name are one person."""
    found: dict[str, list[Answer]] = {}
    spelled: dict[str, str] = {}
    for each in answers:
        name = each.person.name
        if name not in spelled:
            spelled[name] = next((known for known in found if same_person(known, name)), name)
        found.setdefault(spelled[name], []).append(each)
    return found


def person_figures(
    person: str,
    answers: Sequence[Answer],
    *,
    role: str | None,
    all_of: Sequence[Answer],
    overturned: Mapping[int, str],
    looks: Mapping[int, Look],
    stands_out: Evaluation | None = None,
    facts: OversightFacts | None = None,
) -> PersonOversight:
    """Return the figures of a person's answers in a role; `all_of` are all answers of that person, in order."""
    spent = time_for(all_of)
    return PersonOversight(
        **_figures(answers, spent, overturned, looks),
        person=person,
        sources=tuple(sorted({(each.person.source or "not recorded").partition(":")[0] for each in answers})),
        role=role,
        stands_out=stands_out,
        facts=facts,
    )


def role_figures(
    role: str,
    answers: Sequence[Answer],
    *,
    expired: int,
    spent: Mapping[int, float],
    overturned: Mapping[int, str],
    looks: Mapping[int, Look],
) -> RoleOversight:
    """Return the figures of a role: those of all answers in it, and how many requests expired."""
    return RoleOversight(
        **_figures(answers, spent, overturned, looks),
        role=role,
        persons=len(people_in(answers)),
        expired=expired,
    )


def time_for(answers: Sequence[Answer]) -> dict[int, float]:
    """Return answer → the seconds that the person had for it at most, for all answers of one person in order.

    A person who answers fifty waiting requests in a minute had a second for each, however long they had waited.
    """
    spent: dict[int, float] = {}
    before: datetime | None = None
    for each in answers:
        since = each.asked_at if before is None else max(each.asked_at, before)
        spent[each.position] = max(0.0, (each.answered_at - since).total_seconds())
        before = each.answered_at
    return spent


def facts_of(
    answers: Sequence[Answer], others: Sequence[Answer], looks: Mapping[int, Look], params: OversightParams
) -> OversightFacts:
    """Return what the policy judges of a person's answers, given the answers of all others."""
    spent = time_for(answers)
    last = answers[-params.horizon :]
    quick = [each.granted and not each.changed and spent[each.position] < params.quick_s for each in last]
    again = [not looks[each.position].agrees for each in last if each.position in looks]
    return OversightFacts(
        answers=len(last),
        quick=sum(quick),
        quick_evidence=_rounded(evidence_in(quick, tolerated=params.tolerated_quick, suspected=params.suspected_quick)),
        denied=sum(not each.granted for each in last),
        expected_denials=_expected_denials(last, others),
        looked_again=len(again),
        disagreed=sum(again),
        disagreement_evidence=_rounded(
            evidence_in(again, tolerated=params.tolerated_disagreement, suspected=params.suspected_disagreement)
        ),
    )


def _expected_denials(answers: Sequence[Answer], others: Sequence[Answer]) -> float:
    """Return how many denials there would be at the rate of others in the same roles, two deviations below it."""
    asked, denied = Counter(each.role for each in others), Counter(each.role for each in others if not each.granted)
    expected = 0.0
    for role, count in Counter(each.role for each in answers).items():
        cautious = max(0.0, denied[role] - 2 * math.sqrt(denied[role]))
        expected += count * cautious / asked[role] if asked[role] else 0.0
    return _rounded(expected)


def _figures(
    answers: Sequence[Answer], spent: Mapping[int, float], overturned: Mapping[int, str], looks: Mapping[int, Look]
) -> dict[str, Any]:
    count = len(answers)
    waited = [(each.answered_at - each.asked_at).total_seconds() for each in answers]
    denied = sum(not each.granted for each in answers)
    how = Counter(overturned[each.position] for each in answers if each.position in overturned)
    again = [looks[each.position].agrees for each in answers if each.position in looks]
    bursts = _bursts(answers)
    return {
        "answers": count,
        "median_s": round(median(waited), 3) if waited else None,
        "share_under_5_s": _share(sum(spent[each.position] < 5.0 for each in answers), count),
        "denied": denied,
        "denied_share": _share(denied, count),
        "changed": sum(each.changed for each in answers),
        "wrong_later": how["wrong"],
        "otherwise_later": how["otherwise"],
        "overturned_share": _share(how.total(), count),
        "bursts": len(bursts),
        "in_bursts": sum(bursts),
        "looked_again": len(again),
        "disagreed": len(again) - sum(again),
        "first_at": answers[0].answered_at if answers else None,
        "last_at": answers[-1].answered_at if answers else None,
    }


def _bursts(answers: Sequence[Answer]) -> list[int]:
    """Return the sizes of bursts: runs in which each answer is within a minute of the fourth before it, by person."""
    by_person: dict[str, list[datetime]] = defaultdict(list)
    for person, own in people_in(answers).items():
        by_person[person] = sorted(each.answered_at for each in own)
    sizes: list[int] = []
    for times in by_person.values():
        begin = end = -1
        for at in range(_BURST_ANSWERS - 1, len(times)):
            first = at - _BURST_ANSWERS + 1
            if (times[at] - times[first]).total_seconds() > _BURST_S:
                continue
            if first > end:
                sizes += [end - begin + 1] if end >= 0 else []
                begin = first
            end = at
        sizes += [end - begin + 1] if end >= 0 else []
    return sizes


def _share(part: int, of: int) -> float | None:
    return round(part / of, 4) if of else None


def _rounded(value: float) -> float:
    return round(value, 4)
