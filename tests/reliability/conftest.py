"""Gathers what the tests of the scoreboard report; with xdist the controller merges what its workers wrote."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.board import NOT_RUN, PIECES, RESULT, Piece, Tally, keep, merged, pieces_in, write_result
from tests.reliability.forks import Zygote
from tests.reliability.shim import built

TALLY = pytest.StashKey[Tally]()
DIRECTORY = pytest.StashKey[Path]()
RESULTS = pytest.StashKey[dict[str, Any]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "row(name): the row of the scoreboard that a test belongs to")
    config.addinivalue_line("markers", "seconds(number): about how long a test takes, to begin with the longest")
    if not hasattr(config, "workerinput"):
        directory = Path(tempfile.mkdtemp(prefix="loom-reliability-"))
        config.stash[DIRECTORY] = directory
        os.environ[PIECES] = str(directory)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that two workers end at about the same time."""
    items.sort(key=lambda item: -next((int(mark.args[0]) for mark in item.iter_markers("seconds")), 0))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Where a test says what it tried and what went wrong."""
    return request.node.stash[TALLY]  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """A process that has imported everything and is forked for each child, so that none waits for an interpreter."""
    with Zygote() as forking:
        yield forking


@pytest.fixture(scope="module")
def forks() -> Iterator[Zygote]:
    """A process that has imported what a node imports, and is forked for each."""
    with Zygote(module="tests.engine.worker") as forking:
        yield forking


@pytest.fixture(scope="session")
def shimmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """The same with a shim between its children and their system calls."""
    library = built(tmp_path_factory.mktemp("shim"))
    with Zygote(module="tests.reliability.shimmed", env={"LD_PRELOAD": str(library)}) as forking:
        yield forking


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    mark = item.get_closest_marker("row")
    if mark is not None:
        item.stash[TALLY] = Tally(Piece(row=mark.args[0], test=item.nodeid.partition("::")[2]))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    result = yield
    if TALLY in pyfuncitem.stash:
        pyfuncitem.stash[TALLY].judge()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if TALLY in item.stash:
        _take_note(item.stash[TALLY].piece, report)
        if report.when == "teardown":
            keep(item.stash[TALLY].piece)
    return report


def _take_note(piece: Piece, report: pytest.TestReport) -> None:
    if report.when == "call":
        piece.seconds = report.duration
    if report.skipped and isinstance(report.longrepr, tuple):
        piece.status, piece.reason = "SKIPPED", report.longrepr[2].removeprefix("Skipped: ")
    elif report.failed:
        piece.failures = max(1, piece.failures)
        piece.status, piece.reason = "failed", str(report.longreprtext).strip().splitlines()[-1][:200]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    directory = session.config.stash.get(DIRECTORY, None)
    if directory is None:
        return
    pieces = pieces_in(directory)
    shutil.rmtree(directory, ignore_errors=True)
    if pieces:
        result = merged(pieces, interrupted=exitstatus == pytest.ExitCode.INTERRUPTED)
        write_result(result)
        session.config.stash[RESULTS] = result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    result = config.stash.get(RESULTS, None)
    if result is None:
        return
    terminalreporter.section(f"scoreboard → {RESULT.name}")
    for each in result["rows"]:
        if each["reason"] == NOT_RUN:
            continue
        control = each["control"]
        said = f"control found {control['failures_found']} in {control['trials']}" if control else ""
        reason = f"({each['reason']})" if each["reason"] else ""
        counted = f"{each['failures']} failures in {each['trials']} trials, {each['seconds']} s"
        terminalreporter.write_line(f"{each['id']:4} {each['status']:8} {counted} {said} {reason}".rstrip())
        for note in each["notes"]:
            terminalreporter.write_line(f"     · {note}")
    left_out = [each["id"] for each in result["rows"] if each["reason"] == NOT_RUN]
    if left_out:
        terminalreporter.write_line(f"SKIPPED ({NOT_RUN}): {' '.join(left_out)}")
