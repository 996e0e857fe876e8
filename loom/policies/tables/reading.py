"""Tables in files: YAML or JSON, with each key once, and without aliases and tags."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from loom.config.written import read_written
from loom.errors import PolicyTableError
from loom.journal.admission import parse_json
from loom.policies.tables.table import Table

__all__ = ["load_table", "read_table"]


def load_table(path: str | Path) -> Table:
    """Return the table in a file of YAML or JSON; raise `PolicyTableError` where there is none, or it has an error."""
    return read_table(path, checked=True)


def read_table(path: str | Path, *, checked: bool = False) -> Table:
    """Return the table in a file. One with errors of the linter is refused only if `checked`."""
    file = Path(path)

    def parsed(text: str) -> tuple[str, Any]:
        return text, parse_json(text) if file.suffix == ".json" else yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader

    text, written = read_written(file, parsed, what="table", problem=PolicyTableError, fewer="split it")
    return Table.of(written, source=text, checked=checked)


class _Loader(yaml.SafeLoader):
    """YAML with each key once, and without aliases and tags."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Return the next node; raise for an alias or a tag."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            words = f"alias [*{event.anchor}] is used; write it out, or quote what begins with [*]"
            raise yaml.composer.ComposerError(None, None, words, mark)
        if getattr(event, "tag", None) is not None:
            words = f"tag [{event.tag}] is used; quote what begins with [!]"
            raise yaml.composer.ComposerError(None, None, words, mark)
        return super().compose_node(parent, index)


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
    keys = set()
    for key in (loader.construct_object(key, deep=True) for key, _ in node.value):
        if isinstance(key, Hashable):  # the others are refused below
            if key in keys:
                raise yaml.constructor.ConstructorError(None, None, f"key [{key}] is there twice", node.start_mark)
            keys.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


def _equals(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    """Return a bare `=`, which YAML 1.1 has a type of its own for: here it is an operator."""
    return str(loader.construct_scalar(node))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor("tag:yaml.org,2002:value", _equals)
