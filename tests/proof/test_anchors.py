"""Anchors: a directory and an address; what they have counts as far as a known key has signed it."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loom.config import LoomConfig
from loom.journal.roots import Root
from loom.journal.sqlite.verify import verify
from loom.proof import Checkpoint, CutError, Note
from loom.proof.anchors import DirectoryAnchor, HttpAnchor
from loom.proof.config import AnchorsConfig, CheckpointsConfig, TimeStampsConfig
from loom.proof.errors import AnchorError
from loom.proof.notes import Signature
from tests.journal.support import filled
from tests.proof.support import configured, cut, noted, opened

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def note(size: int, origin: str = "loom/1/default") -> Note:
    return Note(str(Checkpoint(origin, size, bytes(32))), (Signature(origin, b"abcd", bytes(64)),))


class Notary:
    """Keeps the notes that it is sent; `status` and `text`, where set, are what it answers instead."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.status: int | None = None
        self.text: str | None = None


@contextmanager
def keeping(notary: Notary) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            notary.notes.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._answer("")

        def do_GET(self) -> None:
            self._answer(notary.notes[-1] if notary.notes else "")

        def _answer(self, text: str) -> None:
            raw = (text if notary.text is None else notary.text).encode()
            is_missing = self.command == "GET" and not notary.notes and notary.text is None
            self.send_response(notary.status or (404 if is_missing else 200))
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/checkpoints"
        finally:
            server.shutdown()
            thread.join()


def test_a_directory_keeps_every_note_and_a_torn_line_harms_no_other(tmp_path: Path) -> None:
    anchor = DirectoryAnchor(tmp_path, "default")
    assert list(anchor.newest()) == []
    anchor.put(note(3), at=NOW)
    file = tmp_path / "default.checkpoints"
    file.write_bytes(file.read_bytes() + b'{"at": "2026-')
    anchor.put(note(9), at=NOW)
    file.write_bytes(file.read_bytes() + b"[1]\n\xff\n{}\nnull\n")
    assert [(each.checkpoint.size, each.at) for each in anchor.newest()] == [(9, NOW), (3, NOW)]
    assert [each.note for each in anchor.all()] == [note(3), note(9)]
    assert file.stat().st_mode & 0o777 == 0o600
    for broken in (DirectoryAnchor(tmp_path / "missing", "default"), DirectoryAnchor(file, "default")):
        with pytest.raises(AnchorError):
            broken.put(note(1), at=NOW)


def test_an_address_takes_notes_and_gives_the_newest_or_says_what_is_wrong() -> None:
    notary = Notary()
    with keeping(notary) as url:
        anchor = HttpAnchor(url, timeout_s=5)
        assert list(anchor.newest()) == []
        anchor.put(note(4), at=NOW)
        assert [each.note for each in anchor.all()] == [note(4)]
        for status, text in ((500, None), (302, None), (200, "no note"), (200, "x" * 2_000_000)):
            notary.status, notary.text = status, text
            with pytest.raises(AnchorError):
                anchor.newest()
        notary.status, notary.text = 503, None
        with pytest.raises(AnchorError, match="503"):
            anchor.put(note(5), at=NOW)
    with pytest.raises(AnchorError, match="does not answer"):
        anchor.newest()


async def test_a_journal_is_compared_with_an_address_and_opens_where_it_does_not_answer(tmp_path: Path) -> None:
    notary = Notary()

    def config(url: str) -> LoomConfig:
        found = configured(tmp_path, at_close=False)
        anchors = AnchorsConfig(endpoints=(url,), timeout_s=5)
        return found.model_copy(update={"sections": {**found.sections, "anchors": anchors}})

    with keeping(notary) as url:
        async with opened(config(url)) as loom:
            part = await noted(loom, 3)
            first = await part.sign()
            await noted(loom, 1)
            notary.status = 500
            second = await part.sign()
            assert part.anchors[url].problem is not None, "it is shown, and the checkpoint is there all the same"
            assert first is not None
            assert second is not None
            assert second.size > first.size
            files = loom.files
        notary.status = None
        notary.notes.append(str(second.note))
        async with opened(config(url)):
            pass
        cut(files.journal, second.size - 1)
        with pytest.raises(CutError, match="are gone"):
            async with opened(config(url)):
                pass
        notary.notes.append(str(note(10_000)))
        async with opened(config(url)):
            pass  # no known key has signed that: it is logged, and shows nothing
    async with opened(config(url)) as loom:
        assert loom.store.acknowledged


async def test_an_anchored_root_shows_a_cut_and_one_in_the_journal_itself_only_a_rewrite(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await filled(path, {"agent/1": 6})
    whole = verify(path)
    assert whole.root is not None
    known = Root(6, bytes.fromhex(whole.root))
    path.with_suffix(".heads").unlink()
    assert verify(path, anchored=[known]).anchored_through == 6
    assert verify(path, signed=[known]).anchored_through == 0
    other = Root(6, bytes(32))
    longer = Root(9, bytes(32))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"anchored": [other]}, "REWRITTEN"),
        ({"signed": [other]}, "REWRITTEN"),
        ({"anchored": [longer]}, "CUT"),
        ({"signed": [longer]}, "TRUNCATED"),
    ]
    for roots, code in cases:
        found = verify(path, **roots)
        assert not found.ok
        assert code in {each.code for each in found.findings}


@pytest.mark.parametrize(
    "url", ["ftp://a.example/x", "http://a.example/x", "https://user@a.example/x", "none", "https://[", "https:///x"]
)
def test_an_address_that_cannot_be_one_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        AnchorsConfig(endpoints=(url,))


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    assert TimeStampsConfig(url="http://stamps.example.org").every_s == 3_600
    public = base64.b64encode(bytes(32)).decode()
    with pytest.raises(ValueError, match="not both"):
        CheckpointsConfig(key_file=tmp_path / "key", command=("sign",), public_key=public)
    for witness in ("none", "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"):
        with pytest.raises(ValueError, match="key"):
            CheckpointsConfig(witnesses=(witness,))
