"""An HTTP server on 127.0.0.1 that behaves as badly as it is told to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """What it serves and how.

    Attributes:
        files: by path, e.g. ``{"/folder/a.png": b"…"}``.
        faults: by path, what goes wrong at the first, second, … request: ``"break"`` (off in the middle), ``"stall"``, a
            status code, ``"html"`` (a web page), ``"wrong"`` (other bytes), ``"short"`` (half of it, said to be all),
            ``"no range"`` (goes back to the start when asked to go on), ``"other range"`` (goes on elsewhere), "" (nothing).
            After these, nothing does.
        requests: (path, Range header) of every request.
        etag: whether it tells an ETag.
        delay: seconds before each answer.
        pause: seconds after each 32 kB of an answer.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str | int]] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    etag: bool = True
    delay: float = 0.0
    pause: float = 0.0
    url: str = ""

    def served(self, path: str) -> int:
        return sum(requested == path for requested, _ in self.requests)


class Handler(BaseHTTPRequestHandler):
    behaviour: Server

    def do_GET(self) -> None:
        told, path = self.behaviour, self.path
        told.requests.append((path, self.headers.get("Range")))
        number = told.served(path) - 1
        faults = told.faults.get(path, [])
        fault = faults[number] if number < len(faults) else ""
        time.sleep(told.delay)
        body = told.files.get(path)
        if body is None or isinstance(fault, int):
            self.send_error(fault if isinstance(fault, int) else 404)
            return
        if fault == "html":
            self.answer(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
            return
        if fault == "wrong":
            body = body[::-1]
        if fault == "short":
            body = body[: len(body) // 2]
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if start > len(body):
            self.send_error(416)
            return
        if fault == "no range":
            start = 0
        if fault == "other range":
            start -= 1
        headers = {"ETag": '"1"'} if told.etag else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.answer(206 if start else 200, body[start:], headers, str(fault))

    def answer(self, status: int, body: bytes, headers: dict[str, str], fault: str = "") -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body)), "Content-Type": "image/png"} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if fault in ("break", "stall"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if fault == "stall":
                time.sleep(1.5)
            self.close_connection = True
            self.connection.close()
            return
        for start in range(0, len(body), 2**15):
            self.wfile.write(body[start : start + 2**15])
            time.sleep(self.behaviour.pause)

    def log_message(self, *arguments: object) -> None:
        pass

    def finish(self) -> None:
        with suppress(OSError, ValueError):  # the connection was closed on purpose
            super().finish()


@contextmanager
def serving(behaviour: Server) -> Iterator[Server]:
    handler = type("Told", (Handler,), {"behaviour": behaviour})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *arguments: None  # type: ignore[method-assign]
    behaviour.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield behaviour
    finally:
        server.shutdown()
        server.server_close()
