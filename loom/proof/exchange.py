"""One request to one address, and its answer: nothing is followed, and no proxy of the environment is used."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from loom.proof.errors import AnchorError

__all__ = ["Answered", "exchange"]

_MOST_BYTES = 1_048_576


class Answered(NamedTuple):
    """The status of an answer, and its body."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """Its body as text; what is no UTF-8 is replaced."""
        return self.body.decode(errors="replace")


def exchange(
    method: str, url: str, body: bytes | None = None, *, content_type: str = "text/plain", timeout_s: float = 10.0
) -> Answered:
    """Send a request and return the answer, whatever its status; raise `AnchorError` where there is none."""
    import http.client  # a loom without such an anchor does not wait for it

    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
        connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = connect(host, port, timeout=timeout_s)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = {"User-Agent": "loom", **({} if body is None else {"Content-Type": content_type})}
            connection.request(method, target, body=body, headers=headers)
            answer = connection.getresponse()
            raw = answer.read(_MOST_BYTES + 1)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise AnchorError(
            f"[{url}] does not answer [{type(error).__name__}: {error}]; expected an answer within [{timeout_s:g}] s: "
            "see whether it runs"
        ) from error
    if len(raw) > _MOST_BYTES:
        raise AnchorError(
            f"[{url}] answers with more than [{_MOST_BYTES}] bytes; expected a checkpoint: see what it is"
        )
    return Answered(answer.status, raw)
