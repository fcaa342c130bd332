"""Tests of the downloader with a local server that makes every known error."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from messages import error_names

from fssbench.errors import DataError
from fssbench.files.download import download

CONTENT = bytes(range(256)) * 4096
SHA = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the path of the request selects the error."""

    ranges: list[str | None] = []

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        Handler.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        match self.path.strip("/"):
            case "good" | "resumed":
                if start >= len(CONTENT):
                    self.send_error(416)
                    return
                self._send(206 if asked else 200, CONTENT[start:])
            case "ignores-range":
                self._send(200, CONTENT)
            case "wrong":
                self._send(200, b"x" * len(CONTENT))
            case "short":
                self._send(200, CONTENT[:1000], length=len(CONTENT))
            case "cut":  # the first request gets half, a request with a range gets the rest
                body = CONTENT[start:] if asked else CONTENT[: len(CONTENT) // 2]
                self._send(206 if asked else 200, body, length=len(CONTENT) - start)
            case "long":
                self._send(200, CONTENT + b"tail", length=len(CONTENT) + 4)
            case "understated":  # the announced length is too small
                self._send(200, CONTENT, length=1000)
            case "login":
                self._send(200, b"\n<!DOCTYPE html><title>Please log in</title>")
            case "loop":
                self.send_response(302)
                self.send_header("Location", "/loop")
                self.end_headers()
            case "stall":
                self.send_response(200)
                self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()
                self.wfile.write(CONTENT[:100])
                self.wfile.flush()
                time.sleep(1.5)
            case "garbage":
                self.wfile.write(b"this is not http\r\n\r\n")
            case _:
                self.send_error(404)

    def _send(self, status: int, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[str]:
    Handler.ranges = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def left(folder: Path) -> list[str]:
    """Files in the folder, the lock aside."""
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def test_a_whole_file_arrives_and_leaves_nothing_else(server: str, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "weights.pth"
    assert download(f"{server}/good", target, sha256=SHA) == target
    assert target.read_bytes() == CONTENT
    assert left(target.parent) == ["weights.pth"]


def test_what_is_here_already_is_not_asked_for(server: str, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(CONTENT)
    download(f"{server}/good", tmp_path / "w", sha256=SHA)
    assert Handler.ranges == []


def test_two_at_once_fetch_once(server: str, tmp_path: Path) -> None:
    pair = [
        threading.Thread(target=download, args=(f"{server}/good", tmp_path / "w"), kwargs={"sha256": SHA})
        for _ in range(2)
    ]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert Handler.ranges == [None]


def test_the_first_digits_of_the_hash_suffice(server: str, tmp_path: Path) -> None:
    assert download(f"{server}/good", tmp_path / "w", sha256=SHA[:8]).stat().st_size == len(CONTENT)


@pytest.mark.parametrize("path", ["wrong", "long", "understated"])
def test_other_content_is_never_promoted_nor_kept(server: str, tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError) as caught:
        download(f"{server}/{path}", tmp_path / "w", sha256=SHA)
    assert error_names(
        caught.value, "w", "not the published file", f"expected {SHA[:16]}", "deleted", "Next:"
    )
    assert left(tmp_path) == []


def test_a_login_page_is_called_one(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="sent a web page, perhaps a login"):
        download(f"{server}/login", tmp_path / "w", sha256=SHA)
    assert left(tmp_path) == []


def test_a_short_body_is_an_error_and_never_promoted(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        download(f"{server}/short", tmp_path / "w", sha256=SHA)
    assert error_names(caught.value, f"1000 of {len(CONTENT)} bytes", "Next:", "resumes the download")
    assert not (tmp_path / "w").exists()


def test_after_a_cut_only_the_rest_is_fetched(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="and stopped"):
        download(f"{server}/cut", tmp_path / "w", sha256=SHA)
    download(f"{server}/cut", tmp_path / "w", sha256=SHA)
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert Handler.ranges == [None, f"bytes={len(CONTENT) // 2}-"]


def test_a_server_without_ranges_starts_over(server: str, tmp_path: Path) -> None:
    (tmp_path / "w.part").write_bytes(b"old beginning")
    download(f"{server}/ignores-range", tmp_path / "w", sha256=SHA)
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_a_complete_part_is_promoted_without_a_byte_more(server: str, tmp_path: Path) -> None:
    (tmp_path / "w.part").write_bytes(CONTENT)
    download(f"{server}/resumed", tmp_path / "w", sha256=SHA)
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_a_damaged_part_is_thrown_away_and_the_next_try_works(server: str, tmp_path: Path) -> None:
    (tmp_path / "w.part").write_bytes(b"z" * 500)
    with pytest.raises(DataError, match="not the published file"):
        download(f"{server}/resumed", tmp_path / "w", sha256=SHA)
    download(f"{server}/resumed", tmp_path / "w", sha256=SHA)
    assert (tmp_path / "w").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "reason"), [("nothing", "Not Found"), ("loop", "redirect"), ("garbage", "failed")]
)
def test_a_failing_server_is_a_sentence(server: str, tmp_path: Path, path: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        download(f"{server}/{path}", tmp_path / "w", sha256=SHA)
    assert "Next:" in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_a_stalled_server_ends_in_time_and_the_beginning_is_kept(server: str, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DataError, match="timed out"):
        download(f"{server}/stall", tmp_path / "w", sha256=SHA, timeout=0.3)
    assert time.monotonic() - began < 1.4
    assert (tmp_path / "w.part").read_bytes() == CONTENT[:100]
    assert not (tmp_path / "w").exists()


def test_no_server_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="refused"):
        download("http://127.0.0.1:9/x", tmp_path / "w", sha256=SHA)


def test_only_http_is_fetched(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    with pytest.raises(DataError, match="http"):
        download(secret.as_uri(), tmp_path / "w", sha256=SHA)
