"""What a config says of published views: which, where, for whom; and what a loom makes of it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from loom.config import LoomConfig
from loom.doctor.publishing import check_published
from loom.errors import ConfigError
from loom.journal.places import NodeFiles
from loom.journal.postgres.url import PostgresUrl
from loom.journal.sqlite import JournalFiles
from loom.publishing import PublishConfig
from loom.publishing.making import chosen_views, views_url
from loom.runtime import Loom
from loom.workspace import locate, own_projections
from tests.postgres_server import PASSWORD, Place
from tests.publishing.support import views_of


def config(**publish: object) -> LoomConfig:
    return LoomConfig(sections={"publish": PublishConfig.model_validate(publish)})


def test_views_are_published_next_to_the_journal_unless_a_url_says_otherwise(tmp_path: Path) -> None:
    at_server = NodeFiles(tmp_path, PostgresUrl.parse("postgresql://x@h/d?workspace=sales"))
    in_file = JournalFiles(tmp_path / "journal.db")
    assert views_url(config(), at_server, workspace="sales").schema == "loom_sales_views"
    other = config(url="postgresql://x:secret@h/bi")
    assert views_url(other, in_file, workspace="sales").schema == "loom_sales_views"
    named = config(url="postgresql://x@h/bi?schema=reports")
    assert views_url(named, in_file, workspace="sales").schema == "reports"
    assert "secret" not in f"{other!r} {views_url(other, in_file, workspace='sales')!r}"
    with pytest.raises(ConfigError, match=r"publish\.url"):
        views_url(config(views=["*"]), in_file, workspace="sales")


def test_only_views_that_say_how_can_be_named() -> None:
    assert [each.name for each in chosen_views(config(views=["runs"]), own_projections())] == ["runs"]
    assert len(chosen_views(config(views=["*"]), own_projections())) > 5
    assert chosen_views(config(), own_projections()) == []
    with pytest.raises(ConfigError, match=r"names \[nonsense\]; expected some of \[approvals"):
        chosen_views(config(views=["runs", "nonsense"]), own_projections())


async def test_a_loom_publishes_what_its_config_names(place: Place, tmp_path: Path) -> None:
    given = LoomConfig.model_validate({"data": str(tmp_path / "data"), "journal": {"url": place.text}})
    given = given.model_copy(update={"sections": {"publish": PublishConfig(views=("runs",))}})
    async with Loom.open(given, by="ana") as loom:
        await loom.runs.start(kind="simulation", note="for the board")
        assert loom.publisher is not None
        await loom.publisher.reached(loom.store.acknowledged, timeout_s=30)
        assert [(each.name, each.lag, each.problem) for each in loom.publisher.status()] == [("runs", 0, None)]
    connection = await place.connect()
    rows = await connection.fetch(f'SELECT kind, note, started_at FROM "{views_of(place)}".runs')
    await connection.close()
    assert [(row["kind"], row["note"]) for row in rows] == [("simulation", "for the board")]
    assert rows[0]["started_at"].year >= 2026


async def test_the_shell_and_the_doctor_say_how_far_published_views_are(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loom.config.yaml").write_text(
        f"data: {tmp_path / 'data'}\njournal:\n  url: ${{LOOM_URL}}\npublish:\n  views: [runs, traces]\n"
    )
    monkeypatch.setenv("LOOM_URL", place.text)
    config_file = str(tmp_path / "loom.config.yaml")
    async with Loom.open(config_file, by="ana") as loom:
        await loom.runs.start(kind="simulation", note="x")
        assert loom.publisher is not None
        await loom.publisher.reached(loom.store.acknowledged, timeout_s=30)
        checks = [each async for each in check_published(locate(config_file))]
        assert [each.mark for each in checks] == ["ok"]
        assert "2 in" in checks[0].found
    ran = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loom.cli", "--config", config_file, "--json", "views", stdout=-1, stderr=-1
    )
    out, err = await ran.communicate()
    assert ran.returncode == 0, err
    rows = {each["name"]: each for each in json.loads(out)}
    assert rows["runs"]["published"]["lag"] <= 3  # the process has resigned since
    assert rows["turns"]["published"] is None
    assert PASSWORD.encode() not in out + err
