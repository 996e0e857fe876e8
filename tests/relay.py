"""A network between a process and a server that can be cut: what is sent waits, and arrives when it is whole again.

So packets do that are lost and sent again. No end of a connection hears anything of a cut but silence.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

__all__ = ["Relay"]


class Relay:
    """Relays TCP connections to a port of this machine; with `with`, it ends with all of them."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._whole = threading.Event()
        self._whole.set()
        self._sockets: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.heal()
        for each in (self._listening, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def cut(self) -> None:
        """Let nothing through in either direction, and no new connection."""
        self._whole.clear()

    def heal(self) -> None:
        """Let all through that waits, and what comes."""
        self._whole.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the end of the test
            while True:
                theirs, _ = self._listening.accept()
                ours = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [theirs, ours]
                for source, sink in ((theirs, ours), (ours, theirs)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while given := source.recv(1 << 16):
                self._whole.wait()
                sink.sendall(given)
            self._whole.wait()
            sink.shutdown(socket.SHUT_WR)
