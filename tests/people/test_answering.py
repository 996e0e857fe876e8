"""Who may answer: holders of the role by the directory, distinct persons, and never the person who asked."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loom import Loom
from loom.decisions.entries import ApprovalAnsweredEntry, ApprovalRefusedEntry
from loom.decisions.quorum import Roster
from loom.errors import (
    ActorFailedError,
    ApprovalAnsweredError,
    DirectoryUnavailableError,
    NotEligibleError,
    SelfApprovalError,
)
from loom.identity import Identity
from loom.testing import FixedClock
from tests.actors.support import entries, until
from tests.people.support import Ask, Asking, asked, keyed, opened


async def team(loom: Loom, **roles: str) -> None:
    """Add persons, each with a role."""
    for name, role in roles.items():
        await loom.people.add(name, by="root")
        await loom.people.give(name, role, by="root")


async def answers(loom: Loom) -> list[ApprovalAnsweredEntry]:
    return [each.entry for each in await entries(loom) if isinstance(each.entry, ApprovalAnsweredEntry)]


async def test_without_a_directory_any_name_answers_and_more_than_one_person_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        asking, request = await asked(loom, Ask())
        granted = await loom.approvals.grant(request.approval_id, by="maria")
        assert granted.status == "granted"
        assert await asking == "granted by maria with []"
        with pytest.raises(ActorFailedError, match=r"NoEligibleApproverError.*there is no directory"):
            await loom.actor(Asking, "two").ask(Ask(quorum=2), by="bob")
        refused = [each.entry for each in await entries(loom) if isinstance(each.entry, ApprovalRefusedEntry)]
        assert [(each.approver, each.quorum) for each in refused] == [("vp", 2)]


async def test_only_a_holder_of_the_role_answers_and_others_hear_who_could(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await team(loom, maria="vp", rosa="vp", eve="clerk")
        asking, request = await asked(loom, Ask())
        for stranger in (keyed("eve"), keyed("mallory"), Identity("maria"), "rosa"):
            with pytest.raises(NotEligibleError, match=r"expected one of \[maria, rosa\]"):
                await loom.approvals.grant(request.approval_id, by=stranger)
            with pytest.raises(NotEligibleError):
                await loom.approvals.deny(request.approval_id, by=stranger, comment="no")
        assert await answers(loom) == []
        eligible, bob = loom.actors.services.eligibility, (Identity("bob"),)
        for who, name in ((keyed("maria"), "maria"), (keyed("eve"), ""), (keyed("vp"), ""), (Identity("maria"), "")):
            assert await eligible.asked_of(request, who, bob) == name, "whom it is for may have its facts opened"
        assert await eligible.asked_of(request, keyed("maria"), (keyed("maria"),)) == ""
        granted = await loom.approvals.grant(request.approval_id, by=keyed("Maria"))
        assert await asking == "granted by Maria with []"
        assert (granted.role, granted.directory) == ("vp", "loom/people@6")
        (answer,) = await answers(loom)
        assert (answer.member, answer.role, answer.directory, answer.identity_source, answer.holders) == (
            "maria",
            "vp",
            "loom/people@6",
            "api_key:maria",
            (),
        )


async def test_two_persons_have_to_grant_and_one_person_is_not_two(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await team(loom, maria="vp", rosa="vp")
        asking, request = await asked(loom, Ask(quorum=2))
        first = await loom.approvals.grant(request.approval_id, by=keyed("maria"))
        assert (first.status, [each.member for each in first.cast]) == ("pending", ["maria"])
        assert first.missing == "1 more of 2 persons; granted by maria"
        with pytest.raises(ApprovalAnsweredError, match=r"answered by \[maria\] before"):
            await loom.approvals.grant(request.approval_id, by=keyed("MARIA", key="another"))
        with pytest.raises(ApprovalAnsweredError):
            await loom.approvals.deny(request.approval_id, by=keyed("maria"), comment="on second thoughts")
        assert not asking.done()
        second = await loom.approvals.grant(request.approval_id, by=keyed("rosa"))
        assert second.status == "granted"
        assert await asking == "granted by rosa with ['maria']"
        assert [(each.decides, each.others) for each in await answers(loom)] == [(False, ()), (True, ("maria",))]
        (trace,) = await loom.traces.find()
        whole = await loom.traces.get(trace.decision_id)
        told = (await loom.traces.explain(trace.decision_id)).text()
        assert "granted by rosa (api_key:rosa, via http) (vp, by loom/people@4)" in told
        assert [(each.by, each.others) for each in whole.decision.approvals] == [("rosa", ("maria",))]


async def test_a_quorum_survives_a_restart_between_its_answers(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await team(loom, maria="vp", rosa="vp")
        asking, request = await asked(loom, Ask(quorum=2))
        await loom.approvals.grant(request.approval_id, by=keyed("maria"))
    await asyncio.gather(asking, return_exceptions=True)
    async with opened(tmp_path) as loom:
        (waiting,) = await loom.approvals.pending()
        assert [each.member for each in waiting.cast] == ["maria"]
        with pytest.raises(ApprovalAnsweredError):
            await loom.approvals.grant(waiting.approval_id, by=keyed("maria"))
        assert (await loom.approvals.grant(waiting.approval_id, by=keyed("rosa"))).status == "granted"

        async def decided() -> bool:
            return bool(await loom.traces.find())

        await until(decided)


@pytest.mark.parametrize(("deny_quorum", "status"), [(1, "denied"), (2, "pending")])
async def test_one_denial_denies_unless_more_are_asked_for(tmp_path: Path, deny_quorum: int, status: str) -> None:
    async with opened(tmp_path) as loom:
        await team(loom, maria="vp", rosa="vp", ada="vp")
        asking, request = await asked(loom, Ask(quorum=2, deny_quorum=deny_quorum))
        await loom.approvals.deny(request.approval_id, by=keyed("maria"), comment="too much")
        assert (await loom.approvals.get(request.approval_id)).status == status
        if status == "pending":
            await loom.approvals.deny(request.approval_id, by=keyed("rosa"), comment="far too much")
        assert (await asking).startswith("denied by")


async def test_the_requester_never_answers_under_any_identity_of_theirs(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await team(loom, maria="vp", rosa="vp")
        await loom.people.recognise("maria", "oidc:https://id.example/7", by="root")
        sso = Identity("m.berg@example.org", "oidc:https://id.example/7", "http")
        asking, request = await asked(loom, Ask(), by=sso)
        assert request.requester == sso
        await loom.people.recognise("maria", "api_key:maria", by="root")
        with pytest.raises(SelfApprovalError, match=r"requested by \[maria\]"):
            await loom.approvals.grant(request.approval_id, by=keyed("maria"))
        with pytest.raises(NotEligibleError):  # a key that is not hers, in her name
            await loom.approvals.grant(request.approval_id, by=keyed("maria", key="k2"))
        with pytest.raises(ActorFailedError, match=r"NoEligibleApproverError.*maria, rosa"):
            await loom.actor(Asking, "two").ask(Ask(quorum=2), by=sso)
        await loom.approvals.grant(request.approval_id, by=keyed("rosa"))
        assert await asking == "granted by rosa with []"


async def test_a_claimed_name_counts_only_where_the_config_says_so(tmp_path: Path) -> None:
    people = {"persons": [{"name": "maria", "roles": ["vp"]}], "accept_claims": True}
    async with opened(tmp_path, people=people) as loom:
        asking, request = await asked(loom, Ask())
        granted = await loom.approvals.grant(request.approval_id, by="maria")
        assert (granted.answered_identity_source, granted.role) == ("claimed", "vp")
        assert (granted.directory or "").startswith("config:")
        assert await asking == "granted by maria with []"


async def test_a_request_that_cannot_be_met_is_refused_when_it_is_asked_and_again_when_resumed(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await team(loom, maria="vp")
        for command in (Ask(approver="cfo"), Ask(quorum=2)):
            with pytest.raises(ActorFailedError, match=r"NoEligibleApproverError"):
                await loom.actor(Asking, "a").ask(command, by="bob")
        with pytest.raises(ActorFailedError, match=r"NoEligibleApproverError.*and \[maria\] asks"):
            await loom.actor(Asking, "a").ask(Ask(), by=keyed("maria"))
        asking, request = await asked(loom, Ask(approver="maria"))  # a person, by name
        await loom.approvals.grant(request.approval_id, by=keyed("maria"))
        assert await asking == "granted by maria with []"


async def test_a_role_whose_holders_are_absent_waits_and_their_delegate_answers(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, clock=clock) as loom:
        await team(loom, maria="vp", dora="clerk")
        now, day = loom.now(), timedelta(days=1)
        await loom.people.absent("maria", since=now, until=now + day, by="maria")
        first, request = await asked(loom, Ask())
        with pytest.raises(NotEligibleError, match="maria from 2026-01-02"):
            await loom.approvals.grant(request.approval_id, by=keyed("maria"))
        await loom.people.absent("maria", since=now, until=now + day, delegate="dora", by="maria")
        granted = await loom.approvals.grant(request.approval_id, by=keyed("dora"))
        assert [(each.member, each.in_place_of) for each in granted.cast] == [("dora", "maria")]
        assert await first == "granted by dora with []"
        second, request = await asked(loom, Ask(), key="two")
        clock.advance(86_400)
        with pytest.raises(NotEligibleError):
            await loom.approvals.grant(request.approval_id, by=keyed("dora"))
        await loom.approvals.grant(request.approval_id, by=keyed("maria"))
        assert await second == "granted by maria with []"


async def test_what_no_one_is_left_to_answer_is_denied_with_the_reason(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await team(loom, maria="vp", rosa="vp")
        asking, request = await asked(loom, Ask(quorum=2))
        await loom.people.leave("rosa", by="root", reason="moved on")
        assert await asking == "denied by None with []"
        denied = await loom.approvals.get(request.approval_id)
        assert denied.answered_by is None
        assert denied.comment == "too few persons are left to grant it: loom/people@5 has vp: maria"
        (trace,) = await loom.traces.find()
        told = (await loom.traces.explain(trace.decision_id)).text()
        assert "denied: too few persons are left" in told
        assert "the deadline" not in told


async def test_a_request_passes_on_to_the_next_role_and_what_was_answered_counts(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, clock=clock, resume=False) as loom:
        await team(loom, maria="vp", carl="cfo")
        asking, request = await asked(loom, Ask(quorum=2, timeout_s=60, escalate_to=("cfo",)))
        await loom.approvals.grant(request.approval_id, by=keyed("maria"))
        with pytest.raises(NotEligibleError):
            await loom.approvals.grant(request.approval_id, by=keyed("carl"))
        clock.advance(60)
        assert await loom.approvals.expire_due() == 1
        assert (await loom.approvals.grant(request.approval_id, by=keyed("carl"))).status == "granted"
        assert await asking == "granted by carl with ['maria']"


class Elsewhere:
    """A directory of the user's."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    async def person_of(self, who: Identity) -> str | None:
        return {"oidc:x/1": "maria", "oidc:x/2": "rosa"}.get(who.source or "")

    async def roster(self, role: str) -> Roster:
        if self.error is not None:
            raise self.error
        return Roster(role, "ldap 7", ("maria", "rosa") if role == "vp" else ())


async def test_a_directory_of_the_users_is_asked_and_its_answer_is_journaled(tmp_path: Path) -> None:
    directory: Any = Elsewhere()
    async with opened(tmp_path, directory=directory) as loom:
        asking, request = await asked(loom, Ask())
        assert request.directory == "ldap 7"
        directory.error = OSError("no route to host")
        sso = Identity("m", "oidc:x/1", "http")
        with pytest.raises(DirectoryUnavailableError, match="no route to host"):
            await loom.approvals.grant(request.approval_id, by=sso)
        directory.error = None
        await loom.approvals.grant(request.approval_id, by=sso)
        assert await asking == "granted by m with []"
        (answer,) = await answers(loom)
        assert (answer.member, answer.directory, answer.holders) == ("maria", "ldap 7", ("maria", "rosa"))
