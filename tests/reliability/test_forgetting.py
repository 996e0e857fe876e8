"""R26, of any actor: people erased at random moments amid kills; nothing of theirs is anywhere, nor can be guessed."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from loom.actors.verbs.shared import digest as step_key
from loom.errors import ErasedError
from loom.journal.sqlite.verify import verify
from loom.sealing import MASTER_KEY
from tests.actors.model_support import Script, text
from tests.actors.test_model_kept import Writer, WriteTo, sealed_loom
from tests.notices.receiver import configured, receiving, sending
from tests.notices.test_notices import heavy
from tests.reliability.board import SEED, Tally, row
from tests.reliability.forgetters import CANDIDATES, MARK, marker, said_by
from tests.reliability.forks import Zygote
from tests.reliability.guessing import Files, texts_of_files

ERASURES = 500
IN_ONE_LIFE = 60
MOST_LIVES = 60
KEYS = 100
"""Of so many who were erased the key is looked for in every file."""


@pytest.fixture(scope="session")
def forgetters() -> Iterator[Zygote]:
    with Zygote(module="tests.reliability.forgetters") as forking:
        yield forking


@pytest.mark.seconds(50)
@row("R26")
def test_people_who_were_erased_amid_kills_are_in_no_file_and_cannot_be_guessed(
    tmp_path: Path, tally: Tally, forgetters: Zygote
) -> None:
    draw = random.Random(SEED)
    keys: dict[str, bytes] = {}
    begun: set[str] = set()
    erased: set[str] = set()
    killed = 0
    for life in range(MOST_LIVES):
        last = len(begun) >= ERASURES
        after = None if last else draw.randint(20, IN_ONE_LIFE - 4)
        given = {"path": str(tmp_path), "life": life, "subjects": 1 if last else IN_ONE_LIFE, "kill_after": after}
        with forgetters.fork("forget_until_killed", **given, seed=draw.randint(0, 2**31)) as child:
            said = [line.split() for line in child.rest()]
            killed += child.wait() == -signal.SIGKILL
        keys |= {each[1]: bytes.fromhex(each[2]) for each in said if each[0] == "known"}
        begun |= {each[1] for each in said if each[0] == "erasing"}
        erased |= {each[1] for each in said if each[0] == "erased"}
        if last:
            break
    with forgetters.fork("hand_over", path=str(tmp_path)) as child:
        said = [line.split() for line in child.rest()]
        tally.check(child.wait() == 0, "nothing could be handed over")
    keys |= {each[1]: bytes.fromhex(each[2]) for each in said if each[0] == "known"}
    erased |= {each[1] for each in said if each[0] == "erased"}
    tally.check(len(begun) >= ERASURES, f"only {len(begun)} erasures were begun")
    tally.check(killed >= 3, f"only {killed} lives were killed")
    _look(tmp_path, [keys[each] for each in draw.sample(sorted(erased), KEYS)], tally)
    _refused(tmp_path, sorted(erased)[:20], tally, forgetters)
    _guess(tmp_path, sorted(erased), tally)
    _control(tmp_path / "control", tally)
    tally.note(f"{killed} lives killed, {len(begun)} erasures begun, {len(erased)} answered by a support agent's loom")
    found = verify(tmp_path / "data" / "default" / "journal.db", workspace="default")
    tally.check(found.ok, list(found.lines()))


def _look(path: Path, keys: list[bytes], tally: Tally) -> None:
    for name, raw in texts_of_files(path):
        tally.tried()
        for mark in (MARK.encode(), MARK[::-1].encode()):
            at = raw.find(mark)
            tally.check(at < 0, f"{name} has a value of a declared field: {raw[max(at - 80, 0) : at + 60]!r}")
        for key in keys:
            tally.check(key not in raw, f"{name} has the key of somebody who was erased")


def _refused(path: Path, subjects: list[str], tally: Tally, forgetters: Zygote) -> None:
    with forgetters.fork("refused", path=str(path), subjects=subjects) as child:
        said = [line.split() for line in child.rest()]
        child.wait()
    tally.tried(len(subjects))
    tally.check(said == [["refused", each] for each in subjects], f"somebody who was erased was heard again: {said}")


def _guess(path: Path, erased: list[str], tally: Tally) -> None:
    files = Files(path)
    for subject in erased:
        what, value = said_by(subject)
        tally.tried()
        confirmed = files.confirms(subject, what)
        tally.check(value not in confirmed, f"a digest confirms that {subject} said {value}")
        if what != "postcode":
            tally.check(value not in files.confirms_by_body(subject, what), f"a body confirms what {subject} said")


def _control(path: Path, tally: Tally) -> None:
    """Have today's digests that know no key found, each of another value, and a marker in clear."""
    path.mkdir()
    age, postcode, said = CANDIDATES["age"][47], CANDIDATES["postcode"][4_711], "yes"
    (path / "unkeyed.txt").write_text(
        "\n".join(
            (
                step_key({"value": age}),
                hashlib.sha256(json.dumps({"value": postcode}, separators=(",", ":")).encode()).hexdigest(),
                f"sha256:{hashlib.sha256(json.dumps(['p-c-1', 'value', said]).encode()).hexdigest()}",
                marker("p-c-1", "email"),
            )
        )
    )
    files = Files(path)
    found = int(files.confirms("p-c-1", "age") == [age])
    found += files.confirms("p-c-1", "postcode") == [postcode]
    found += files.confirms("p-c-1", "yes or no") == [said]
    found += any(MARK.encode() in raw for _, raw in texts_of_files(path))
    tally.control(trials=4, found=found)


@row("R26")
async def test_nothing_that_is_declared_of_people_is_in_the_messages_that_a_model_gets(
    tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(bytes(range(32))).decode())
    for shown in ("sealed", "plain"):
        people = [f"p-m-{number}" for number in range(100 if shown == "sealed" else 5)]
        Writer.script = Script(text("dear"))
        async with sealed_loom(tmp_path / shown, protected=shown) as loom:
            for person in people:
                command = WriteTo(customer_id=person, email=marker(person, "email"))
                await loom.actor(Writer, "one").ask(command, id=person)
                await loom.subjects.erase(person, by="mira", reason="asked for")
                with pytest.raises(ErasedError):  # and nothing is sent again
                    await loom.actor(Writer, "one").ask(command, id=person)
        sent = [str(messages) for messages in Writer.script.seen]
        found = sum(MARK in each for each in sent)
        if shown == "plain":
            tally.control(trials=len(people), found=found)
        else:
            tally.tried(len(people))
            tally.check(len(sent) == len(people), f"{len(sent)} requests for {len(people)} people")
            tally.check(found == 0, f"{found} requests have a value of a person")


@row("R26")
async def test_nothing_of_people_is_in_the_notices_that_are_sent(tmp_path: Path, tally: Tally) -> None:
    people = [f"p-n-{number}" for number in range(20)]
    async with receiving() as receiver, sending(configured(tmp_path, f"{receiver.url}/hook")) as (loom, sender):
        for person in people:
            approval_id = await heavy(loom, person, text=marker(person, "email"))
            await loom.approvals.grant(approval_id, by="dana", comment=marker(person, "said"))
        await sender.settled()
    tally.tried(len(people))
    tally.check(len(receiver.received) == 2 * len(people), f"{len(receiver.received)} notices came")
    found = sum(MARK.encode() in each.body or MARK in str(each.headers) for each in receiver.received)
    tally.check(found == 0, f"{found} notices have a value of a person")
