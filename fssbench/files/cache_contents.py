"""What lies in the cache folder, by kind, and its removal.

Only what fssbench writes is ever removed.  An entry of another name, which the user put there, is listed and stays.
Symbolic links are neither followed nor removed: their targets may be anywhere.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fssbench.errors import DataError, LockedError
from fssbench.files.in_use import FOLDER as IN_USE, find_users

_FEATURES = re.compile(r"\.?[0-9a-f]{64}\.safetensors(\..+)?")
"""Name of a file of features, or of one that is not yet whole."""

_REST = re.compile(r"\.(.+)-cleared-[0-9a-f]{8}")
"""Name of what is being removed."""


@dataclass(frozen=True)
class CacheKind:
    """A kind of content of the cache folder."""

    name: str
    """Name on the command line."""
    pattern: str
    """Names of its entries in the cache folder, as a regular expression; empty if it lies elsewhere."""
    meaning: str
    """Description of the kind, and the cost of its removal."""
    is_clearable: bool = True


KINDS = (
    CacheKind("weights", "weights", "downloaded weights of backbones; --download fetches them again"),
    CacheKind(
        "miniatures", r"mini-\w+-\d+", "drawn data sets of --data mini; drawn again when they are needed"
    ),
    CacheKind("splits", "splits", "imported lists of images; import them again with `fssbench data splits`"),
    CacheKind("scans", "scans", "contents of masks; read again from the data, which takes minutes"),
    CacheKind("facts", "plugin-facts", "facts about methods and backbones; collected again in seconds"),
    CacheKind(
        "copies", "resized", "resized images; make them again with `fssbench data prepare NAME --size N`"
    ),
    CacheKind("features", "", "features of images in the folder of --feature-cache; computed again"),
    CacheKind("locks", "locks", "empty files that keep processes apart", is_clearable=False),
    CacheKind(
        "machine",
        "machine-salt",
        "a random text that keeps host names secret in measurements",
        is_clearable=False,
    ),
)
OTHER = CacheKind("other", "", "not written by fssbench", is_clearable=False)


@dataclass(frozen=True)
class CacheEntry:
    """One entry of the cache: a file or a folder."""

    kind: CacheKind
    path: Path
    files: int
    """Number of files in it."""
    bytes: int
    changed: float | None
    """Time of its latest change in seconds since 1970; None for an empty folder."""
    link: str = ""
    """Target, if it is a symbolic link."""
    users: tuple[str, ...] = ()
    """Ids of running processes that use it."""


def list_cache(folder: Path, features: Path | None = None) -> list[CacheEntry]:
    """List the entries of the cache folder, in the order of `KINDS`; each weight file is an entry of its own.

    Args:
        folder: the cache folder; it need not exist.
        features: folder of a feature cache.

    Raises:
        DataError: if a folder cannot be read.
    """
    entries = []
    try:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            kind = _find_kind(path.name)
            if kind.name == "weights" and path.is_dir() and not path.is_symlink():
                users = tuple(find_users(path))
                weights = (p for p in _walk(path) if not p.name.endswith(".lock"))
                entries += [_measure(kind, p, [p], users) for p in weights]
            else:
                entries.append(_measure(kind, path))
        if features is not None and features.is_dir():
            kind = next(k for k in KINDS if k.name == "features")
            entries.append(_measure(kind, features, _list_features(features)))
    except OSError as error:
        raise DataError(
            f"the cache folder {error.filename or folder} cannot be read ({error.strerror})"
        ) from None
    order = [kind.name for kind in (*KINDS, OTHER)]
    return sorted(entries, key=lambda entry: order.index(entry.kind.name))


def _find_kind(name: str) -> CacheKind:
    """Find the kind of an entry of the cache folder, also of the rest of a removal that was interrupted."""
    rest = _REST.fullmatch(name)
    return next(
        (kind for kind in KINDS if kind.pattern and re.fullmatch(kind.pattern, rest[1] if rest else name)),
        OTHER,
    )


def _measure(
    kind: CacheKind, path: Path, files: Iterable[Path] | None = None, users: tuple[str, ...] | None = None
) -> CacheEntry:
    if path.is_symlink() and kind.name != "features":
        return CacheEntry(kind, path, 0, 0, path.lstat().st_mtime, str(path.readlink()))
    states = [state for file in (_walk(path) if files is None else files) if (state := _look_at(file))]
    users = tuple(find_users(path)) if users is None else users
    changed = max((state.st_mtime for state in states), default=None)
    return CacheEntry(kind, path, len(states), sum(s.st_size for s in states), changed, users=users)


def _look_at(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:  # another process has just removed it
        return None


def _walk(path: Path) -> Iterator[Path]:
    """Yield a file, or all files below a folder; links are not followed, and lock files of users are left out."""
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    for place, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if name != IN_USE)
        yield from (Path(place, name) for name in sorted(names))


def _list_features(folder: Path) -> list[Path]:
    """List the files that a feature cache has written; the folder may also hold files of the user."""
    return [path for path in folder.glob("??/*") if _FEATURES.fullmatch(path.name) and not path.is_symlink()]


def clear_kind(folder: Path, kind: CacheKind, features: Path | None = None) -> list[CacheEntry]:
    """Remove all entries of a kind.

    Args:
        folder: the cache folder.
        kind: a kind that is clearable.
        features: folder of a feature cache, for the kind `features`.

    Returns:
        What was removed.

    Raises:
        LockedError: if a running process uses an entry; nothing of the kind is removed then.
        DataError: if the entry itself is a link, or cannot be removed.  Links inside a folder are removed with it,
            and what they lead to stays.
    """
    entries = [entry for entry in list_cache(folder, features) if entry.kind == kind]
    for entry in entries:
        if entry.link and entry.path.parent == folder:
            raise DataError(
                f"{entry.path} is a link to {entry.link}, which is not followed. Next: remove the link yourself"
            )
        _refuse_users(entry.path, entry.users)
    try:
        if kind.name == "features":
            _remove_features(features, entries)
        else:
            for name in dict.fromkeys(entry.path.relative_to(folder).parts[0] for entry in entries):
                _remove(folder / name)
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be removed ({error.strerror}). Next: check the rights of the folder"
        ) from None
    return entries


def _refuse_users(path: Path, users: Iterable[str]) -> None:
    if names := ", ".join(users):
        raise LockedError(
            f"{path} is in use by process {names}. Nothing was removed. Next: wait until it has ended, then clear again"
        )


def _remove_features(folder: Path | None, entries: Iterable[CacheEntry]) -> None:
    if folder is None or not any(entry.files for entry in entries):
        return
    for path in _list_features(folder):
        path.unlink(missing_ok=True)
    for place in {path for path in folder.glob("??") if path.is_dir() and not path.is_symlink()}:
        if not any(place.iterdir()):
            place.rmdir()


def _remove(path: Path) -> None:
    """Remove a file or folder.  It is renamed first: a process that begins now makes its own.

    Raises:
        LockedError: if a process has begun to use it just before; it is put back then.
    """
    aside = path.with_name(f".{path.name}-cleared-{secrets.token_hex(4)}")
    path.rename(aside)
    if users := find_users(aside):
        if not path.exists():
            aside.rename(path)
        _refuse_users(path, users)
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    else:
        aside.unlink()
