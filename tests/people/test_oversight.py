"""Oversight reads figures of people's answers from their entries, and draws cases for blind second looks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from loom.decisions.entries import OutcomeObservedEntry
from loom.decisions.quorum import Roster
from loom.errors import (
    NotEligibleError,
    OutOfRangeError,
    SecondLookAnsweredError,
    SecondLookNotFoundError,
    SelfApprovalError,
)
from loom.identity import Identity, derived_id
from loom.people.oversight_looks import SecondLookAnsweredEntry, is_drawn
from tests.people.answering import House, house
from tests.projections.journals import answer, command, request, write
from tests.projections.tampering import tamper


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as opened:
        yield opened


async def test_figures_by_person_and_role_say_how_fast_how_often_denied_and_what_came_of_it(home: House) -> None:
    await home.ask_and_answer("maria", 40, percent=15)
    await home.ask_and_answer("maria", 60, percent=25)
    await home.ask_and_answer("maria", 2, granted=False, percent=15)
    await home.ask_and_answer("sam", 10, granted=False, percent=25)
    await home.ask_and_answer(None, 86_400, granted=False)
    wrong = OutcomeObservedEntry(
        decision_id=derived_id("test", "case 1"), correct=False, observed_by="rosa", observed_at=home.clock.now
    )
    await write(home.store, "loom/outcomes", wrong)

    report = await home.oversight.report()

    maria, sam = report.people
    assert (maria.person, maria.answers, maria.median_s, maria.share_under_5_s) == ("maria", 3, 40.0, 0.3333)
    assert (maria.denied, maria.denied_share) == (1, 0.3333)
    assert (maria.wrong_later, maria.otherwise_later, maria.overturned_share) == (1, 1, 0.6667)
    assert (sam.person, sam.denied_share, sam.overturned_share) == ("sam", 1.0, 0.0)
    assert maria.sources == ("claimed",)
    (role,) = report.roles
    assert (role.role, role.answers, role.persons, role.expired) == ("vp_sales", 4, 2, 1)
    assert maria.stands_out is not None
    assert maria.stands_out.rule == "nothing_stands_out"
    assert report.judged_version.startswith("policy_v1_")
    assert (await home.oversight.report(since=home.clock.now)).answers == 0


async def test_a_grant_with_other_values_is_changed_and_a_question_sent_back_is_no_answer(home: House) -> None:
    await write(home.store, "a/1", command(), request("one"), command_id="t")
    home.clock.now += timedelta(hours=1)
    await write(home.store, "a/1", answer("one", granted=False, question="since when?", decides=False), command_id="t")
    home.clock.now += timedelta(hours=1)
    await write(home.store, "a/1", request("one", information="since May"), command_id="t")
    home.clock.now += timedelta(seconds=50)
    await write(home.store, "a/1", answer("one", changes={"percent": 12}), command_id="t")

    (maria,) = (await home.oversight.report()).people

    assert (maria.answers, maria.changed, maria.denied, maria.median_s) == (1, 1, 0, 50.0)


async def test_who_answers_a_full_inbox_in_a_minute_had_no_time_for_it_and_stands_out(home: House) -> None:
    names = [f"waiting {number}" for number in range(20)]
    for name in names:
        await write(home.store, f"a/{name}", command(), request(name), command_id=name)
    home.clock.now += timedelta(hours=3)
    for name in names:
        home.clock.now += timedelta(seconds=1.5)
        await write(home.store, f"a/{name}", answer(name, by="Sam" if name[-1] == "3" else "sam"), command_id=name)

    (sam,) = (await home.oversight.report()).people

    assert sam.median_s is not None
    assert sam.median_s > 10_000
    assert (sam.share_under_5_s, sam.bursts, sam.in_bursts) == (0.95, 1, 20)
    assert sam.stands_out is not None
    assert (sam.stands_out.rule, sam.stands_out.needs_approval) == ("quick_grants", True)


async def test_an_answer_that_only_the_views_have_is_not_counted(home: House) -> None:
    await home.ask_and_answer("maria", 40)
    await write(home.store, "a/b", command(), request("open"), command_id="t")
    await home.queries.position(("approvals",))

    views = home.store.files.views
    tamper(views, "UPDATE approvals SET status = 'granted', answered_by = 'eve' WHERE status = 'pending'")
    tamper(views, "UPDATE approvals SET approval_id = 'invented' WHERE answered_by = 'maria'")
    assert (await home.oversight.report()).answers == 0
    assert home.queries.differences.count == 2


async def test_a_blind_case_says_what_was_asked_and_nothing_of_the_answer(home: House) -> None:
    for number in range(6):
        await home.ask_and_answer("maria", 40 + number, granted=number % 2 == 0)

    assert (await home.oversight.sample(1.0, by="robin")).model_dump() == {
        "share": 1.0,
        "answers": 6,
        "drawn": 6,
        "new": 6,
    }
    assert (await home.oversight.sample(1.0, by="robin")).new == 0
    cases = await home.oversight.looks()
    assert [case.reason for case in cases] == ["over policy, 2 precedents"] * 6
    said = " ".join(case.model_dump_json() for case in cases)
    assert "maria" not in said
    assert "granted" not in said
    assert "denied" not in said


async def test_a_second_answer_is_another_persons_and_its_agreement_is_journaled(home: House) -> None:
    await home.ask_and_answer("maria", 40, granted=True, requester="ana")
    await home.oversight.sample(1.0, by="robin")
    (case,) = await home.oversight.looks()
    for person in ("maria", "MARIA", "ana"):
        with pytest.raises(SelfApprovalError, match="another person"):
            await home.oversight.answer(case.look_id, granted=True, by=person)
    with pytest.raises(SecondLookNotFoundError):
        await home.oversight.answer("f" * 64, granted=True, by="rosa")

    look = await home.oversight.answer(case.look_id[:12], granted=False, by="rosa", comment="too much")

    assert look.answered is not None
    assert not look.answered.agrees
    with pytest.raises(SecondLookAnsweredError, match="rosa"):
        await home.oversight.answer(case.look_id, granted=True, by="tom")
    entries = [each.entry async for each in home.store.read("loom/oversight")]
    assert isinstance(entries[-1], SecondLookAnsweredEntry)
    assert (entries[-1].by, entries[-1].agrees, entries[-1].identity_source) == ("rosa", False, "claimed")
    report = await home.oversight.report()
    assert (report.looks_open, report.looks_answered, report.looks_agree) == (0, 1, 0)
    assert (report.people[0].looked_again, report.people[0].disagreed) == (1, 1)
    assert await home.oversight.looks() == ()


async def test_a_share_draws_that_share_by_the_hash_of_the_answer_and_a_larger_one_adds_to_it(home: House) -> None:
    hashes = [bytes.fromhex(derived_id("draw", str(number))) for number in range(20_000)]
    small = {each for each in hashes if is_drawn(each, 0.02)}
    large = {each for each in hashes if is_drawn(each, 0.1)}
    assert 330 <= len(small) <= 470
    assert small < large
    assert all(is_drawn(each, 1.0) for each in hashes)
    with pytest.raises(OutOfRangeError, match="above 0"):
        await home.oversight.sample(0.0, by="robin")


async def test_with_a_directory_only_a_holder_of_the_role_takes_a_second_look(home: House) -> None:
    await home.ask_and_answer("maria", 40)
    await home.oversight.sample(1.0, by="robin")
    (case,) = await home.oversight.looks()

    class Known:
        async def person_of(self, who: Identity) -> str | None:
            return who.name

        async def roster(self, role: str) -> Roster:
            return Roster(role, "v1", holders=("maria", "rosa") if role == "vp_sales" else ())

    home.oversight._find_directory = Known
    with pytest.raises(NotEligibleError, match="rosa"):
        await home.oversight.answer(case.look_id, granted=True, by="tom")
    assert (await home.oversight.answer(case.look_id, granted=True, by="rosa")).answered is not None


async def test_a_report_is_made_again_only_where_something_came(home: House) -> None:
    await home.ask_and_answer("maria", 40)
    first = await home.oversight.report()
    await write(home.store, "a/b", command(), command_id="other")
    again = await home.oversight.report()
    assert again.people is first.people
    assert again.position == first.position + 1
    await home.ask_and_answer("maria", 40)
    assert (await home.oversight.report()).people[0].answers == 2
    assert (await home.oversight.report(limit=1)).answers == 1
    assert (await home.oversight.report()).answers == 2
