"""The place of fetched files: archives are unpacked into one folder, which becomes the data set by one rename."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from fssbench.contracts.datasets import Dataset
from fssbench.contracts.downloads import Archive, Downloads
from fssbench.data.fetch_files import Fetched, Reporter
from fssbench.data.reference_lists import import_lists
from fssbench.errors import DataError
from fssbench.files.archives import check_archive, unpack_archive
from fssbench.files.listing import list_folder
from fssbench.plugins.calls import plugin_call
from fssbench.plugins.registry import DATASETS
from fssbench.plural import describe_count

UNPACKING, LISTS = "unpacking", "lists"
"""Folders of the work folder that are half done."""
_ENDINGS = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz")
"""Endings of archives; a file with another ending, such as a table, is used as it is."""
_LEVELS = 4
"""Levels of folders of an archive that are searched for the data set."""
_SPARE = 64 << 20
"""Bytes that stay free."""
_ESTIMATE = 1.05
"""Bytes that a file system needs per byte of a file."""


def require_space(root: Path, need: int, purpose: str) -> None:
    """Ask whether the disk has space before anything is written.

    Raises:
        DataError: if it has not, with both figures.
    """
    free = shutil.disk_usage(root).free
    with_spare = int(need * _ESTIMATE) + _SPARE
    if with_spare > free:
        raise DataError(
            f"{root} has {format_bytes(free)} free, but {format_bytes(with_spare)} are needed {purpose}. "
            "Next: free disk space or name another --data DIR"
        )


def format_bytes(count: int) -> str:
    """Write a number of bytes, such as `2.0 GB`."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"


def unpack_all(
    root: Path,
    archives: Sequence[Archive],
    paths: Sequence[Path],
    fetched: Fetched,
    unpacked: Path,
    reporter: Reporter,
) -> None:
    """Unpack archives into one folder, which appears under its name when it is complete.

    Args:
        root: the data folder, whose disk must have the space.
        archives: the archives.
        paths: the file of each.
        fetched: receives notes.
        unpacked: the folder to be made.
        reporter: receives the progress.

    Raises:
        DataError: if an archive is hostile or holds nothing that is needed, or there is no space.  Every archive is
            judged before a byte is written.
    """
    need = 0
    for archive, path in zip(archives, paths, strict=True):
        need += _judge(archive, path, fetched) if _is_packed(archive) else path.stat().st_size
    require_space(root, need, "to unpack the archives")
    partial = unpacked.with_name(UNPACKING)
    partial.mkdir()
    for archive, path in zip(archives, paths, strict=True):
        if not _is_packed(archive):
            shutil.copyfile(path, partial / archive.file)
            continue
        reporter.say(f"unpacking {archive.file}")
        with reporter.transfer(archive.file) as progress:
            unpack_archive(path, partial, archive.keep, published=bool(archive.sha256), progress=progress)
    partial.rename(unpacked)


def _is_packed(archive: Archive) -> bool:
    return archive.file.casefold().endswith(_ENDINGS) or "." not in archive.file


def _judge(archive: Archive, path: Path, fetched: Fetched) -> int:
    """Judge one archive; return the bytes that are needed of it."""
    listing = check_archive(path, archive.keep, published=bool(archive.sha256))
    if not listing.wanted:
        inner = (
            f"; it holds another archive, {listing.nested[0]}. Unpack that first" if listing.nested else ""
        )
        raise DataError(
            f"{path} holds none of the files that are needed ({', '.join(archive.keep)}){inner}. Next: give the "
            "archive of the owner with --from"
        )
    if listing.left_out:
        fetched.notes.append(
            f"{archive.file}: left out {describe_count(len(listing.left_out), 'file')} without use here, such as "
            f"{listing.left_out[0]}"
        )
    return listing.size


def place_unpacked(name: str, record: Downloads, unpacked: Path, root: Path, reporter: Reporter) -> Path:
    """Put unpacked files where they are read; return the folder.

    Raises:
        DataError: if they are not the data set, or its place is taken.
        PluginError: if the data set's plugin fails.
    """
    if record.folder:
        return _place_lists(unpacked, root / record.folder, reporter)
    cls: type[Dataset] = DATASETS.get(name)
    if record.prepared:
        _prepare(cls, unpacked, root, reporter)
    else:
        source = _find_holder(cls, unpacked)
        target = root / cls.card.folders[0]
        if target.exists():
            raise DataError(
                f"{target} is there already, without a data set that can be read, and is never overwritten. "
                "Next: move it away, then run the same command again"
            )
        source.rename(target)
    with plugin_call(f"data set {name!r} cannot be located:"):
        return cls.locate(root)


def _place_lists(unpacked: Path, target: Path, reporter: Reporter) -> Path:
    source = next((folder for folder in sorted(unpacked.rglob("splits")) if folder.is_dir()), unpacked)
    partial = unpacked.with_name(LISTS)
    for line in import_lists(source, partial):
        reporter.say(line)
    partial.replace(target)  # an empty folder of that name may be there
    return target


def _prepare(cls: type[Dataset], unpacked: Path, root: Path, reporter: Reporter) -> None:
    """Run `prepare` on the unpacked files, or on the only folder in them."""
    candidates = [unpacked]
    while len(candidates) < _LEVELS and len(folders := list_folder(candidates[-1]).folders) == 1:
        candidates.append(candidates[-1] / folders[0])
    first_error: DataError | None = None
    for source in candidates:
        try:
            with plugin_call(f"data set {cls.card.name!r}: prepare fails:", passes=(OSError,)):
                for line in cls.prepare(source, root):
                    reporter.say(line)
            return
        except DataError as error:
            first_error = first_error or error
    assert first_error is not None
    raise first_error


def _find_holder(cls: type[Dataset], unpacked: Path) -> Path:
    """Find the folder that holds the data set among those of the archive, the highest first."""
    level = [unpacked]
    for _ in range(_LEVELS):
        for folder in level:
            with plugin_call(f"data set {cls.card.name!r} cannot be located:"):
                if cls.holds(folder):
                    return folder
        level = [folder / name for folder in level for name in list_folder(folder).folders]
    layout = " ".join(cls.card.layout.split())
    raise DataError(
        f"the archive does not hold {cls.card.title}; expected is: {layout}. Next: get the archive of the owner "
        f"again, or unpack it yourself and give the folder to `fssbench data prepare {cls.card.name} DIR`"
    )
