"""Opening and closing: by `async with`, by hand, and without `await`; actors that are made with something."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from loom import Actor, Command, Loom
from loom.errors import ActorFailedError, JournalLockedError, LoomClosedError
from loom.testing import Scenario
from tests.test_readme import ROOT


class Ask(Command[str]):
    fails: bool = False


class Client:
    """What an actor takes, which no journal holds."""

    def __init__(self, name: str) -> None:
        self.name = name


class Asking(Actor):
    def __init__(self, http: Client, *, times: int = 1) -> None:
        self.http = http
        self.times = times

    async def execute(self, command: Ask) -> str:
        if command.fails:
            raise ValueError("no")
        return f"{self.key}: {self.http.name * self.times}"


MADE = Asking.using(http=Client("client"), times=2)


async def test_an_actor_is_made_with_what_it_takes_also_after_a_restart_of_it(tmp_path: Path) -> None:
    async with Loom.open(f"sqlite:///{tmp_path}/journal.db", actors=[MADE]) as loom:
        with pytest.raises(ActorFailedError):
            await loom.actor(Asking, "a").ask(Ask(fails=True))  # it is made again after this
        assert await loom.actor(Asking, "a").ask(Ask()) == "a: clientclient"
        assert await loom.actor(Asking, "b").ask(Ask()) == "b: clientclient"


async def test_a_scenario_takes_what_makes_the_actor() -> None:
    (await Scenario(Asking, make=MADE.make).when(Ask())).then(reply="one: clientclient")


async def test_a_loom_is_opened_and_closed_by_hand_from_any_task(tmp_path: Path) -> None:
    source = f"sqlite:///{tmp_path}/journal.db"
    loom = await asyncio.create_task(_opened(source))
    assert await loom.actor(Asking, "a").ask(Ask()) == "a: clientclient"
    with pytest.raises(JournalLockedError):
        await Loom.open(source)
    await asyncio.create_task(loom.close())
    await loom.close()  # again: it is left as it is
    async with Loom.open(source):
        pass


async def _opened(source: str) -> Loom:
    return await Loom.open(source, actors=[MADE])


async def test_a_loom_is_opened_once_and_says_how_it_is() -> None:
    loom = Loom.open("sqlite://")
    assert repr(loom).endswith("journal.db, new>")
    async with loom:
        assert repr(loom).endswith("journal.db, open>")
        with pytest.raises(LoomClosedError, match="was opened before"):
            await loom
    assert repr(loom).endswith("journal.db, closed>")
    with pytest.raises(LoomClosedError, match="was closed"):
        await loom


async def test_a_loom_that_cannot_be_opened_holds_nothing(tmp_path: Path) -> None:
    source = f"sqlite:///{tmp_path}/journal.db"
    async with Loom.open(source):
        failing = Loom.open(source)
        with pytest.raises(JournalLockedError):
            await failing
        assert failing.life == "closed"


def test_a_script_uses_a_loom_without_await(tmp_path: Path) -> None:
    with Loom.open_sync(f"sqlite:///{tmp_path}/journal.db", actors=[MADE], by="robin") as loom:
        ref = loom.actor(Asking, "a")
        assert repr(ref) == "<BlockingRef asking/a>"
        assert ref.ask(Ask(), id="c") == "a: clientclient"
        assert ref.tell(Ask(), id="t").command_id == "t"
        with pytest.raises(ActorFailedError, match="ValueError: no"):
            ref.ask(Ask(fails=True))
        assert [each.summary.command_id for each in loom.run(lambda inner: inner.turns.list(status="completed"))][
            -1
        ] == "c"
        said: list[str] = []
        threads = [threading.Thread(target=lambda: said.append(ref.ask(Ask()))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said == ["a: clientclient"] * 4


@pytest.mark.parametrize(
    "use", [lambda loom: loom.actor(Asking, "a"), lambda loom: loom.run(None)], ids=["actor", "run"]
)
def test_a_blocking_loom_that_is_not_open_is_refused(use: Callable[[object], object]) -> None:
    loom = Loom.open_sync("sqlite://")
    assert repr(loom).startswith("<Blocking <Loom default at ")
    with pytest.raises(LoomClosedError, match=r"with Loom\.open_sync"):
        use(loom)
    with loom:
        pass
    with pytest.raises(LoomClosedError):
        use(loom)
    with pytest.raises(LoomClosedError, match="open it once"), loom:
        pass


STAYS_OPEN = """
from desk import Diary, Note
from loom import Loom

loom = Loom.open_sync("sqlite:///journal.db", actors=[Diary]).stay_open()
print(loom.actor(Diary, "me").ask(Note(text="first")))
"""


def test_a_loom_that_stays_open_is_closed_at_the_end_of_its_process(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "desk.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", STAYS_OPEN],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("first\n", "", 0)
    assert not (tmp_path / "journal.db-wal").exists(), "closing takes what the log has into the file"


def test_a_blocking_loom_that_cannot_be_opened_ends_its_thread(tmp_path: Path) -> None:
    source, before = f"sqlite:///{tmp_path}/journal.db", threading.active_count()
    with Loom.open_sync(source):
        held = threading.active_count()
        with pytest.raises(JournalLockedError), Loom.open_sync(source):
            pass
        assert threading.active_count() <= held
    assert threading.active_count() <= before
