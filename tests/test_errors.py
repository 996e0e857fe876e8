"""What an error says of itself, and what every edge makes of that: status, exit code, level in the log."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer
from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import JSONResponse
from typer.testing import CliRunner

from loom.cli.command import EXIT_ERROR, EXIT_NO, command, exit_code_of
from loom.cli.shell import Shell
from loom.errors import KINDS_OF_ANSWERS, ActorPrunedError, ApprovalAnsweredError, ControlError, ErasedError, LoomError
from loom.journal.control import ControlServer, _result, control_call
from loom.journal.sqlite import WriterLock
from loom.telemetry import ANSWER_LEVELS, get_logger, log_answer
from loom.web.api import STATUSES, refused_with
from tests.importing import import_all
from tests.web.support import served


class QuotaUsedError(LoomError):
    """As an extension has one."""

    kind = "conflict"


class SilentError(LoomError):
    """An extension's error that says nothing."""


def packages() -> set[str]:
    """Return the packages whose errors are asked: loom's own, and whatever brings an extension."""
    groups = ("loom.extensions", "loom.commands")
    return {"loom"} | {point.module.partition(".")[0] for group in groups for point in entry_points(group=group)}


def subclasses(of: type[LoomError]) -> Iterator[type[LoomError]]:
    for each in of.__subclasses__():
        yield each
        yield from subclasses(each)


def errors_of(names: set[str]) -> list[type[LoomError]]:
    """Import every module of these packages, and return the errors that they define."""
    for name in names:
        import_all(name)
    return [each for each in subclasses(LoomError) if each.__module__.partition(".")[0] in names]


def unexplained(cls: type[LoomError]) -> str | None:
    """Return what is missing in an error, if anything: a kind that it or a base says, and an answer of its own."""
    said = [each for each in cls.__mro__ if each is not LoomError and "kind" in vars(each)]
    if not said:
        return "it does not say what kind of answer it is"
    if cls.kind not in KINDS_OF_ANSWERS:
        return f"it says [{cls.kind}]"
    refused = refused_with(cls.__new__(cls, "what happened"))
    if (refused.status == 500) != (cls.kind == "fault") or refused.code == "failed":
        return f"it is answered with [{refused.status} {refused.code}]"
    return None


def test_every_error_says_what_kind_of_answer_it_is_so_that_none_is_an_unexplained_fault() -> None:
    found = errors_of(packages())
    assert len(found) > 60
    assert {each.__name__: problem for each in found if (problem := unexplained(each))} == {}


def test_an_error_that_says_nothing_would_be_found() -> None:
    assert unexplained(SilentError) == "it does not say what kind of answer it is"
    assert unexplained(QuotaUsedError) is None


def test_every_kind_has_its_status_exit_code_and_level() -> None:
    assert set(STATUSES) == set(ANSWER_LEVELS) == set(KINDS_OF_ANSWERS)
    for kind in KINDS_OF_ANSWERS:
        assert exit_code_of(ControlError("it came over a socket", kind=kind)) in (EXIT_NO, EXIT_ERROR)
    assert [kind for kind, level in ANSWER_LEVELS.items() if level == "error"] == ["fault"]


def test_what_is_gone_for_good_is_not_found_and_says_so() -> None:
    for error in (ErasedError("erased"), ActorPrunedError("pruned")):
        assert (error.kind, refused_with(error).status) == ("not_found", 410)


async def test_an_error_of_an_extension_is_answered_over_http_by_its_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path) as client:

        async def raises(request: Request) -> JSONResponse:
            raise QuotaUsedError("used up") if request.query_params["what"] == "quota" else SilentError("/a/path")

        client.app.add_route("/api/mine", raises, methods=["GET"])
        with caplog.at_level(logging.INFO, logger="loom.web"):
            said = await client.call("GET", "/api/mine?what=quota")
            assert (said.status, said.code, said.json["error"]["message"]) == (409, "quota_used", "used up")
            silent = await client.call("GET", "/api/mine?what=nothing")
        assert (silent.status, silent.code) == (500, "silent"), "a fault, under its own name"
        assert "/a/path" not in silent.json["error"]["message"], "what is wrong with the server is for its log"
    levels = (
        {record.levelname for record in caplog.records if "SilentError" in record.getMessage()},
        {record.levelname for record in caplog.records if "QuotaUsedError" in record.getMessage()},
    )
    assert levels == ({"ERROR"}, {"INFO"})


def test_an_error_of_an_extension_ends_the_shell_with_the_code_of_its_kind() -> None:
    app = typer.Typer()

    @app.callback()
    def group() -> None:
        """Have more than one command."""

    @command(app, "quota")
    async def quota(shell: Shell) -> None:
        raise QuotaUsedError("used up")

    @command(app, "silent")
    def silent(shell: Shell) -> None:
        raise SilentError("broken")

    assert CliRunner().invoke(app, ["quota"]).exit_code == EXIT_NO
    assert CliRunner().invoke(app, ["silent"]).exit_code == EXIT_ERROR


async def test_the_kind_of_an_error_survives_the_control_socket(tmp_path: Path) -> None:
    async def handler(op: str, args: Mapping[str, JsonValue], uid: int | None) -> JsonValue:
        if op == "quota":
            raise QuotaUsedError("used up")
        if op == "nested":
            raise ControlError("as it was told", type_name="QuotaUsedError", kind="conflict")
        raise ZeroDivisionError

    lock = WriterLock(tmp_path / "journal.lock")
    lock.acquire()
    server = ControlServer(tmp_path / "journal.sock", handler)
    lock.describe(pid=os.getpid(), socket=str(await server.start()))
    try:
        for op in ("quota", "nested"):
            with pytest.raises(ControlError, match=r"used up|as it was told") as caught:
                await control_call(tmp_path / "journal.lock", op)
            assert (caught.value.type_name, caught.value.kind) == ("QuotaUsedError", "conflict")
            assert exit_code_of(caught.value) == EXIT_NO
        with pytest.raises(ControlError, match="the operation failed") as caught:
            await control_call(tmp_path / "journal.lock", "defect")
        assert (caught.value.type_name, caught.value.kind) == ("ZeroDivisionError", "fault")
    finally:
        await server.close()
        lock.release()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b'{"error": {"type": "ApprovalAnsweredError", "message": "m"}}', ApprovalAnsweredError.kind),
        (b'{"error": {"type": "ApprovalAnsweredError", "message": "m", "kind": "of next year"}}', "conflict"),
        (b'{"error": {"type": "ValueError", "message": "m"}}', "fault"),
    ],
)
def test_an_answer_of_another_version_has_the_kind_that_its_name_has_here(said: bytes, kind: str) -> None:
    with pytest.raises(ControlError) as caught:
        _result("anything", said)
    assert caught.value.kind == kind


def test_an_answer_is_logged_at_the_level_of_its_kind(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="loom.test"):
        for kind in KINDS_OF_ANSWERS:
            log_answer(get_logger("loom.test"), "answered", ControlError("said", kind=kind))
    assert [record.levelname.lower() for record in caplog.records] == [ANSWER_LEVELS[kind] for kind in KINDS_OF_ANSWERS]
