"""A local server that speaks the chat-completions protocol, well or badly, for the critic that asks a model."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = {
    "deeper_rationale": "the customer is worth it",
    "critical_factors": [{"factor": "arr", "impact": "high", "reasoning": "500 k"}],
    "risk": {"level": "low", "factors": [], "mitigation": "none needed"},
    "alternatives": [{"option": "wait", "pros": ["cheap"], "cons": ["slow"], "why_rejected": "urgent"}],
    "precedent_relevance": "two alike",
    "confidence": 0.9,
}


class Endpoint:
    """What was asked, and what is answered: `answer` gets the request's body and returns status, headers, body."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.authorisations: list[str | None] = []
        self.answer: Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]] = self.says(GOOD)
        self.slow_s = 0.0
        self.url = ""

    def says(
        self, analysis: object, *, usage: dict[str, int] | None = None, model: str = "gpt-4o-mini"
    ) -> Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]:
        """Answer with an analysis, as a tool call where one is asked for."""

        def answer(body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
            text = analysis if isinstance(analysis, str) else json.dumps(analysis)
            message: dict[str, Any] = {"role": "assistant", "content": text}
            if body.get("tools"):
                name = body["tools"][0]["function"]["name"]
                call = {"id": "call-1", "type": "function", "function": {"name": name, "arguments": text}}
                message = {"role": "assistant", "content": None, "tool_calls": [call]}
            counted = usage or {"prompt_tokens": 1_000, "completion_tokens": 200, "total_tokens": 1_200}
            said = {
                "id": "chat-1",
                "object": "chat.completion",
                "created": 1_700_000_000,
                "model": model,
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": counted,
            }
            return 200, {}, json.dumps(said).encode()

        return answer

    def refuses(
        self, status: int, headers: dict[str, str] | None = None, body: bytes = b'{"error": {"message": "no"}}'
    ) -> Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]:
        """Answer with an error."""
        return lambda _: (status, headers or {}, body)


@contextmanager
def served() -> Iterator[Endpoint]:
    """Serve on a free port of loopback."""
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            endpoint.asked.append(body)
            endpoint.authorisations.append(self.headers.get("authorization"))
            time.sleep(endpoint.slow_s)
            status, headers, answer = endpoint.answer(body)
            cut = headers.pop("x-cut", None)
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.send_header("connection", "close")
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(answer[: len(answer) // 2] if cut else answer)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
