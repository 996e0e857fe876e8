"""Whether people look at what they answer: figures by person and role, what stands out, and blind second looks.

These are figures. Nothing here suspends or refuses a person: people draw the conclusions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from loom.actors.eligibility import Directory
from loom.decisions.approvals import ApprovalChains
from loom.errors import NotEligibleError, OutOfRangeError, PolicyCodeChangedError
from loom.identity import By, Identity, check_limit
from loom.journal.entry import Entry
from loom.journal.store import Draft, JournalReader, draft
from loom.people.oversight_figures import (
    PersonOversight,
    RoleOversight,
    facts_of,
    people_in,
    person_figures,
    role_figures,
    time_for,
)
from loom.people.oversight_looks import BlindCase, SecondLook, SecondLooks, is_drawn
from loom.people.oversight_reading import Answer, Readings, Settled
from loom.people.oversight_rule import OversightParams, oversight
from loom.policies.policy import Policy
from loom.policies.registry import PolicyRegistry, PolicyVersion
from loom.projections import Queries

__all__ = ["Oversight", "OversightReport", "Sampled"]

MOST = 5_000
"""The number of settled requests that are read, the last ones."""


class OversightReport(BaseModel):
    """Figures of the last settled requests, as of a position, judged by a version of the policy `oversight`.

    `people` are those over all roles, with what stands out; those who stand out come first. `by_role` are the same
    people role by role.
    """

    model_config = ConfigDict(frozen=True)

    position: int
    answers: int
    whole: bool
    """Whether these are all answers; there may be older ones otherwise."""
    since: datetime | None
    judged_version: str
    judged_hash: str
    people: tuple[PersonOversight, ...]
    by_role: tuple[PersonOversight, ...]
    roles: tuple[RoleOversight, ...]
    looks_open: int
    looks_answered: int
    looks_agree: int


class Sampled(BaseModel):
    """A draw of decided cases: how many answers there are, how many are drawn, and how many of those are new."""

    model_config = ConfigDict(frozen=True)

    share: float
    answers: int
    drawn: int
    new: int


class Oversight:
    """Reads how people answer: `await loom.oversight.report()`.

    The policy `oversight` is registered at its first use in the name of `by`; a version that a person adopted stays in
    force.
    """

    def __init__(
        self,
        queries: Queries,
        policies: PolicyRegistry,
        approvals: ApprovalChains,
        store: JournalReader,
        *,
        by: By,
        find_directory: Callable[[], Directory | None] = lambda: None,
        make_draft: Callable[[Entry], Draft] = draft,
    ) -> None:
        self._queries = queries
        self._policies = policies
        self._approvals = approvals
        self._by = by
        self._find_directory = find_directory
        self._readings = Readings(queries)
        self._looks = SecondLooks(store, make_draft=make_draft)
        self._last: tuple[tuple[object, ...], OversightReport] | None = None
        self._rules: tuple[PolicyVersion, Policy[OversightParams, Any]] | None = None

    async def report(self, *, since: datetime | None = None, limit: int = MOST) -> OversightReport:
        """Return the figures of the last `limit` settled requests, or of those answers among them since a time."""
        limit = min(check_limit(limit), MOST)
        version, rule = await self._rule()
        await self._looks.load()
        settled = await self._readings.settled(limit=limit)
        state = (since, limit, version.hash, settled.answers, settled.expired, settled.wrong, self._looks.all)
        if self._last is None or self._last[0] != state:
            self._last = state, self._made(settled, version, rule, since=since, limit=limit)
        return self._last[1].model_copy(update={"position": settled.position})

    def _made(
        self,
        settled: Settled,
        version: PolicyVersion,
        rule: Policy[OversightParams, Any],
        *,
        since: datetime | None,
        limit: int,
    ) -> OversightReport:
        answers = [each for each in settled.answers if since is None or each.answered_at >= since]
        looks, overturned = self._looks.answered, _overturned(answers, settled)
        people = people_in(answers)
        spent = {at: seconds for own in people.values() for at, seconds in time_for(own).items()}
        judged: list[PersonOversight] = []
        in_roles: list[PersonOversight] = []
        for person, own in people.items():
            mine = {each.position for each in own}
            facts = facts_of(own, [each for each in answers if each.position not in mine], looks, rule.params)
            of: Any = {"all_of": own, "overturned": overturned, "looks": looks}
            judged.append(person_figures(person, own, role=None, stands_out=rule.evaluate(facts), facts=facts, **of))
            for role, some in _by_role(own).items():
                in_roles.append(person_figures(person, some, role=role, **of))
        expired = [each for each in settled.expired if since is None or each.at >= since]
        late = Counter(each.role for each in expired)
        roles = _by_role(answers)
        known = self._looks.all
        return OversightReport(
            position=settled.position,
            answers=len(answers),
            whole=settled.requests < limit,
            since=since,
            judged_version=version.version,
            judged_hash=version.hash,
            people=tuple(sorted(judged, key=_first_who_stand_out)),
            by_role=tuple(sorted(in_roles, key=lambda each: (each.role or "", -each.answers, each.person))),
            roles=tuple(
                role_figures(
                    role, roles.get(role, ()), expired=late[role], spent=spent, overturned=overturned, looks=looks
                )
                for role in sorted({*roles, *late})
            ),
            looks_open=sum(each.answered is None for each in known),
            looks_answered=len(looks),
            looks_agree=sum(each.agrees for each in looks.values()),
        )

    async def sample(self, share: float, *, by: By) -> Sampled:
        """Draw a share of the answers to the last settled requests for a blind second look, in the name of a person.

        A larger share draws more cases in addition to those of a smaller one; the same share draws nothing again.
        """
        who = Identity.of(by)
        if not 0 < share <= 1:
            raise OutOfRangeError(f"share is [{share:g}]; expected [above 0, at most 1]: 0.02 draws one in fifty")
        await self._looks.load()
        answers = (await self._readings.settled(limit=MOST)).answers
        entries = await self._queries.entries.at([each.position for each in answers])
        drawn = [
            each for each in answers if each.position in entries and is_drawn(entries[each.position].entry_hash, share)
        ]
        new = 0
        for each in drawn:
            new += await self._looks.draw(each.approval_id, each.position, share=share, by=who)
        return Sampled(share=share, answers=len(answers), drawn=len(drawn), new=new)

    async def looks(self, *, limit: int = 50) -> tuple[BlindCase, ...]:
        """Return the cases that wait for a second answer, oldest first, without their outcomes."""
        check_limit(limit)
        await self._looks.load()
        waiting = [each for each in self._looks.all if each.answered is None][:limit]
        return tuple([BlindCase.of(each, await self._approvals.get(each.approval_id)) for each in waiting])

    async def look(self, look_id: str) -> BlindCase:
        """Return one case without its outcome; raise `SecondLookNotFoundError`."""
        await self._looks.load()
        found = self._looks.get(look_id)
        return BlindCase.of(found, await self._approvals.get(found.approval_id))

    async def answer(self, look_id: str, *, granted: bool, by: By, comment: str | None = None) -> SecondLook:
        """Answer a case a second time; return it with whether the answers agree.

        It changes nothing of the case. Raises `SecondLookNotFoundError`, `SecondLookAnsweredError`,
        `SelfApprovalError` for a person who asked for the case or answered it before, and `NotEligibleError` for one
        who does not hold the role, where there is a directory.
        """
        await self._looks.load()
        look = self._looks.get(look_id)
        approval = await self._approvals.get(look.approval_id)
        await self._check_role(approval.approver, Identity.of(by))
        return await self._looks.answer(look, approval, granted=granted, by=by, comment=comment)

    async def _check_role(self, role: str, who: Identity) -> None:
        directory = self._find_directory()
        if directory is None:
            return
        person, roster = await directory.person_of(who), await directory.roster(role)
        delegates = {each.delegate for each in roster.absences}
        if person is None or person not in {*roster.holders, *delegates}:
            raise NotEligibleError(
                f"a second look at what was asked of [{role}] would be answered by [{who}], who does not hold that "
                f"role; expected one of [{', '.join(roster.holders)}]: ask one"
            )

    async def _rule(self) -> tuple[PolicyVersion, Policy[OversightParams, Any]]:
        """Return the adopted version and its rule; hashing it again takes longer than all figures."""
        if self._rules is not None and self._policies.adopted(oversight.name) == self._rules[0]:
            return self._rules
        self._policies.attach(oversight)
        own = await self._policies.ensure(oversight, by=self._by)
        version = self._policies.adopted(oversight.name) or own
        ready = oversight if version.hash == oversight.version_hash else self._policies.runnable(version)
        if not isinstance(ready, Policy) or not isinstance(ready.params, OversightParams):
            raise PolicyCodeChangedError(
                f"policy [{oversight.name}] has version [{version.version}] adopted, which is no version of loom's "
                "rule; expected one that `oversight.with_params(…)` gives: adopt such a one"
            )
        self._rules = version, ready
        return self._rules


def _by_role(answers: Sequence[Answer]) -> Mapping[str, list[Answer]]:
    found: dict[str, list[Answer]] = {}
    for each in answers:
        found.setdefault(each.role, []).append(each)
    return found


def _overturned(answers: Sequence[Answer], settled: Settled) -> dict[int, str]:
    """Return answer → `wrong` or `otherwise`, for those that did not last.

    `otherwise` means that another person later answered otherwise in the same class of situations.
    """
    found: dict[int, str] = {}
    later: dict[str, list[Answer]] = defaultdict(list)
    for each in reversed(answers):
        if (each.journal, each.command_id) in settled.wrong:
            found[each.position] = "wrong"
        elif each.situation is not None and any(
            other.granted != each.granted and other.person.name != each.person.name for other in later[each.situation]
        ):
            found[each.position] = "otherwise"
        if each.situation is not None and len(later[each.situation]) < _MOST_OF_A_CLASS:
            later[each.situation].append(each)
    return found


_MOST_OF_A_CLASS = 100


def _first_who_stand_out(each: PersonOversight) -> tuple[bool, int, str]:
    stands_out = each.stands_out is not None and each.stands_out.needs_approval
    return not stands_out, -each.answers, each.person
