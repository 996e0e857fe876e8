"""Every key of the config: what it may be and its default, from the models; below it the file with all keys."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from loom.cli.reference.shapes import Shape, shapes_of, table
from loom.config import CONFIG_NAME, LoomConfig
from loom.workspace import sections

__all__ = ["config_page"]

_PACKAGE = Path(__file__).parents[2]
_PLACES = (_PACKAGE / "docs" / CONFIG_NAME, _PACKAGE.parent / CONFIG_NAME)

_BEGINS = f"""# Config

Every key of `{CONFIG_NAME}`, from the models that read it, with the sections of the extensions that are installed.
All are optional. Keys may be written in snake_case, camelCase or with-dashes; text may hold `${{VAR}}` and
`${{VAR:-default}}`. A number that can change an outcome is no config: it is a parameter of a policy.
"""


def config_page() -> str:
    """Return the page."""
    core = dict(_models(LoomConfig))
    own = [each for each in shapes_of(LoomConfig) if each.name.strip("`") not in {*core, "sections"}]
    parts = [_BEGINS, "## The file itself", "", table(own), ""]
    for name, model in sorted({**core, **sections()}.items()):
        parts += [f"## {name}", "", inspect.cleandoc(model.__doc__ or ""), "", table(list(_flat(model))), ""]
    sample = next((place for place in _PLACES if place.is_file()), None)
    if sample is not None:
        parts += [
            "## All keys with their defaults",
            "",
            "```yaml",
            sample.read_text(encoding="utf-8").strip(),
            "```",
            "",
        ]
    return "\n".join(parts)


def _models(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation


def _flat(model: type[BaseModel], prefix: str = "") -> Iterator[Shape]:
    """Yield the keys of a section and of the sections within it, by their paths."""
    within = dict(_models(model))
    for each in shapes_of(model):
        name = each.name.strip("`")
        if name in within:
            yield from _flat(within[name], f"{prefix}{name}.")
        else:
            yield each._replace(name=f"`{prefix}{name}`")
