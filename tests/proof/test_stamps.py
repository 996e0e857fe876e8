"""A time stamp is of one checkpoint, by one authority, and its signature is checked against roots that are trusted."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loom.config import LoomConfig
from loom.journal.sqlite import Reader
from loom.proof.config import AnchorsConfig, TimeStampsConfig
from loom.proof.errors import AnchorError
from loom.proof.stamps import certificates_in, read_stamp, stamped
from loom.proof.verifying import evidence_of
from tests.proof.support import configured, noted, opened

pytest.importorskip("rfc3161_client", reason="the extra `timestamps` is not installed")
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to be an authority with")

_TSA = """
[tsa]
default_tsa = tsa1
[tsa1]
serial = {0}/serial
signer_cert = {0}/tsa.pem
signer_key = {0}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
"""
_EXTENSIONS = "extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\nbasicConstraints=CA:FALSE\n"


def openssl(*arguments: object, cwd: Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Serve an authority of our own; yield its address and its directory with root.pem and other.pem."""
    base = tmp_path_factory.mktemp("tsa")
    for name in ("root", "other"):
        openssl(
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.pem",
            "-days",
            "30",
            "-subj",
            f"/CN={name}",
            "-addext",
            "keyUsage=critical,keyCertSign",
            cwd=base,
        )
    (base / "extensions").write_text(_EXTENSIONS)
    openssl(
        "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=tsa", cwd=base
    )
    openssl(
        "x509",
        "-req",
        "-in",
        "tsa.csr",
        "-CA",
        "root.pem",
        "-CAkey",
        "root.key",
        "-CAcreateserial",
        "-days",
        "30",
        "-extfile",
        "extensions",
        "-out",
        "tsa.pem",
        cwd=base,
    )
    (base / "tsa.conf").write_text(_TSA.format(base))
    (base / "serial").write_text("01\n")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (base / "q.tsq").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
            openssl("ts", "-reply", "-config", base / "tsa.conf", "-queryfile", "q.tsq", "-out", "a.tsr", cwd=base)
            raw = (base / "a.tsr").read_bytes()
            self.send_response(200 if self.path == "/tsa" else 503)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/tsa", base
        server.shutdown()
        thread.join()


def test_a_stamp_is_of_its_text_alone_and_by_an_authority_that_is_trusted(authority: tuple[str, Path]) -> None:
    url, base = authority
    found = stamped(url, b"a checkpoint")
    trusted, others = certificates_in(base / "root.pem"), certificates_in(base / "other.pem")
    assert read_stamp(found.text, b"a checkpoint", certificates=trusted) == found
    for token, message, certificates in (
        (found.text, b"another", trusted),
        (found.text, b"a checkpoint", others),
        (found.token[:-9], b"a checkpoint", trusted),
        (b"none", b"a checkpoint", trusted),
        ("no base64", b"a checkpoint", trusted),
    ):
        with pytest.raises(AnchorError):
            read_stamp(token, message, certificates=certificates)
    with pytest.raises(AnchorError, match="503"):
        stamped(url.removesuffix("tsa"), b"a checkpoint")


async def test_a_checkpoint_is_stamped_once_in_a_while_and_verify_says_since_when(
    authority: tuple[str, Path], tmp_path: Path
) -> None:
    url, base = authority

    def config(certificates: str) -> LoomConfig:
        stamps = TimeStampsConfig(url=url, certificates=base / certificates)
        found = configured(tmp_path, at_close=False)
        return found.model_copy(update={"sections": {**found.sections, "anchors": AnchorsConfig(timestamps=(stamps,))}})

    async with opened(config("root.pem")) as loom:
        part = await noted(loom, 1)
        first = await part.sign()
        assert first is not None
        assert part.log.stamps[url].size == first.size
        await noted(loom, 1)
        await part.sign()
        assert part.log.stamps[url].size == first.size, "once an hour"
        assert part.pending == 0
        files = loom.files
    reader = Reader(files.journal)
    seen = await evidence_of(reader, "default", files, config("root.pem"))
    assert [(each.size, each.problem) for each in seen.anchors] == [(first.size, None)]
    strange = await evidence_of(reader, "default", files, config("other.pem"))
    assert [each.code for each in strange.findings] == ["UNKNOWN_SIGNER"]
    await reader.close()
