"""A web server on this machine that makes every known error of servers; the path of the request selects the error."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

CONTENT = bytes(range(256)) * 4096
SHA = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"\n<!DOCTYPE html><title>Please log in</title>"


class Handler(BaseHTTPRequestHandler):
    """Serves `content` below a path that names the error, such as `/cut` or `/cut/archive.zip`."""

    content: ClassVar[bytes] = CONTENT
    files: ClassVar[dict[str, bytes]] = {}
    """Contents by the last part of the path, in place of `content`."""
    ranges: ClassVar[list[str | None]] = []
    """The header `Range` of each request."""
    requests: ClassVar[dict[str, int]] = {}
    """Number of requests by path."""
    elsewhere: ClassVar[str] = ""
    """Where `/redirects` leads."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        Handler.ranges.append(asked)
        Handler.requests[self.path] = Handler.requests.get(self.path, 0) + 1
        kind, _, name = self.path.strip("/").partition("/")
        content = self.files.get(name, self.content)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        match kind:
            case "good" | "resumed":
                if start >= len(content):
                    self.send_error(416)
                    return
                self._send(206 if asked else 200, content[start:])
            case "ignores-range":
                self._send(200, content)
            case "wrong":
                self._send(200, b"x" * len(content))
            case "short":
                self._send(200, content[:1000], length=len(content))
            case "cut":  # the first request gets half, a request with a range gets the rest
                body = content[start:] if asked else content[: len(content) // 2]
                self._send(206 if asked else 200, body, length=len(content) - start)
            case "long":
                self._send(200, content + b"tail", length=len(content) + 4)
            case "understated":  # the announced length is too small
                self._send(200, content, length=1000)
            case "login":
                self._send(200, PAGE)
            case "login-page":
                self._send(200, PAGE, **{"Content-Type": "text/html; charset=utf-8"})
            case "loop":
                self._redirect(self.path)
            case "redirects":
                self._redirect(self.elsewhere)
            case "stall":
                self._begin(len(content))
                self.wfile.write(content[:100])
                self.wfile.flush()
                time.sleep(1.5)
            case "slow":  # honest, in small pieces
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                for begin in range(start, len(content), 8192):
                    self.wfile.write(content[begin : begin + 8192])
                    self.wfile.flush()
                    time.sleep(0.02)
            case "drip":  # never silent for long, and never at an end
                self._begin(len(content))
                for _ in range(30):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.05)
            case "endless":
                self.send_response(200)
                self.end_headers()
                for _ in range(64):
                    self.wfile.write(content[: 1 << 16])
            case "busy":  # fails twice, then works
                if Handler.requests[self.path] < 3:
                    self.send_error(500)
                else:
                    self._send(206 if asked else 200, content[start:])
            case "no-number":
                self.send_response(200)
                self.send_header("Content-Length", "abc")
                self.end_headers()
            case "other-part":  # answers a range with another one
                body = content[start:] if asked else content[: len(content) // 2]
                headers = {"Content-Range": f"bytes 7-{len(content) - 1}/{len(content)}"} if asked else {}
                if Handler.requests[self.path] > 2:
                    self._send(200, content)
                else:
                    self._send(206 if asked else 200, body, len(content) - start, **headers)
            case "changed":  # half of an old file, then a range of a new one, although If-Range was sent
                if not asked and Handler.requests[self.path] == 1:
                    self._send(200, b"o" * (len(content) // 2), len(content), ETag='"old"')
                else:
                    self._send(206 if asked else 200, content[start:], ETag='"new"')
            case "garbage":
                self.wfile.write(b"this is not http\r\n\r\n")
            case _:
                self.send_error(404)

    def _begin(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.end_headers()

    def _send(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing when a client hangs up, which several tests want."""


@contextmanager
def serve(files: dict[str, bytes] | None = None) -> Iterator[str]:
    """Serve on a free port of this machine; yield the address."""
    Handler.ranges, Handler.requests, Handler.elsewhere = [], {}, ""
    Handler.files = files or {}
    http = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()
