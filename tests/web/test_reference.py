"""`/docs`: every operation of the document, in plain words, with nothing from elsewhere and nothing that runs."""

from __future__ import annotations

import html
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from loom import Actor, Command
from loom.web import routes as rooms
from tests.web.support import served


class Shout(Command[str]):
    """Say it <script>alert(1)</script> louder & "clearer"."""

    word: str


class Crier(Actor[None]):
    async def execute(self, command: Shout) -> str:
        return command.word.upper()


class _Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.names: set[str] = set()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.names |= {name for name in given if name.startswith("on") or name == "style"}
        self.loads += [str(given[name]) for name in ("src", "href") if given.get(name)]
        if given.get("id"):
            self.ids.append(str(given["id"]))


def test_every_module_of_routes_is_served() -> None:
    there = [import_module(f"{rooms.__name__}.{each.name}") for each in iter_modules(rooms.__path__)]
    unserved = {each.__name__ for each in there if hasattr(each, "routes")} - {each.__name__ for each in rooms._NOUNS}
    assert unserved == set(), "name it in loom/web/routes/__init__.py"


async def test_the_page_has_every_operation_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    async with served(tmp_path, actors=(Crier,)) as client:
        page = await client.call("GET", "/docs", role=None, workspace="")
        document = (await client.call("GET", "/openapi.json", role=None, workspace="")).json
        seen = _Seen()
        seen.feed(page.body.decode())
        assert page.status == 200
        assert "script-src" not in page.headers["content-security-policy"]
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert "script" not in seen.tags
        assert not seen.names
        assert all(each.startswith(("/docs/", "/openapi.json", "#")) for each in seen.loads), seen.loads
        assert len(seen.ids) == len(set(seen.ids))
        text = html.unescape(page.body.decode())
        for path, item in document["paths"].items():
            assert f"<code>{path}</code>" in text, path
            assert all(each["operationId"] in seen.ids for each in item.values()), path
        assert 'Say it <script>alert(1)</script> louder & "clearer".' in text
        assert 'http://127.0.0.1:8765/api/actors/crier/KEY/Shout -X POST -d \'{"word": "<text>"}\'' in text
        [style] = [each for each in seen.loads if ".css" in each]
        sheet = await client.call("GET", style, role=None, workspace="")
        assert (sheet.status, sheet.headers["content-type"]) == (200, "text/css; charset=utf-8")
        assert b"url(" not in sheet.body
        assert b"@import" not in sheet.body
