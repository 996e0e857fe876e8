"""How much code there is, as data: `python -m benchmarks.statements REVISION [REVISION …]`.

A statement is a node of the syntax tree that is one (`ast.stmt`), so that neither layout nor comments count. Revisions
are read out of git; the total comes first, then the rooms that changed from the first revision to the last.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import tarfile
from collections import Counter


def statements(revision: str) -> Counter[str]:
    """Return room → statements of loom at a revision; a module at the top is a room of its own."""
    packed = subprocess.run(["git", "archive", revision, "loom"], capture_output=True, check=True).stdout  # noqa: S607
    counts: Counter[str] = Counter()
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        for member in files:
            source = files.extractfile(member) if member.name.endswith(".py") else None
            if source is not None:
                room = member.name.split("/")[1].removesuffix(".py")
                counts[room] += sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(source.read())))
    return counts


def main() -> None:
    """Print a table: rooms by row, revisions by column."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revisions", nargs="+")
    revisions: list[str] = parser.parse_args().revisions
    found = [statements(each) for each in revisions]
    rooms = sorted(set().union(*found))
    changed = [room for room in rooms if len(found) == 1 or found[0][room] != found[-1][room]]
    print(f"{'':14}", *(f"{each:>12.12}" for each in revisions))
    print(f"{'all':14}", *(f"{each.total():>12,}" for each in found))
    for room in changed:
        print(f"{room:14}", *(f"{each[room]:>12,}" for each in found))


if __name__ == "__main__":
    main()
