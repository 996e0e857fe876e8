"""Another account beside a running loom: let in by a group, and established by the system under its own name alone."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from multiprocessing import Pipe
from pathlib import Path

import pytest

from loom import Actor, Command, Loom
from loom.decisions import Approval
from tests.cli.support import Answer, invoke, run
from tests.importing import import_all


class Ask(Command[bool]):
    pass


class Clerk(Actor[None]):
    async def execute(self, command: Ask) -> bool:
        return (await self.request_approval(approver="boss", reason="may I?")).granted


def other_account() -> pwd.struct_passwd | None:
    """Return an account of this machine that is not this one and that a group of its own may be made of."""
    for name in ("daemon", "nobody"):
        try:
            found = pwd.getpwnam(name)
            grp.getgrgid(found.pw_gid)
        except KeyError:
            continue
        if found.pw_uid != os.getuid():
            return found
    return None


OTHER = other_account()


class OtherAccount:
    """A process of the other account that runs commands of the shell, whether it may read Python's files or not.

    It is a fork of this one, so that everything has been imported before it gives up this account.
    """

    def __init__(self, account: pwd.struct_passwd, *, group: int) -> None:
        self._here, there = Pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads of pytest's
            self._pid = os.fork()
        if not self._pid:
            try:
                os.chdir("/")
                os.setgroups([])
                os.setgid(group)
                os.setuid(account.pw_uid)
                while (arguments := there.recv()) is not None:
                    there.send(invoke(*arguments))
            finally:
                os._exit(0)

    def run(self, *arguments: str | Path) -> Answer:
        self._here.send(arguments)
        assert self._here.poll(60), "the other account does not answer"
        answer: Answer = self._here.recv()
        return answer

    def close(self) -> None:
        self._here.send(None)
        os.waitpid(self._pid, 0)


def warmed_up(directory: Path) -> None:
    """Import whatever the shell needs here, as the other account may not be able to."""
    import_all("loom")
    config = directory / "loom.config.yaml"
    config.write_text("data: data\n", encoding="utf-8")
    asyncio.run(opened_once(config))
    for command in (("approvals",), ("approve", "nothing", "--by", "x"), ("deny", "x", "--by", "x", "-m", "x")):
        invoke(*command, "--journal", directory / "data" / "default" / "journal.db")


async def opened_once(config: Path) -> None:
    async with Loom.open(config, by="mira"):
        pass


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OtherAccount, OtherAccount]]:
    """Yield the other account, in its group and out of it."""
    if os.getuid() != 0:
        pytest.skip("needs root, to run a shell as another account")
    if OTHER is None:
        pytest.skip("needs another account with a group, such as daemon")
    warmed_up(tmp_path_factory.mktemp("warm"))
    both = OtherAccount(OTHER, group=OTHER.pw_gid), OtherAccount(OTHER, group=54_321)
    yield both
    for each in both:
        each.close()


@pytest.fixture
def data() -> Iterator[Path]:
    """Yield a directory that other accounts may pass through, which pytest's own may not."""
    directory = Path(tempfile.mkdtemp(prefix="loom-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@asynccontextmanager
async def running(data: Path, *, group: str | None) -> AsyncIterator[tuple[Loom, Approval]]:
    """Yield a loom that runs as this account, and a request that waits in it."""
    config = data / "loom.config.yaml"
    config.write_text(f"data: data\noperations: {{socket_group: {group or 'null'}}}\n", encoding="utf-8")
    async with Loom.open(config, actors=[Clerk], by="mira") as opened:
        await opened.actor(Clerk, "one").tell(Ask(), by="robin")
        while not (pending := await opened.approvals.pending()):
            await asyncio.sleep(0.01)
        yield opened, pending[0]


async def answered(account: OtherAccount, at: Loom, *arguments: str | Path) -> Answer:
    return await asyncio.to_thread(account.run, *arguments, "--journal", at.files.journal)


async def answered_by_owner(at: Loom, *arguments: str | Path) -> Answer:
    return await asyncio.to_thread(run, *arguments, "--journal", at.files.journal, cwd=Path("/"))


def the_group() -> str:
    assert OTHER is not None
    return grp.getgrgid(OTHER.pw_gid).gr_name


async def test_an_account_of_the_group_answers_in_its_own_name_which_the_system_establishes(
    data: Path, accounts: tuple[OtherAccount, OtherAccount]
) -> None:
    assert OTHER is not None
    async with running(data, group=the_group()) as (running_loom, asked):
        listed = await answered(accounts[0], running_loom, "approvals")
        assert listed.code == 0, listed.err
        assert asked.approval_id[:12] in listed.out
        assert "may I?" in listed.out
        said = await answered(accounts[0], running_loom, "approve", asked.approval_id[:12], "--by", OTHER.pw_name)
        assert said.code == 0, said.err
        assert f"by {OTHER.pw_name} (os_user:{OTHER.pw_uid}, via socket)" in said.out
        [granted] = await running_loom.approvals.list(status="granted")
        assert granted.answerer is not None
        assert (granted.answerer.source, granted.answerer.via) == (f"os_user:{OTHER.pw_uid}", "socket")
        assert (granted.answered_by, granted.role) == (OTHER.pw_name, None)


async def test_any_other_name_that_it_gives_is_claimed(data: Path, accounts: tuple[OtherAccount, OtherAccount]) -> None:
    async with running(data, group=the_group()) as (running_loom, asked):
        said = await answered(accounts[0], running_loom, "deny", asked.approval_id, "--by", "the boss", "-m", "no")
        assert said.code == 0, said.err
        [denied] = await running_loom.approvals.list(status="denied")
        assert str(denied.answerer) == "the boss (claimed, via socket)"


async def test_an_account_that_is_not_in_the_group_is_kept_out(
    data: Path, accounts: tuple[OtherAccount, OtherAccount]
) -> None:
    async with running(data, group=the_group()) as (running_loom, asked):
        said = await answered(accounts[1], running_loom, "approve", asked.approval_id, "--by", "anybody")
        assert said.code == 2
        assert "Permission denied" in said.err
        assert [each.approval_id for each in await running_loom.approvals.pending()] == [asked.approval_id]


async def test_without_a_group_no_other_account_comes_in_and_every_name_is_claimed(
    data: Path, accounts: tuple[OtherAccount, OtherAccount]
) -> None:
    async with running(data, group=None) as (running_loom, asked):
        said = await answered(accounts[0], running_loom, "approve", asked.approval_id, "--by", "anybody")
        assert said.code == 2
        own = await answered_by_owner(running_loom, "approve", asked.approval_id, "--by", "root")
        assert own.code == 0, own.err
        [granted] = await running_loom.approvals.list(status="granted")
        assert str(granted.answerer) == "root (claimed, via socket)"


async def test_the_account_that_runs_loom_is_never_established_by_that(
    data: Path, accounts: tuple[OtherAccount, OtherAccount]
) -> None:
    async with running(data, group=the_group()) as (running_loom, asked):
        own = await answered_by_owner(running_loom, "approve", asked.approval_id, "--by", "root")
        assert own.code == 0, own.err
        [granted] = await running_loom.approvals.list(status="granted")
        assert str(granted.answerer) == "root (claimed, via socket)"
