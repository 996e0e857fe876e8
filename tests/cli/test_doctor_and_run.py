"""`loom doctor` builds what `loom run` builds: it passes exactly the configs that a loom starts with."""

from __future__ import annotations

import asyncio
import grp
import os
from pathlib import Path

import pytest

from loom import Loom
from loom.journal.sqlite import JournalFiles, WriterLock
from tests.cli.support import Answer, configured, invoke, run

IMPORTS = "from loom import Actor, Command, Evaluation, Facts, Params, allow, policy\n"
TWO_OF_ONE_TYPE = """
class One(Actor[None]):
    actor_type = "same"

    async def execute(self, command: Command[str]) -> str:
        return ""


class Other(Actor[None]):
    actor_type = "same"

    async def execute(self, command: Command[str]) -> str:
        return ""
"""
IMPURE = """
import time

@policy("late", Params())
def late(params: Params, facts: Facts) -> Evaluation:
    return allow() if time.time() else allow()
"""
HYBRID = "decision_traces: {llm_enrichment: {mode: hybrid}}\n"
BROKEN = {
    "a key that there is none of": ("nonsense: 1\n", ""),
    "a value of another type": ("actors: {mailbox_size: many}\n", ""),
    "a model whose key is not set": (
        f"{HYBRID}critic_llm: {{provider: openai, model: m, api_key: '${{NO_KEY}}'}}\n",
        "",
    ),
    "an extension that is not installed": ("extensions: [none_such]\n", ""),
    "a master key that is not there": ("sealing: {enabled: true}\nextensions: [circuits]\n", ""),
    "circuits that cannot be imported": ("circuits: {modules: [no_such_circuits]}\n", ""),
    "a group that is not there": ("operations: {socket_group: no_such_group}\n", ""),
    "a module that is not there": ("modules: [no_such_module]\n", ""),
    "code that raises": ("", "raise RuntimeError('no luck')"),
    "an actor that has no execute": ("", "class Mine(Actor[None]):\n    pass"),
    "two actors of one type": ("", TWO_OF_ONE_TYPE),
    "a rule that looks at the clock": ("", IMPURE),
}
SOUND = {"nothing but defaults": ("", ""), "a mode without a model": (HYBRID, "")}


@pytest.mark.parametrize("case", [*BROKEN, *SOUND])
def test_doctor_passes_exactly_what_run_starts_with(tmp_path: Path, case: str) -> None:
    more, code = {**BROKEN, **SOUND}[case]
    (tmp_path / "mine.py").write_text(IMPORTS + code, encoding="utf-8")
    modules = "" if "modules:" in more.partition("{")[0] else "modules: [mine]\n"
    (tmp_path / "loom.config.yaml").write_text(f"data: data\n{modules}{more}", encoding="utf-8")

    examined, started = run("doctor", cwd=tmp_path), _started(tmp_path)

    assert (started.code == 0) == (case in SOUND), started
    assert (examined.code == 0) == (started.code == 0), examined
    assert ("promises cannot be kept" in examined.out) == (started.code != 0)


def _started(directory: Path) -> Answer:
    """Start a loom, in a copy of what doctor has to have left as it was."""
    assert {path.name for path in directory.iterdir()} <= {"loom.config.yaml", "mine.py", "__pycache__"}
    return run("run", "--once", cwd=directory)


def test_a_path_that_is_too_long_for_the_socket_of_a_group_is_found(tmp_path: Path) -> None:
    own = grp.getgrgid(os.getgid()).gr_name
    config = tmp_path / "loom.config.yaml"
    for data, code in (("data", 0), ("d" * 120, 1)):
        config.write_text(f"data: {data}\noperations: {{socket_group: {own}}}\n", encoding="utf-8")
        assert invoke("doctor", config=config).code == code


def test_a_directory_that_cannot_be_written_is_a_promise_that_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "loom.config.yaml"
    config.write_text("data: data\n", encoding="utf-8")
    may = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and may(path, mode))

    said = invoke("doctor", config=config)

    assert said.code == 1
    assert "nothing can be run or answered" in " ".join(said.out.split())


def test_a_mode_without_a_model_is_something_to_look_at(tmp_path: Path) -> None:
    config = tmp_path / "loom.config.yaml"
    config.write_text(f"data: data\n{HYBRID}", encoding="utf-8")

    said = invoke("doctor", config=config)

    assert said.code == 0
    assert "its mode is hybrid, and no model is named" in " ".join(said.out.split())
    assert "something to look at" in said.out


def test_a_master_key_that_does_not_open_the_keys_at_hand_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio
    import base64

    from loom import Loom
    from loom.circuits import Circuits
    from loom.sealing import MASTER_KEY

    config = tmp_path / "loom.config.yaml"
    config.write_text("data: data\nextensions: [circuits]\nsealing: {enabled: true}\n", encoding="utf-8")
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(b"k" * 32).decode())

    async def seal() -> None:
        async with Loom.open(config, by="robin") as loom:
            vault = Circuits.of(loom).fields.vault
            assert vault is not None
            await vault.seal("ada", "secret", about="x")

    asyncio.run(seal())
    keys = tmp_path / "data" / "default" / "journal.keys"
    before = keys.read_bytes()
    assert invoke("doctor", config=config).code == 0
    monkeypatch.setenv(MASTER_KEY, base64.b64encode(b"q" * 32).decode())
    other = invoke("doctor", config=config)
    assert other.code == 1, other
    assert "does not start with this config" in " ".join(other.out.split())
    assert keys.read_bytes() == before


async def test_doctor_names_what_failed_in_the_background_of_a_running_loom(tmp_path: Path) -> None:
    config = tmp_path / "loom.config.yaml"
    config.write_text("data: data\njournal: {min_free_bytes: 0}\n", encoding="utf-8")

    async def fails() -> None:
        raise OSError("the disk is gone")

    async with Loom.open(config) as loom:
        await asyncio.wait([loom.background.start(fails(), name="loom-mine")])
        await asyncio.sleep(0)
        answer = await asyncio.to_thread(invoke, "doctor", "--json", config=config)

    found = [each for each in answer.json["checks"] if each["about"] == "background"]
    assert [(each["mark"], each["found"]) for each in found] == [
        ("look", "loom-mine failed and ended: OSError: the disk is gone")
    ]


def test_a_process_that_has_the_lock_and_does_not_run_the_workspace_is_not_called_silent(tmp_path: Path) -> None:
    config = configured(tmp_path)
    assert invoke("run", "--once", config=config).code == 0
    lock = WriterLock(JournalFiles(tmp_path / "data" / "w" / "journal.db").lock)
    lock.acquire()
    try:
        said = invoke("doctor", config=config).out
    finally:
        lock.release()
    assert f"process {os.getpid()} holds the lock and does not run the workspace: it opens it, or stands by" in said
    assert "does not answer" not in said
