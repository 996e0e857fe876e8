"""Adds policies of the catalogue to versions.json; what is there already is final and is never written again.

Run `python -m tests.policies.golden.add` from the root of the repository. A test that fails because a version in the
file has changed is not mended here: the change would orphan every decision that names such a version.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.policies.catalogue import CATALOGUE

VERSIONS = Path(__file__).with_name("versions.json")


def read() -> dict[str, Any]:
    versions: dict[str, Any] = json.loads(VERSIONS.read_text(encoding="utf-8")) if VERSIONS.exists() else {}
    return versions


def main() -> None:
    versions = read()
    for name, policy in CATALOGUE.items():
        if name not in versions:
            versions[name] = {"hash": policy.version_hash, "document": policy.document}
    VERSIONS.write_text(json.dumps(versions, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
