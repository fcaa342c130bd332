"""One transfer over HTTP into a file: it resumes, and it refuses what a wrong or hostile server may send.

pooch, which was considered, checks hashes and retries, but starts again after an interruption.  It writes to a
temporary file that no later process can find, so `Range` cannot be added from outside.  Data sets have gigabytes,
therefore the transfer is done here.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any

_BLOCK = 1 << 20
_LEAST_RATE = 1024
"""Bytes per second; a server that sends less for as long as `Limits.stall` is given up."""
_REDIRECTS = 5
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may work."""
_PAGES = ("text/html", "application/xhtml+xml")

Progress = Callable[[int, int | None], None]
"""Receives the bytes that are here and the size of the whole file, or None if the server does not say it."""


class TransferError(Exception):
    """A transfer failed.  The text is a clause for a message."""

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient
        """Whether the same request may work later."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a transfer: sizes, times and redirections that a server may use."""

    stall: float = 30.0
    """Seconds without data, or with fewer than 1,024 bytes per second, after which the transfer fails."""
    longest: float = 24 * 3600.0
    """Seconds for one request."""
    most_bytes: int = 8 << 30
    """Largest size of the file."""
    size: int | None = None
    """Size of the file, if it is published; a server that announces another size is refused at once."""
    hosts: frozenset[str] | None = None
    """Hosts to which the server may redirect besides its own; None allows any, because the content is checked."""


def transfer(url: str, part: Path, limits: Limits, progress: Progress | None = None) -> None:
    """Download the missing rest of `url` and append it to `part`.

    The validator that the server gave (`ETag`, or the date of the last change) is kept beside `part`.  If the file
    changed on the server, the transfer starts again with the new file.

    Args:
        url: http(s) address.
        part: the file of what is here; it is created if necessary, and links are never followed.
        limits: what the server may do.
        progress: receives the state of the transfer after each block.

    Raises:
        TransferError: if the server fails, stops early, or does what the limits exclude.
        OSError: if the file cannot be written.
    """
    require_web_address(url)
    with _open_part(part) as file:
        have = os.fstat(file.fileno()).st_size
        while True:
            with _request(url, part, have, limits) as response:
                start = _find_start(response, part, have)
                if start is None:  # another file, or another part of it, than the one that was asked for
                    have = 0
                    _remove(_tag_path(part))
                    continue
                total = _find_total(response, start, limits)
                file.truncate(start)
                file.seek(start)
                _keep_tag(response, part)
                if response.status != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    _receive(response, file, start, total, limits, progress)
                break
        file.flush()
        os.fsync(file.fileno())


def remove_part(part: Path) -> None:
    """Remove an unfinished file and what is known about it."""
    _remove(part)
    _remove(_tag_path(part))


def require_web_address(url: str) -> None:
    """Refuse an address that is not http or https.

    Raises:
        TransferError: if it is another one.
    """
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise TransferError(f"the address {url} is not allowed: only http and https are")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, for tests and mirrors behind a tunnel."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within the limits."""

    max_redirections = _REDIRECTS

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme not in {"http", "https"}:
            raise TransferError(f"the server redirects to {newurl}: only http and https are allowed")
        if (old.scheme, new.scheme) == ("https", "http"):
            raise TransferError(f"the server redirects from https to {newurl}, which is not encrypted")
        allowed = self._limits.hosts
        if allowed is not None and new.hostname != old.hostname and new.hostname not in allowed:
            raise TransferError(
                f"the server redirects to another host ({new.hostname}), and no hash of the file is published"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _open_part(part: Path) -> IO[bytes]:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    if part.is_symlink() or (part.exists() and not part.is_file()):
        raise TransferError(f"{part} is a link or no regular file, and is not written through. Remove it")
    return os.fdopen(os.open(part, flags, 0o644), "r+b")


def _request(url: str, part: Path, have: int, limits: Limits) -> Any:
    """Send the request; return the response, also that to a range beyond the end of the file."""
    headers = {"User-Agent": "fssbench", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if tag := _read_tag(part):
            headers["If-Range"] = tag
    opener = urllib.request.build_opener(_Redirects(limits))
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=limits.stall)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return error
        error.close()
        raise TransferError(f"{error.code} {error.reason}", transient=error.code in _TRANSIENT) from None
    except urllib.error.URLError as error:
        # no network, no server or a wrong certificate: waiting would only delay the message
        hopeless = isinstance(error.reason, (socket.gaierror, ConnectionRefusedError, ssl.SSLError))
        raise TransferError(f"{error.reason}", transient=not hopeless) from None
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(str(error) or type(error).__name__, transient=True) from None
    except ValueError as error:  # an address or a header that urllib cannot read
        raise TransferError(f"the server sent an answer that cannot be read: {error}") from None
    kind = response.headers.get_content_type()
    if response.headers.get("Content-Type") and kind in _PAGES:
        response.close()
        raise TransferError(f"the server sent a web page ({kind}), perhaps a login")
    return response


def _find_start(response: Any, part: Path, have: int) -> int | None:
    """Return the byte at which the content of a response begins; None if it does not continue `part`."""
    if response.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        # `have` bytes are all of it, unless the server says that the file is shorter
        _, _, total = response.headers.get("Content-Range", "").rpartition("/")
        return None if total.isdecimal() and int(total) != have else have
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0  # the server ignored the range, or the file changed: it sends everything
    if not have:
        raise TransferError("the server sent a part of the file, although all of it was asked for")
    tag, known = _find_tag(response), _read_tag(part)
    if tag and known and tag != known:
        return None
    text = response.headers.get("Content-Range")
    if text is None:
        return have
    return have if text.strip().lower().startswith(f"bytes {have}-") else None


def _find_total(response: Any, start: int, limits: Limits) -> int | None:
    """Return the size of the whole file by the header; refuse one that cannot be right."""
    if response.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return start
    text = response.headers.get("Content-Length")
    if text is None:
        return None
    if not (text.strip().isascii() and text.strip().isdecimal()):
        raise TransferError(f"the server announces a length that is no number: {text[:40]!r}")
    total = start + int(text)
    if limits.size is not None and total != limits.size:
        raise TransferError(
            f"the server announces {total:,} bytes, but the published file has {limits.size:,} bytes"
        )
    if total > limits.most_bytes:
        raise TransferError(f"the server announces {total:,} bytes; allowed are {limits.most_bytes:,}")
    return total


def _receive(
    response: Any, file: IO[bytes], start: int, total: int | None, limits: Limits, progress: Progress | None
) -> None:
    """Write the content of a response; every limit is checked after each block."""
    most = min(limits.most_bytes, limits.size if limits.size is not None else limits.most_bytes)
    began = window = time.monotonic()
    here = in_window = start
    while block := _read_block(response):
        here += len(block)
        if here > most:
            raise TransferError(f"the server sent more than {most:,} bytes")
        file.write(block)
        if progress is not None:
            progress(here, total)
        now = time.monotonic()
        if now - began > limits.longest:
            raise TransferError(f"it took longer than {limits.longest:,.0f} s", transient=True)
        if now - window > limits.stall:
            if here - in_window < _LEAST_RATE * (now - window):
                raise TransferError(
                    f"timed out: the server sent {here - in_window:,} bytes in {now - window:.0f} s",
                    transient=True,
                )
            window, in_window = now, here
    if total is not None and here < total:
        raise TransferError(
            f"the server sent {here - start} of {total - start} bytes and stopped", transient=True
        )


def _read_block(response: Any) -> bytes:
    try:
        block: bytes = response.read1(_BLOCK)
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a chunk without a length
        raise TransferError(str(error) or type(error).__name__, transient=True) from None
    return block


def _tag_path(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _find_tag(response: Any) -> str | None:
    """Return the validator of a response that may be sent in `If-Range`: a strong one alone."""
    tag: str | None = response.headers.get("ETag")
    if tag and not tag.startswith("W/"):
        return tag if len(tag) < 200 and tag.isprintable() else None
    date: str | None = response.headers.get("Last-Modified")
    return date if date and len(date) < 60 and date.isprintable() else None


def _read_tag(part: Path) -> str | None:
    path = _tag_path(part)
    try:
        return None if path.is_symlink() else path.read_text(encoding="latin-1")[:200] or None
    except OSError:
        return None


def _keep_tag(response: Any, part: Path) -> None:
    if response.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return
    path = _tag_path(part)
    _remove(path)
    if tag := _find_tag(response):
        path.write_bytes(tag.encode("latin-1"))


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
