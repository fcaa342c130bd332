"""Fetch one file over HTTP: resumed where it was cut, used only when its hash is right.

pooch checks hashes but starts over after a cut, and weights are hundreds of megabytes; this is the
small part of it that is needed, with `Range` added.
"""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from filelock import FileLock

from fssbench.errors import DataError
from fssbench.files.hashing import weights_file_sha256

_BLOCK = 1 << 20


def download(url: str, target: Path, *, sha256: str, timeout: float = 30.0) -> Path:
    """Fetch `url` to `target`; the name exists only once the content is proven.

    What arrives goes to `<target>.part`.  A cut leaves that file, and the next call asks for the
    rest; content with a wrong hash is deleted.

    Args:
        url: http(s) address.
        target: where the file goes; its folder is made.
        sha256: expected hash of the content, or its first digits.
        timeout: seconds without a byte after which the server counts as stalled.

    Returns:
        `target`.

    Raises:
        DataError: if the server fails, stops early, or sends something else.
    """
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{target.name}: only http and https addresses are fetched, not {url}")
    target.parent.mkdir(parents=True, exist_ok=True)
    # two runs that start together would write into one file
    with FileLock(target.with_name(target.name + ".lock")):
        if target.is_file() and weights_file_sha256(target).startswith(sha256):
            return target
        return _fetch(url, target, sha256, timeout)


def _fetch(url: str, target: Path, sha256: str, timeout: float) -> Path:
    part = target.with_name(target.name + ".part")
    try:
        _receive(url, part, timeout)
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DataError(
            f"download of {target.name} failed: {reason or type(error).__name__}. Next: run the same "
            f"command again (it continues at the cut), or put the file at {target} yourself"
        ) from None
    actual = weights_file_sha256(part)
    if not actual.startswith(sha256):
        with part.open("rb") as file:
            page = file.read(64).lstrip()[:1] == b"<"
        part.unlink()
        raise DataError(
            f"download of {target.name} is not the published file: sha256 {actual[:16]}..., expected "
            f"{sha256[:16]}...{' (the server sent a web page, perhaps a login)' if page else ''}. "
            f"Nothing was kept. Next: try again, or put the file at {target} yourself"
        )
    part.replace(target)
    return target


def _receive(url: str, part: Path, timeout: float) -> None:
    """Append what is still missing of `url` to `part`."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return  # all of it is here already: the hash decides
        raise
    with response, part.open("ab") as file:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            file.truncate(0)  # the server ignored the range and sends everything
        expected = response.headers.get("Content-Length")
        received = 0
        while block := response.read1(_BLOCK):
            file.write(block)
            received += len(block)
        file.flush()
        os.fsync(file.fileno())
    if expected is not None and received < int(expected):
        raise ConnectionError(f"the server stopped after {received} of {expected} bytes")
