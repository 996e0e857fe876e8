"""An install without any extra works: what it brings to looms and to the shell can be loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
_LOADS = """
import importlib.abc, importlib.metadata, json, sys

class Refused(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in set(json.loads(sys.argv[1])):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refused())
for point in json.loads(sys.argv[2]):
    importlib.metadata.EntryPoint(name="x", value=point, group="loom").load()
print("loaded")
"""
_EXTRAS = (
    "asyncpg",
    "cryptography",
    "fastapi",
    "httpx2",
    "jinja2",
    "joserfc",
    "mcp",
    "mcp_types",
    "numpy",
    "opentelemetry",
    "pyarrow",
    "pydantic_ai",
    "restate",
    "rfc3161_client",
    "starlette",
    "uvicorn",
)


def test_what_loom_brings_is_loaded_without_any_extra() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    values = [value for group in ("loom.extensions", "loom.commands") for value in points[group].values()]
    assert len(values) > 10
    for refused, loads in ((_EXTRAS, True), (("pydantic",), False)):
        done = subprocess.run(
            [sys.executable, "-c", _LOADS, json.dumps(refused), json.dumps(values)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            cwd=ROOT,
        )
        assert (done.stdout.strip() == "loaded") == loads, done.stderr[-800:]
