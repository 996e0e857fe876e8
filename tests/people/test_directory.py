"""The directory: who changes it, what it says of a person, and that no one gives themselves anything."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from loom.errors import DirectoryError, InvitationError, SelfRoleError
from loom.identity import Identity
from loom.people.invitations import INVITATION_LIFE_S
from loom.testing import FixedClock
from tests.actors.support import entries
from tests.cli.support import invoke
from tests.people.support import keyed, opened
from tests.web.support import served


async def test_the_directory_lasts_and_says_who_changed_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        assert loom.people.kept_in is None
        assert loom.people.directory() is None
        await loom.people.add("maria", by=keyed("root"))
        await loom.people.give("maria", "vp", by="root")
        await loom.people.give("MARIA", "VP", by="root")
        await loom.people.recognise("maria", "oidc:https://id.example/7", by="root")
    async with opened(tmp_path) as loom:
        assert (loom.people.kept_in, loom.people.version) == ("journal", "loom/people@3")
        (maria,) = loom.people.all()
        assert (maria.name, maria.roles, maria.identities) == ("maria", ("vp",), ("oidc:https://id.example/7",))
        (added, *_) = [each.entry for each in await entries(loom, "loom/people")]
        assert getattr(added, "identity", None) == keyed("root")
        await loom.people.take("maria", "vp", by="root")
        assert (await loom.people.roster("vp")).holders == ()
        await loom.people.leave("maria", by="root", reason="moved on")
        assert await loom.people.person_of(Identity("maria", "oidc:https://id.example/7")) is None
        with pytest.raises(DirectoryError, match="has left"):
            await loom.people.give("maria", "vp", by="root")
        again = await loom.people.add("maria", by="root")
        assert (again.roles, again.identities, again.has_left) == ((), (), False)


async def test_no_one_gives_themselves_a_role_an_identity_or_a_voice(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        for name in ("maria", "rosa"):
            await loom.people.add(name, by="root")
        await loom.people.recognise("maria", "oidc:x/1", by="root")
        now = loom.now()
        for me in ("maria", "MARIA", keyed("maria"), Identity("m.berg", "oidc:x/1", "http")):
            with pytest.raises(SelfRoleError):
                await loom.people.give("maria", "vp", by=me)
            with pytest.raises(SelfRoleError):
                await loom.people.recognise("maria", "api_key:9", by=me)
            with pytest.raises(SelfRoleError):
                await loom.people.disown("maria", "oidc:x/1", by=me)
            with pytest.raises(SelfRoleError):
                await loom.people.absent("rosa", since=now, until=now + timedelta(days=1), delegate="maria", by=me)
        with pytest.raises(SelfRoleError, match="expected an identity of"):
            await loom.people.recognise("rosa", "api_key:k9", by=keyed("root", key="k9"))
        assert [each.kind for each in await entries(loom, "loom/people")] == [
            "person_added",
            "person_added",
            "person_identity_added",
        ]


async def test_a_person_is_known_by_established_names_or_by_what_they_list(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.people.add("maria", by="root")
        of = loom.people.person_of
        for source in ("api_key:1", "os_user:1000", "oidc:https://id/1", "proxy:front", "forwarded:n/api_key:1"):
            assert await of(Identity("Maria", source)) == "maria"
        elsewhere = ["forwarded:n/claimed", "forwarded:n/os_user:1000", "forwarded:n/proxy:front"]
        strangers: list[str | None] = ["claimed", "system", *elsewhere, "", None]
        for stranger in strangers:
            assert await of(Identity("maria", stranger)) is None
        await loom.people.recognise("maria", "api_key:1", by="root")
        assert await of(Identity("someone", "api_key:1")) == "maria"
        assert await of(Identity("maria", "api_key:2")) is None
        await loom.people.add("rosa", by="root")
        with pytest.raises(DirectoryError, match=r"is \[maria\]'s"):
            await loom.people.recognise("rosa", "api_key:1", by="root")


async def test_a_role_and_a_person_have_different_names_and_absences_are_to_come(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.people.add("maria", by="root")
        await loom.people.give("maria", "vp", by="root")
        with pytest.raises(DirectoryError, match="is a role"):
            await loom.people.add("VP", by="root")
        await loom.people.add("rosa", by="root")
        with pytest.raises(DirectoryError, match="is a person"):
            await loom.people.give("maria", "Rosa", by="root")
        now = loom.now()
        for since, until in ((now, now), (now - timedelta(days=2), now - timedelta(days=1))):
            with pytest.raises(ValueError, match="expected a time to come"):
                await loom.people.absent("maria", since=since, until=until, by="maria")
        with pytest.raises(DirectoryError, match="their own delegate"):
            await loom.people.absent("maria", since=now, until=now + timedelta(1), delegate="maria", by="root")
        away = await loom.people.absent("maria", since=now, until=now + timedelta(1), delegate="ROSA", by="maria")
        assert away.absences[0].delegate == "rosa"
        await loom.people.leave("rosa", by="root", reason="moved on")
        assert loom.people.get("maria").absences[0].delegate is None
        assert (await loom.people.back("maria", by="maria")).absences == ()


async def test_an_invitation_opens_once_within_a_day_also_for_two_at_once(tmp_path: Path) -> None:
    clock = FixedClock()
    async with opened(tmp_path, clock=clock) as loom:
        invitations = loom.people.invitations
        secret = await invitations.issue("maria", "approver", by="root")
        (invited,) = invitations.all()
        for wrong in ("", "x", secret[:-1] + ("0" if secret[-1] != "0" else "1"), secret.replace("i_", "i_0")):
            with pytest.raises(InvitationError, match="not known"):
                await invitations.redeem(wrong)
        both = await asyncio.gather(*(invitations.redeem(secret) for _ in range(2)), return_exceptions=True)
        assert sorted(isinstance(each, InvitationError) for each in both) == [False, True]
        redeemed = next(each for each in both if not isinstance(each, BaseException))
        assert redeemed.identity == Identity("maria", f"invitation:{invited.invitation_id}", "http")
        assert invitations.is_in_force(redeemed.invitation_id)
        await invitations.withdraw(redeemed.invitation_id[:6], by="root", reason="wrong address")
        assert not invitations.is_in_force(redeemed.invitation_id)
        late = await invitations.issue("rosa", "reader", by="root")
        clock.advance(INVITATION_LIFE_S)
        with pytest.raises(InvitationError, match="ended at"):
            await invitations.redeem(late)
        bodies = b"".join(each.body or b"" for each in await entries(loom, "loom/people"))
        assert secret[-64:].encode() not in bodies
    async with opened(tmp_path) as loom:
        with pytest.raises(InvitationError, match="withdrawn"):
            await loom.people.invitations.redeem(secret)


async def test_who_has_left_is_not_invited_and_their_sessions_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as loom:
        await loom.people.add("maria", by="root")
        redeemed = await loom.people.invitations.redeem(
            await loom.people.invitations.issue("MARIA", "approver", by="root")
        )
        assert redeemed.identity.name == "maria"
        assert await loom.people.person_of(redeemed.identity) == "maria"
        await loom.people.leave("maria", by="root", reason="moved on")
        assert not loom.people.invitations.is_in_force(redeemed.invitation_id)
        for name in ("maria", "stranger"):
            with pytest.raises(DirectoryError):
                await loom.people.invitations.issue(name, "approver", by="root")


def test_the_shell_keeps_the_directory(tmp_path: Path) -> None:
    config = tmp_path / "loom.config.yaml"
    config.write_text("data: data\n")

    def loom(*words: str) -> str:
        said = invoke("people", *words, config=config)
        assert said.code == 0, said
        return said.out

    assert "maria: vp, cfo" in loom("add", "maria", "--role", "vp", "--role", "cfo", "--by", "root")
    loom("add", "dora", "--identity", "oidc:https://id.example/7", "--by", "root")
    assert "maria: vp\n" in loom("role", "maria", "cfo", "--take", "--by", "root")
    assert "dora answers" in loom("absent", "maria", "--until", "2999-01-01", "--delegate", "dora", "--by", "maria")
    listed = loom()
    assert "absent until 2999-01-01" in listed
    assert "oidc:https://id.example/7" in listed
    refused = invoke("people", "role", "dora", "vp", "--by", "dora", config=config)
    assert (refused.code, "to themselves" in refused.err) == (1, True)
    loom("back", "maria", "--by", "maria")
    link = loom("invite", "maria", "--by", "root").splitlines()[0]
    assert link.startswith("http://127.0.0.1:8765/invitation?code=loomi_")
    assert "open" in loom("invitations")
    loom("withdraw", link.partition("loomi_")[2][:16], "-m", "wrong address", "--by", "root")
    loom("left", "dora", "-m", "moved on", "--by", "root")
    assert "has left" in loom()
    assert "known by" in loom("show", "maria")
    assert invoke("people", config=config.parent / "none.yaml").code == 2
    checked = invoke("doctor", config=config)
    assert "1 persons, 1 roles, in the journal" in checked.out


async def test_the_api_keeps_the_directory_in_the_name_of_the_key(tmp_path: Path) -> None:
    async with served(tmp_path) as client:
        for name in ("approver@one", "maria"):
            assert (await client.call("POST", "/api/people", {"name": name})).status == 200
            assert (await client.call("POST", f"/api/people/{name}/give", {"role": "vp"})).status == 200
        own = await client.call("POST", "/api/people", {"name": "admin@one"})
        assert own.status == 200
        refused = await client.call("POST", "/api/people/admin@one/give", {"role": "vp"})
        assert (refused.status, refused.code) == (403, "self_role")
        away = {"since": "2026-01-01T00:00:00Z", "until": "2999-01-01T00:00:00Z", "delegate": "maria"}
        mine = await client.call("POST", "/api/people/approver@one/absent", away, role="approver")
        assert (mine.status, mine.json["absences"][0]["delegate"]) == (200, "maria")
        other = await client.call("POST", "/api/people/maria/back", {}, role="approver")
        assert (other.status, other.code) == (403, "forbidden")
        said = (await client.call("GET", "/api/people", role="reader")).json
        assert (said["kept_in"], [each["name"] for each in said["persons"]]) == (
            "journal",
            ["admin@one", "approver@one", "maria"],
        )
        invited = (await client.call("POST", "/api/invitations", {"name": "maria"})).json
        assert invited["path"].startswith("/invitation?code=loomi_")
        assert (invited["by"], invited["access"], invited["state"]) == ("admin@one", "approver", "open")
        listed = (await client.call("GET", "/api/invitations")).json["items"]
        assert [each["path"] for each in listed] == [None]
        where = f"/api/invitations/{invited['invitation_id']}/withdraw"
        assert (await client.call("POST", where, {"reason": "wrong address"})).json["state"] == "withdrawn"
