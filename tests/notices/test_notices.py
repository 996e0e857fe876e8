"""Notices reach their receivers: signed, at least once, in order of their subject, with ids and no facts."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from loom import Actor, Command, Loom
from loom.decisions.entries import UNANSWERABLE, ApprovalAnsweredEntry
from loom.errors import ConfigError, NoticeLagError, NoticeNotFoundError, ProjectionLagError
from loom.journal import Append
from loom.journal.store import draft
from loom.notices.config import NoticesConfig
from loom.notices.entries import NoticeDeadEntry, NoticeDeliveredEntry
from loom.notices.notice import _answered
from loom.notices.posting import Refused, post
from loom.notices.signing import signed
from loom.notices.watching import Watch
from loom.routing.entries import KillSwitchEngagedEntry
from loom.workspace import locate
from tests.cli.agents import Note, NoteAgent
from tests.cli.support import invoke
from tests.notices.receiver import KEY, Received, configured, receiving, sending


async def heavy(loom: Loom, key: str = "a", *, text: str = "a heavy secret") -> str:
    """Send a command that parks on an approval; return the approval's id."""
    before = {each.approval_id for each in await loom.approvals.pending()}
    await loom.actor(NoteAgent, key).tell(Note(text=text, weight=20), by="carla")
    async with asyncio.timeout(20):
        while not (new := [each for each in await loom.approvals.pending() if each.approval_id not in before]):
            await asyncio.sleep(0.01)
    return new[0].approval_id


def test_a_signature_is_that_of_the_published_vector() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed([key], notice_id="msg_p5jXN8AQM9LWM0D4loKWxJek", at_s=1_614_265_330, body=b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_a_request_and_its_answer_are_signed_cloud_events_with_ids_and_no_facts(tmp_path: Path) -> None:
    async with receiving() as receiver, sending(configured(tmp_path, f"{receiver.url}/hook?x=1")) as (loom, sender):
        approval_id = await heavy(loom)
        await loom.approvals.grant(approval_id, by="dana", comment="a secret comment")
        await sender.settled()

        asked, answered = receiver.received
        assert (asked.type, answered.type) == ("loom.approval.asked", "loom.approval.answered")
        assert asked.path == "/hook?x=1"
        assert asked.headers["content-type"] == "application/cloudevents+json"
        assert asked.is_signed()
        assert not asked.is_signed(KEY[::-1])
        event = asked.event
        assert (event["specversion"], event["source"], event["subject"]) == ("1.0", "/loom/w", approval_id)
        assert event["id"] == asked.id
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00", event["time"])
        assert event["data"] == {
            "workspace": "w",
            "position": event["data"]["position"],
            "approval_id": approval_id,
            "link": f"https://loom.example/inbox/{approval_id}",
        }
        said = b" ".join(each.body for each in receiver.received)
        for fact in (b"secret", b"heavy", b"editor", b"dana", b"carla", b"robin", b"note-agent"):
            assert fact not in said


async def test_a_refused_notice_is_tried_again_with_its_id_and_holds_back_its_subject_alone(tmp_path: Path) -> None:
    refused: list[str] = []

    def answers(got: Received) -> int:
        first = receiver.received[0].event["subject"]
        if got.event["subject"] == first and sum(each.id == got.id for each in receiver.received) < 3:
            refused.append(got.id)
            return 503
        return 204

    async with receiving(answers) as receiver:
        async with sending(configured(tmp_path, receiver.url, attempts=5)) as (loom, sender):
            one = await heavy(loom, "a")
            two = await heavy(loom, "b")
            await loom.approvals.deny(one, by="dana", comment="no")
            await loom.approvals.grant(two, by="dana", distinguished="this one has insurance")
            await sender.settled()
        of_one = [each for each in receiver.received if each.event["subject"] == one]
        assert [each.type for each in of_one] == ["loom.approval.asked"] * 3 + ["loom.approval.answered"] * 3
        assert len({each.id for each in of_one}) == 2
        assert len({each.body for each in of_one}) == 2, "a try is the same bytes as the one before"
        assert [each.type for each in receiver.received if each.event["subject"] == two] == [
            "loom.approval.asked",
            "loom.approval.answered",
        ]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (302, "redirects are not followed"),
        (500, "status 500"),
        (410, "the endpoint is gone"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
        (b"", "IncompleteReadError"),
        (b"x" * 20_000, "LimitOverrunError"),
    ],
    ids=["redirect", "error", "gone", "not http", "nothing", "endless head"],
)
async def test_what_is_no_success_is_refused_and_nothing_is_followed(answer: int | bytes, problem: str) -> None:
    async with receiving(lambda _: answer) as receiver:
        with pytest.raises(Refused, match=problem) as caught:
            await post(receiver.url, b"{}", {"webhook-id": "m", "webhook-timestamp": "1"}, timeout_s=5)
        assert caught.value.is_final == (answer == 410)
        assert [each.path for each in receiver.received] == ["/"]


async def test_an_endpoint_that_does_not_answer_is_left_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Refused, match=r"no answer within 0\.05 s"):
        await post(f"http://127.0.0.1:{port}", b"{}", {}, timeout_s=0.05)
    server.close()
    with pytest.raises(Refused, match="ConnectionRefusedError"):
        await post(f"http://127.0.0.1:{port}", b"{}", {}, timeout_s=5)


async def test_what_is_given_up_is_a_dead_letter_that_a_person_sends_again(tmp_path: Path) -> None:
    down = True
    async with receiving(lambda _: 500 if down else 204) as receiver:
        config = configured(tmp_path, receiver.url)
        async with sending(config) as (loom, sender):
            approval_id = await heavy(loom)
            await sender.settled()
            entries = [each.entry async for each in loom.store.read("loom/notices")]
            [dead] = [each for each in entries if isinstance(each, NoticeDeadEntry)]
            assert (dead.attempts, dead.problem, dead.subject) == (3, "status 500", approval_id)
            assert len(receiver.received) == 3
            with pytest.raises(NoticeNotFoundError):
                await sender.retry("msg_nothing", by="dana")

        listed = await asyncio.to_thread(invoke, "notices", config=config)
        assert (listed.code, dead.notice_id in listed.out, "status 500, after 3 tries" in listed.out) == (1, True, True)
        again = await asyncio.to_thread(invoke, "notices", "retry", dead.notice_id[:12], "--by", "dana", config=config)
        assert (again.code, "1 to be sent again" in again.out) == (0, True)
        assert len(receiver.received) == 3, "the shell sends nothing itself"

        down = False
        async with sending(config) as (loom, sender):
            await receiver.until(lambda: len(receiver.received) == 4)
            await sender.settled()
            async with asyncio.timeout(10):
                while sender.register.dead:
                    await asyncio.sleep(0.01)
        assert receiver.received[3].id == dead.notice_id
        done = await asyncio.to_thread(invoke, "notices", "--json", config=config)
        assert (done.code, done.json["dead"]) == (0, [])
        assert [(each["name"], each["delivered"]) for each in done.json["endpoints"]] == [("one", 1)]


async def test_an_endpoint_that_is_down_holds_up_no_other_and_loses_nothing_over_a_restart(tmp_path: Path) -> None:
    down = True
    async with receiving() as up, receiving(lambda _: 503 if down else 204) as ill:
        config = configured(tmp_path, up.url, ill.url, attempts=100, first_pause_s=0.05, longest_pause_s=0.05)
        async with sending(config) as (loom, sender):
            ids = [await heavy(loom, key) for key in ("a", "b", "c")]
            await up.until(lambda: len(up.received) == 3)
            with pytest.raises(NoticeLagError, match="endpoint \\[two\\]"):
                await sender.settled(timeout_s=0.1)
        down = False
        async with sending(config) as (loom, sender):
            await sender.settled()
        assert {each.event["subject"] for each in ill.taken} == set(ids)
        assert len(up.received) == 3, "what was delivered is not sent again"


async def test_a_new_endpoint_begins_with_what_comes_and_types_choose(tmp_path: Path) -> None:
    async with receiving() as receiver:
        async with Loom.open(configured(tmp_path), actors=[NoteAgent]) as loom:
            before = await heavy(loom, "old")
        config = configured(tmp_path, receiver.url)
        plain = json.loads(config.read_text())
        plain["notices"]["endpoints"]["one"]["types"] = ["loom.approval.asked", "loom.standing.*"]
        config.write_text(json.dumps(plain), encoding="utf-8")
        async with sending(config) as (loom, sender):
            after = await heavy(loom, "new")
            await loom.approvals.grant(before, by="dana")
            await loom.standings.suspend("note-agent", by="dana", reason="a look")
            await sender.settled()
        assert [(each.type, each.event["subject"]) for each in receiver.received] == [
            ("loom.approval.asked", after),
            ("loom.standing.suspended", "note-agent"),
        ]


class Ask(Command[bool]):
    """Ask a person, who has an hour."""


class Hasty(Actor):
    async def execute(self, command: Ask) -> bool:
        return (await self.request_approval(approver="editor", reason="soon", timeout_s=3_600)).granted


async def test_what_time_brings_is_raised_once_also_over_a_restart(tmp_path: Path) -> None:
    async with receiving() as receiver:
        config = configured(tmp_path, receiver.url, warn_before_s=31_536_000, watch_every_s=3_600)
        async with sending(config) as (loom, sender):
            await loom.actor(Hasty, "a").tell(Ask(), by="carla")
            async with asyncio.timeout(20):
                while not (found := await loom.approvals.pending()):
                    await asyncio.sleep(0.01)
            [pending] = found
            assert pending.deadline is not None
            await sender.watch.look()
            await sender.settled()
            assert [each.type for each in receiver.received] == ["loom.approval.asked"], "three quarters are left"
            whole = pending.deadline - pending.requested_at
            sender.watch._host = Later(loom, whole * 0.9)  # type: ignore[assignment]
            await sender.watch.look()
            await sender.watch.look()
            await sender.settled()
        async with sending(config) as (loom, sender):
            sender.watch._host = Later(loom, whole * 0.95)  # type: ignore[assignment]
            await sender.watch.look()
            await sender.settled()
        assert [(each.type, each.event["subject"]) for each in receiver.received[1:]] == [
            ("loom.approval.expiring", pending.approval_id)
        ]


class Later:
    """A loom at a later time."""

    def __init__(self, loom: Loom, by: timedelta) -> None:
        self._loom = loom
        self._by = by

    def __getattr__(self, name: str) -> object:
        return getattr(self._loom, name)

    def now(self) -> object:
        return self._loom.now() + self._by


async def test_a_broken_chain_is_notified_and_a_sound_one_is_not(tmp_path: Path) -> None:
    async with receiving() as receiver, sending(configured(tmp_path, receiver.url)) as (loom, sender):
        await heavy(loom)
        assert await sender.watch.verify()
        with loom.files.heads.open("a", encoding="utf-8") as heads:
            heads.write(f"1 {'0' * 64}\n")
        assert not await sender.watch.verify()
        assert not await sender.watch.verify()
        await sender.settled()
        assert [each.type for each in receiver.received] == ["loom.approval.asked", "loom.chain.broken"]


def refusals(tmp_path: Path, endpoint: dict[str, object]) -> str:
    path = configured(tmp_path)
    plain = json.loads(path.read_text())
    plain["notices"]["endpoints"] = {"one": endpoint}
    path.write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        locate(path)
    return str(caught.value)


SECRETS: Sequence[str] = ("whsec_c2hvcnQ=", "whsec_not base64 at all, which is long enough", "")


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_that_is_none_is_refused_and_not_shown(tmp_path: Path, secret: str) -> None:
    said = refusals(tmp_path, {"url": "https://example.org/", "secret": secret})
    assert "24 to 64 random bytes" in said
    assert not secret or secret not in said


@pytest.mark.parametrize(
    "url",
    ["http://example.org/", "ftp://example.org/", "https://user:pw@example.org/", "https:///x", "https://a/ b", "x"],
)
def test_an_address_that_is_not_safe_is_refused(tmp_path: Path, url: str) -> None:
    assert "expected" in refusals(tmp_path, {"url": url, "secret": "whsec_" + "A" * 40})


async def test_delivered_notices_say_to_whom_and_with_which_status(tmp_path: Path) -> None:
    async with receiving() as receiver, sending(configured(tmp_path, receiver.url)) as (loom, sender):
        await heavy(loom)
        await sender.settled()
        entries = [each.entry async for each in loom.store.read("loom/notices")]
        [delivered] = [each for each in entries if isinstance(each, NoticeDeliveredEntry)]
        assert (delivered.endpoint, delivered.status, delivered.attempts) == ("one", 204, 1)
        assert delivered.notice_id == receiver.received[0].id


async def test_a_stuck_turn_and_kinds_of_wings_are_notified_without_the_key_of_an_actor(tmp_path: Path) -> None:
    async with receiving() as receiver, sending(configured(tmp_path, receiver.url)) as (loom, sender):
        await heavy(loom, "jane-doe")
        [cell] = loom.actors.cells()
        cell.stuck["turn-1"] = NoticeLagError("it was cut short three times")
        await sender.watch.look()
        await sender.watch.look()
        engaged = KillSwitchEngagedEntry(
            by="dana", trigger="person", reason="a private reason", identity_source="claimed"
        )
        await loom.store.append(Append("router/jane-doe", 0, (draft(engaged),)))
        await sender.settled()
        cell.stuck.clear()
    assert [each.type for each in receiver.received] == [
        "loom.approval.asked",
        "loom.turn.stuck",
        "loom.kill_switch.engaged",
    ]
    assert receiver.received[1].event["data"]["turn"] == "turn-1"
    said = b" ".join(each.body for each in receiver.received)
    assert b"jane" not in said
    assert b"private" not in said


def test_one_voice_of_several_is_no_answer_and_a_question_is_sent_back() -> None:
    said: dict[str, Any] = {"approval_id": "a1", "by": "dana", "shown": "d" * 64, "identity_source": "claimed"}
    types = [
        each and each[0]
        for each in (
            _answered(ApprovalAnsweredEntry(granted=True, decides=False, **said)),
            _answered(ApprovalAnsweredEntry(granted=False, decides=False, question="since when?", **said)),
            _answered(ApprovalAnsweredEntry(granted=False, **{**said, "by": None})),
            _answered(ApprovalAnsweredEntry(granted=False, comment=UNANSWERABLE, **{**said, "by": None})),
        )
    ]
    assert types == [None, "loom.approval.sent_back", "loom.approval.expired", "loom.approval.answered"]


async def test_the_watch_goes_on_after_a_look_that_failed_and_verifies_soon_after_the_start_and_then_in_its_rhythm(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = NoticesConfig(watch_every_s=15.0, verify_every_s=86_400.0)
    watch = Watch(None, config, None)  # type: ignore[arg-type]
    waited: list[float] = []
    done: list[str] = []

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    async def look() -> None:
        done.append("looked")
        if len(done) == 1:
            raise ProjectionLagError("views are behind")
        if len(done) == 3:
            raise asyncio.CancelledError

    async def verify() -> None:
        done.append("verified")
        if len(done) == 2:
            raise asyncio.CancelledError

    monkeypatch.setattr("loom.notices.watching.asyncio.sleep", wait)
    monkeypatch.setattr(watch, "look", look)
    monkeypatch.setattr(watch, "verify", verify)
    with pytest.raises(asyncio.CancelledError):
        await watch.run()
    assert (done, waited) == (["looked"] * 3, [15.0] * 3)
    assert "notices_not_looked_for" in caplog.text
    done.clear()
    waited.clear()
    with pytest.raises(asyncio.CancelledError):
        await watch.run_verify()
    assert (done, waited) == (["verified"] * 2, [60.0, 86_400.0])
