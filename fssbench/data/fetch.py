"""`fssbench data fetch`: get the files of a data set, check them, unpack them, and put them where they are read.

The work lies in a hidden folder of the data folder, `.fetch/NAME/`, so that each step ends with one rename on one disk:
a downloaded archive, the unpacked files, and the data set itself.  A step that was stopped is begun again from what the
steps before it left; nothing that is half done has a name that anything reads.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fssbench import __version__
from fssbench.contracts.datasets import Dataset
from fssbench.contracts.downloads import Archive, Downloads
from fssbench.data import fetch_log
from fssbench.data.fetch_files import Fetched, Reporter, describe_archives, get_file, match_given_files
from fssbench.data.fetch_places import (
    LISTS,
    UNPACKING,
    format_bytes,
    place_unpacked,
    require_space,
    unpack_all,
)
from fssbench.data.location import is_miniature
from fssbench.errors import DataError, LockedError, UsageError, make_unknown_error
from fssbench.files.atomic import replace_file
from fssbench.files.listing import list_folder
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.downloads import find_downloads, list_download_names
from fssbench.plugins.registry import DATASETS

WORK = ".fetch"
"""Hidden folder below the data folder."""


def find_record(name: str) -> Downloads:
    """Find where a data set is published.

    Raises:
        UsageError: if the name is unknown, or that of a data set whose place of publication is not recorded.
        PluginError: if the record does not load.
    """
    record = find_downloads(name)
    if record is not None:
        return record
    if name in DATASETS.names():
        card = DATASETS.get(name).card
        raise UsageError(
            f"no download is recorded for data set {name!r}. Next: get it from its owner ({card.url}), then "
            f"`fssbench data prepare {name} SOURCE`, or put it below the data folder as {card.folders[0]}"
        )
    raise make_unknown_error("data set", name, list_download_names())


def find_present(name: str, root: Path) -> Path | None:
    """Return the folder of a data set, or of the lists, if the data folder has it; None otherwise."""
    record = find_downloads(name)
    if record is not None and record.folder:
        folder = root / record.folder
        return folder if folder.is_dir() and list_folder(folder).folders else None
    cls: type[Dataset] = DATASETS.get(name)
    with plugin_call(f"data set {name!r} cannot be located:"):
        try:
            place = cls.locate(root)
        except DataError:
            return None
        return place if cls.holds(place) else None


def fetch(
    name: str,
    root: Path,
    *,
    given: Sequence[Path] = (),
    accept_licence: bool = False,
    keep_archives: bool = False,
    reporter: Reporter | None = None,
    pause: float = 2.0,
) -> Fetched:
    """Get a data set and put it into the data folder, in the layout that its reader expects.

    Args:
        name: id of a data set, or `splits` for the reference lists.
        root: the data folder; it is created.
        given: files that the user has downloaded.
        accept_licence: whether the user accepts the licence now.  It is remembered.
        keep_archives: whether downloaded archives stay after the data set is in place.
        reporter: receives messages and progress.
        pause: seconds before a failing server is asked again.

    Raises:
        UsageError: for an unknown name, a file that belongs to no archive of it, or a licence that was not accepted.
        DataError: if a file cannot be had, is not the published one, is hostile, or there is no space.
        LockedError: if another process fetches the same data.
    """
    record = find_record(name)
    if is_miniature(root):
        raise UsageError(
            f"{root} holds a miniature, whose pictures are drawings. Next: name another --data DIR"
        )
    work = root / WORK / name
    present = find_present(name, root)
    if present is not None:
        if work.is_dir() and not keep_archives:  # the end of a fetch that was stopped
            with _hold(name, root, work):
                shutil.rmtree(work, ignore_errors=True)
        return Fetched(name, present, there_already=True)
    _require_modules(name, record)
    sources = match_given_files(name, record, given)
    _require_files(name, record, sources)
    _require_licence(name, record, accept_licence)
    with _hold(name, root, work):
        return _fetch(name, record, root, work, sources, keep_archives, reporter or Reporter(), pause)


def _require_modules(name: str, record: Downloads) -> None:
    missing = [module for module in record.modules if importlib.util.find_spec(module) is None]
    if missing:
        raise UsageError(
            f"{name} needs the package {', '.join(missing)} after the download. "
            f'Next: `pip install "fssbench[{record.extra}]"`'
        )


def _require_files(name: str, record: Downloads, sources: dict[str, Path]) -> None:
    if record.open or sources:
        return
    steps = "; ".join(f"({number}) {step}" for number, step in enumerate(record.steps, 1))
    raise DataError(
        f"{name} cannot be downloaded by a program. Get it so: {steps}. Licence: {record.licence}. "
        f"Next: `fssbench data fetch {name} --from ARCHIVE --accept-licence`"
    )


def _require_licence(name: str, record: Downloads, accept: bool) -> None:
    if accept:
        fetch_log.note_acceptance(name, record)
    elif not fetch_log.has_accepted(name, record):
        raise UsageError(
            f"the licence of {name} was not accepted yet: {record.licence}. "
            f"Next, if you accept it: `fssbench data fetch {name} --accept-licence`, once for this user"
        )


@contextmanager
def _hold(name: str, root: Path, work: Path) -> Iterator[None]:
    """Context in which no other process fetches the same data; errors of the disk become sentences."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        with FileLock(work / ".lock").acquire(timeout=0):
            yield
    except Timeout:
        raise LockedError(
            f"another process fetches {name} into {root}. Next: wait until it has ended"
        ) from None
    except OSError as error:
        raise DataError(
            f"{name} cannot be written below {root} ({error.filename or ''} {error.strerror or error}). Next: free "
            "disk space or name another --data DIR, and run the same command again, which goes on from here"
        ) from None


def _fetch(
    name: str,
    record: Downloads,
    root: Path,
    work: Path,
    sources: dict[str, Path],
    keep_archives: bool,
    reporter: Reporter,
    pause: float,
) -> Fetched:
    fetched = Fetched(name, root)
    archives = describe_archives(record, sources)
    _remove_half_done(work)
    require_space(root, _estimate_need(archives, sources, work), f"to download and unpack {name}")
    paths = [
        get_file(name, archive, sources.get(archive.file), work, fetched, reporter, pause)
        for archive in archives
    ]
    # the name says which archives were unpacked, and the folder has it only when it is complete
    digest = hashlib.sha256("".join(file["sha256"] for file in fetched.files).encode()).hexdigest()[:16]
    unpacked = work / f"unpacked-{digest}"
    for other in work.glob("unpacked-*"):  # from archives that were replaced since
        if other != unpacked:
            shutil.rmtree(other, ignore_errors=True)
    try:
        if not unpacked.is_dir():
            unpack_all(root, archives, paths, fetched, unpacked, reporter)
        _keep_provenance(name, record, root, fetched)
        fetched.place = place_unpacked(name, record, unpacked, root, reporter)
    except DataError:
        _remove_unproven(archives, sources, work)
        raise
    for key, sha256 in fetched.first_hashes.items():
        fetch_log.note_first_hash(key, sha256)
    shutil.rmtree(unpacked if keep_archives else work, ignore_errors=True)
    return fetched


def _remove_half_done(work: Path) -> None:
    """Remove what a stopped attempt was unpacking, so that its space counts as free."""
    for name in (UNPACKING, LISTS):
        shutil.rmtree(work / name, ignore_errors=True)


def _remove_unproven(archives: Sequence[Archive], sources: dict[str, Path], work: Path) -> None:
    """Remove downloads that no hash proves, after the data could not be made from them: they may be damaged."""
    for archive in archives:
        if not archive.sha256 and archive.file not in sources:
            (work / archive.file).unlink(missing_ok=True)


def _estimate_need(archives: Sequence[Archive], sources: dict[str, Path], work: Path) -> int:
    """Estimate the bytes that are still to be written.  Pictures are as large outside an archive as in it."""
    need = 0
    for archive in archives:
        source = sources.get(archive.file)
        size = source.stat().st_size if source else archive.size or 0
        here = [work / archive.file, work / f"{archive.file}.part"]
        missing = 0 if source else max(0, size - sum(p.stat().st_size for p in here if p.is_file()))
        need += size + missing
    return need


def _keep_provenance(name: str, record: Downloads, root: Path, fetched: Fetched) -> None:
    """Write beside the data where they came from."""
    content = {
        "name": name,
        "date": fetch_log.today(),
        "fssbench": __version__,
        "licence": record.licence,
        "files": fetched.files,
    }
    replace_file(root / WORK / f"{name}.json", f"{json.dumps(content, indent=1)}\n".encode())


def read_provenance(name: str, root: Path) -> dict[str, Any] | None:
    """Read where a data set came from, if it was fetched into this folder; None otherwise."""
    try:
        stored = json.loads((root / WORK / f"{name}.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return stored if isinstance(stored, dict) else None


def list_unfinished(name: str, root: Path) -> list[str]:
    """List what a stopped fetch left, in words, such as `train2014.zip: 1.2 GB`."""
    work = root / WORK / name
    if not work.is_dir():
        return []
    return [
        f"{entry.name.removesuffix('.part')}: {format_bytes(entry.stat().st_size)}"
        for entry in sorted(os.scandir(work), key=lambda e: e.name)
        if entry.is_file() and not entry.name.endswith((".lock", ".tag"))
    ]
