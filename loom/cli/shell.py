"""The shell's side of a command: which workspace is meant, and where to print.

Nothing heavy is imported until it is needed, so that `loom --help` answers at once.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loom.cli.output import Output
from loom.errors import ConfigError, JournalNotFoundError

if TYPE_CHECKING:
    from loom.config import LoomConfig
    from loom.workspace import Workspace

__all__ = ["Shell"]

_URL = "sqlite://"
_WORKSPACE = "SELECT value FROM meta WHERE key = 'workspace'"
_DEFAULT_DATA = Path("loom-data")


@dataclass(frozen=True)
class Shell:
    """The options that all commands share, and what follows from them."""

    config: Path | None = None
    journal: str | None = None
    workspace: str | None = None
    json: bool = False
    debug: bool = False
    output: Output = field(default_factory=Output)

    def answer(self, document: Any, text: str, *, style: str = "") -> None:
        """Print what was done: as a document to a program, in words to a person."""
        if self.json:
            self.output.document(document)
        else:
            self.output.say(text, style=style)

    @cached_property
    def config_path(self) -> Path | None:
        """The config file that counts: the one named, else the nearest one from here upwards; none with --journal."""
        from loom.config.loading import CONFIG_NAME, find_config

        if self.config is not None:
            return self.config / CONFIG_NAME if self.config.is_dir() else self.config
        return find_config() if self.journal is None else None

    @cached_property
    def settings(self) -> LoomConfig:
        """What the config file says, or the defaults where there is none."""
        from loom.config import LoomConfig, load_config
        from loom.workspace import sections

        return LoomConfig() if self.config_path is None else load_config(self.config_path, sections=sections())

    @cached_property
    def place(self) -> Workspace:
        """The workspace that is meant, whether it exists or not; raise `ConfigError` where nothing says which."""
        from loom.workspace import Workspace, locate

        if self.journal is not None:
            return self.named(self.journal)
        if self.config_path is not None:
            return locate(self.settings, workspace=self.workspace)
        name = self.workspace or "default"
        found = locate(f"{_URL}/{_DEFAULT_DATA / name / 'journal.db'}", workspace=name)
        if found.files.exists():
            return Workspace(found.files, name, self.settings)
        raise ConfigError(
            f"there is no loom in [{Path.cwd()}]; expected loom.config.yaml there or above, or "
            f"[{_DEFAULT_DATA / name / 'journal.db'}]: "
            "begin one with `loom init`, or name one with --config or --journal"
        )

    @property
    def existing(self) -> Workspace:
        """The workspace that is meant, which has a journal; raise `JournalNotFoundError` if it has none."""
        if not self.place.files.exists():
            raise JournalNotFoundError(
                f"there is no journal at [{self.place.files.journal}]; expected one that a loom has written: "
                "start it with `loom run`, or name another with --journal"
            )
        return self.place

    def allow_imports(self) -> None:
        """Make modules in the directory of the config file importable, as the config lists them by name."""
        beside = str((self.config_path or Path.cwd() / "_").absolute().parent)
        if beside not in sys.path:
            sys.path.insert(0, beside)

    def named(self, journal: str) -> Workspace:
        """Return the workspace of a journal file, of its directory, or of a store URL."""
        from loom.journal.places import NodeFiles
        from loom.journal.postgres.url import is_postgres, refuse_password
        from loom.workspace import Workspace, locate

        if is_postgres(journal):
            refuse_password(journal)
            found = locate(journal, workspace=self.workspace)
            assert isinstance(found.files, NodeFiles)  # noqa: S101 - narrows: of such a URL
            files = NodeFiles(self.settings.data / found.name, found.files.url)
            return Workspace(files, found.name, self.settings)
        url = journal
        if not journal.startswith(_URL):
            path = Path(journal)
            if path.is_dir() or not path.suffix:
                path = path / "journal.db"
            url = f"{_URL}/{path}"
        if url in (_URL, f"{_URL}/"):
            raise ConfigError(f"journal [{journal}] is deleted when it is closed; expected a file: name one")
        found = locate(url, workspace=self.workspace or _workspace_of(Path(url.removeprefix(f"{_URL}/"))))
        return Workspace(found.files, found.name, self.settings)


def _workspace_of(path: Path) -> str | None:
    """Return the workspace that a journal says it belongs to; what cannot be read says nothing here."""
    import contextlib
    import sqlite3

    from loom.errors import LoomError
    from loom.journal.sqlite.connection import connect_reader

    try:
        with contextlib.closing(connect_reader(path)) as connection:
            row = connection.execute(_WORKSPACE).fetchone()
    except (LoomError, sqlite3.Error):
        return None
    return None if row is None else str(row[0])
