"""Download one file over HTTP: an interrupted download resumes, and a file with a wrong hash is deleted."""

from __future__ import annotations

import time
from pathlib import Path

from filelock import FileLock

from fssbench.errors import DataError
from fssbench.files.hashing import hash_weights_file
from fssbench.files.http_transfer import Limits, Progress, TransferError, remove_part, transfer
from fssbench.files.secrets import hide_in_text

__all__ = ["Limits", "Progress", "download"]


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None,
    timeout: float = 30.0,
    limits: Limits | None = None,
    attempts: int = 1,
    pause: float = 2.0,
    progress: Progress | None = None,
) -> Path:
    """Download `url` to `target`; the file appears under its name only after its hash was checked.

    The data are written to `<target>.part`.  That file remains after an interruption, and the next call requests
    the rest.  Content with a wrong hash is deleted.

    Args:
        url: http(s) address.
        target: path of the file; its folder is created.
        sha256: expected hash of the content, or its first digits; None if nobody published one, so that the caller
            has to check the content.
        timeout: seconds without data, or with hardly any, after which the download fails.
        limits: what the server may do; by default `Limits(stall=timeout)`.
        attempts: how often a server that fails for the moment is asked.
        pause: seconds before the second attempt; each further pause is twice as long.
        progress: receives the state of the transfer after each block.

    Returns:
        `target`.

    Raises:
        DataError: if the server fails, stops early, or sends another file, or the file cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # two runs that start together would write into one file
        with FileLock(target.with_name(target.name + ".lock")):
            if target.is_file() and (sha256 is None or hash_weights_file(target).startswith(sha256)):
                return target
            return _fetch(url, target, sha256, limits or Limits(stall=timeout), attempts, pause, progress)
    except OSError as error:
        raise DataError(
            f"{target.name} cannot be written to {target.parent} ({error.strerror or error}). "
            "Next: free disk space or choose another folder, and run the same command again, which resumes the download"
        ) from None


def _fetch(
    url: str,
    target: Path,
    sha256: str | None,
    limits: Limits,
    attempts: int,
    pause: float,
    progress: Progress | None,
) -> Path:
    part = target.with_name(target.name + ".part")
    for attempt in range(1, attempts + 1):
        try:
            transfer(url, part, limits, progress)
            break
        except TransferError as error:
            if error.transient and attempt < attempts:
                time.sleep(pause * 2 ** (attempt - 1))
                continue
            raise DataError(
                f"the download of {target.name} failed ({hide_in_text(str(error))}). Next: run the same command "
                f"again, which resumes the download, or put the file at {target} yourself"
            ) from None
    if sha256 is not None:
        _check_hash(part, target, sha256)
    part.replace(target)
    remove_part(part)
    return target


def _check_hash(part: Path, target: Path, sha256: str) -> None:
    actual = hash_weights_file(part)
    if actual.startswith(sha256):
        return
    with part.open("rb") as file:
        page = file.read(64).lstrip()[:1] == b"<"
    remove_part(part)
    raise DataError(
        f"the downloaded {target.name} is not the published file: its sha256 is {actual[:16]}..., expected "
        f"{sha256[:16]}...{' (the server sent a web page, perhaps a login)' if page else ''}. "
        f"The download was deleted. Next: run the same command again, or put the file at {target} yourself"
    )
