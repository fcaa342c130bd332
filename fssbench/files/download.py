"""Download one file over HTTP: an interrupted download resumes, and a file with a wrong hash is deleted.

pooch checks hashes but starts again after an interruption, and weights are hundreds of megabytes.  This module does
the small part of pooch's work that is needed, with `Range` added.
"""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from filelock import FileLock

from fssbench.errors import DataError
from fssbench.files.hashing import hash_weights_file

_BLOCK = 1 << 20


def download(url: str, target: Path, *, sha256: str, timeout: float = 30.0) -> Path:
    """Download `url` to `target`; the file appears under its name only after its hash was checked.

    The data are written to `<target>.part`.  That file remains after an interruption, and the next call requests
    the rest.  Content with a wrong hash is deleted.

    Args:
        url: http(s) address.
        target: path of the file; its folder is created.
        sha256: expected hash of the content, or its first digits.
        timeout: seconds without data after which the download fails.

    Returns:
        `target`.

    Raises:
        DataError: if the server fails, stops early, or sends another file.
    """
    if not url.startswith(("https://", "http://")):
        raise DataError(f"{target.name} cannot be downloaded from {url}: only http and https are allowed")
    target.parent.mkdir(parents=True, exist_ok=True)
    # two runs that start together would write into one file
    with FileLock(target.with_name(target.name + ".lock")):
        if target.is_file() and hash_weights_file(target).startswith(sha256):
            return target
        return _fetch(url, target, sha256, timeout)


def _fetch(url: str, target: Path, sha256: str, timeout: float) -> Path:
    part = target.with_name(target.name + ".part")
    try:
        _receive(url, part, timeout)
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise DataError(
            f"the download of {target.name} failed ({reason or type(error).__name__}). Next: run the same command "
            f"again, which resumes the download, or put the file at {target} yourself"
        ) from None
    actual = hash_weights_file(part)
    if not actual.startswith(sha256):
        with part.open("rb") as file:
            page = file.read(64).lstrip()[:1] == b"<"
        part.unlink()
        raise DataError(
            f"the downloaded {target.name} is not the published file: its sha256 is {actual[:16]}..., expected "
            f"{sha256[:16]}...{' (the server sent a web page, perhaps a login)' if page else ''}. "
            f"The download was deleted. Next: run the same command again, or put the file at {target} yourself"
        )
    part.replace(target)
    return target


def _receive(url: str, part: Path, timeout: float) -> None:
    """Download the missing rest of `url` and append it to `part`."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return  # the file is complete already; its hash is checked next
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
        raise ConnectionError(f"the server sent {received} of {expected} bytes and stopped")
