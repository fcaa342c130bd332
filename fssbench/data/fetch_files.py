"""The archives of a data set: given by the user or downloaded, and never used before their hash was judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fssbench.contracts.downloads import Archive, Downloads
from fssbench.data import fetch_log
from fssbench.errors import DataError, UsageError
from fssbench.files.download import Limits, download
from fssbench.files.hashing import hash_present_file
from fssbench.files.http_transfer import is_loopback

_ATTEMPTS = 5
_LARGEST = 64 << 30
"""Bytes of a file whose size is not published."""


class Reporter:
    """Receives what happens; this class is silent."""

    def say(self, text: str) -> None:
        """Receive a message."""

    @contextmanager
    def transfer(self, what: str) -> Iterator[Any]:
        """Context of one file; yields a function that receives the bytes that are done, and all bytes or None."""
        yield lambda done, total: None


@dataclass
class Fetched:
    """Result of a fetch."""

    name: str
    place: Path
    """The folder of the data set, or of the lists."""
    there_already: bool = False
    files: list[dict[str, Any]] = field(default_factory=list)
    """Per archive: name, address, size, sha256, and how the hash is known."""
    notes: list[str] = field(default_factory=list)
    first_hashes: dict[str, str] = field(default_factory=dict)
    """Hashes to be noted when the data are in place, by the key of the log.  Before that nothing shows that a file
    without a published hash is whole."""


def match_given_files(name: str, record: Downloads, given: Sequence[Path]) -> dict[str, Path]:
    """Return the given files, each by the name of the archive that it is.

    The files of a set behind a login may have any names, because sites rename them.

    Raises:
        DataError: if a file is not there.
        UsageError: if a file is none of the archives, or two files are the same archive.
    """
    by_name = {archive.file.casefold(): archive.file for archive in record.archives}
    sources: dict[str, Path] = {}
    for path in given:
        if path.is_dir():
            raise UsageError(
                f"{path} is a folder, and --from names archives. Next: `fssbench data prepare {name} {path}`, or put "
                "the folder below the data folder if it has the layout that is read"
            )
        if not path.is_file():
            problem = "is no file" if path.exists() else "does not exist"
            raise DataError(f"archive {path} {problem}. Next: check --from")
        key = by_name.get(path.name.casefold())
        if key is None and not any(archive.url for archive in record.archives):
            key = _make_plain(path.name)
        if key is None and len(record.archives) == 1:
            key = record.archives[0].file
        if key is None:
            raise UsageError(
                f"{path.name} is none of the files of {name}: {', '.join(a.file for a in record.archives)}. Next: give "
                f"the file under the name of its owner; unpacked folders are read by `fssbench data prepare {name} DIR`"
            )
        if key in sources:
            raise UsageError(f"{sources[key]} and {path} are both {key}. Next: give one of them")
        sources[key] = path
    return sources


def describe_archives(record: Downloads, sources: dict[str, Path]) -> tuple[Archive, ...]:
    """Return the archives that are used: those of the record, or the given ones of a set behind a login."""
    if record.open:
        return record.archives
    return tuple(record.archives[0].changed(file=file) for file in sources)


def _make_plain(name: str) -> str:
    """Return a file name with plain letters only, which is safe as a name below the work folder."""
    return (
        "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name).lstrip("._-")
        or "archive"
    )


def get_file(
    name: str,
    archive: Archive,
    source: Path | None,
    work: Path,
    fetched: Fetched,
    reporter: Reporter,
    pause: float,
) -> Path:
    """Return the file of an archive after its hash was judged: the given one, or the downloaded one.

    Args:
        name: id of the data set.
        archive: the archive.
        source: the file that the user gave, or None.
        work: folder for downloads.
        fetched: receives a description of the file, and notes.
        reporter: receives the progress.
        pause: seconds before a failing server is asked again.

    Raises:
        DataError: if the file cannot be had, or is not the published or the first one.
    """
    path = source or _download(archive, work, reporter, pause)
    # a download has the published hash already, and gigabytes are not read twice
    sha256 = archive.sha256 if source is None and archive.sha256 else hash_present_file(path)
    if not archive.sha256:
        known = _compare_with_first(name, archive, sha256, path, given=source is not None, fetched=fetched)
    elif sha256 == archive.sha256:
        known = f"published by {archive.published_by or 'the owner'}"
    else:
        raise DataError(
            f"{path} is not the published {archive.file}: its sha256 is {sha256}, published is {archive.sha256} "
            f"({archive.published_by or 'the owner'}). Next: get the file again"
        )
    fetched.files.append(
        {
            "file": archive.file,
            "url": archive.url or None,
            "size": path.stat().st_size,
            "sha256": sha256,
            "hash": known,
        }
    )
    return path


def _download(archive: Archive, work: Path, reporter: Reporter, pause: float) -> Path:
    host = urlsplit(archive.url).hostname or ""
    if not archive.sha256 and not archive.url.startswith("https://") and not is_loopback(host):
        raise DataError(
            f"{archive.file} has neither a published hash nor an encrypted address ({archive.url}), so anybody on the "
            "way could change it. Next: get it in another way and give it with --from"
        )
    # a hash decides; without one the file must come from the owner's hosts
    limits = Limits(
        most_bytes=archive.size or _LARGEST,
        size=archive.size,
        hosts=None if archive.sha256 else frozenset(archive.hosts),
    )
    target = work / archive.file
    if not target.is_file():
        reporter.say(f"downloading {archive.file} from {host}")
    with reporter.transfer(archive.file) as progress:
        return download(
            archive.url,
            target,
            sha256=archive.sha256 or None,
            limits=limits,
            attempts=_ATTEMPTS,
            pause=pause,
            progress=progress,
        )


def _compare_with_first(
    name: str, archive: Archive, sha256: str, path: Path, *, given: bool, fetched: Fetched
) -> str:
    """Compare a file without a published hash with its first download; return how the hash is known."""
    key = f"given for {name}: {archive.file}" if given else archive.url
    log = fetch_log.find_fetch_log()
    first = fetch_log.find_first_hash(key)
    if first is None:
        fetched.first_hashes[key] = sha256
        fetched.notes.append(
            f"no hash of {archive.file} is published, so nothing proves that it is the owner's file. Its sha256 "
            f"{sha256} is noted in {log}; later files are compared with it"
        )
        return "not published; noted at the first download"
    first_sha256, date = first
    if first_sha256 == sha256:
        return f"not published; equal to the first download of {date}"
    difference = (
        f"{path} is not the file of {date}: its sha256 is {sha256}, that of the first one {first_sha256}"
    )
    if given:
        fetched.notes.append(f"{difference}. You gave this file yourself, so it is used")
        return f"not published; differs from the first one of {date}"
    path.unlink()
    raise DataError(
        f"{difference}. The owner changed it, or somebody on the way did. The download was deleted. Next: ask the "
        f"owner; if the new file is right, remove its entry from {log}"
    )
