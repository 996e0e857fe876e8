"""What all tests share.

Hypothesis tries the same examples every time; `--hypothesis-profile=explore` looks for new ones.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

from tests.on_postgres import ON_POSTGRES, journals_on, why_skipped
from tests.postgres_server import Place, Server, served

settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=1_000, print_blob=True)
settings.load_profile("ci")


_ROOT, _LOOM = logging.getLogger(), logging.getLogger("loom")
_LEVELS = (_ROOT.level, _LOOM.level)


@pytest.fixture(autouse=True)
def _fresh_logging() -> Iterator[None]:
    """Put the logging of the process back as it was: it is global, and what tests the shell sets it up.

    The levels are those of before the first test: a fixture of a whole session may have used the shell, too.
    """
    handlers = _ROOT.handlers[:]
    _set_levels()
    structlog.reset_defaults()
    yield
    _ROOT.handlers[:] = handlers
    _set_levels()
    structlog.reset_defaults()


def _set_levels() -> None:
    for logger, level in zip((_ROOT, _LOOM), _LEVELS, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server for all tests of this process; they are skipped where the machine has none."""
    with served() as server:
        yield server


@pytest.fixture
async def place(postgres: Server, tmp_path: Path) -> AsyncIterator[Place]:
    """A workspace on that server, with a schema of its own."""
    place = Place(postgres, tmp_path)
    yield place
    await place.close()


@pytest.fixture(autouse=True)
def _journals(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Where `LOOM_TESTS_ON=postgresql` is set, put the journals of tests on a server instead of into files."""
    if not ON_POSTGRES:
        yield
        return
    if (why := why_skipped(request.node)) is not None:
        pytest.skip(why)
    with journals_on(request.getfixturevalue("postgres"), monkeypatch):
        yield
