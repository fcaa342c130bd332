"""One rule for what counts as data in a folder.  Readers, `verify` and `prepare` all list with it.

Archivers, file managers and network disks leave entries of their own between the data: `__MACOSX`, `._1.jpg`,
`Thumbs.db`, `@eaDir`.  Owners add texts: `ATTRIBUTION.txt`, `LICENSE`.  None of them is data, and none may
change an episode.  Endings are compared without case: `1.JPG` is read as `1.jpg`, and plans call it `1.jpg`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePath

from fssbench.errors import DataError

_SYSTEM_NAMES = frozenset(
    {
        "__macosx",
        "__pycache__",
        "desktop.ini",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "icon\r",
        "lost+found",
        "network trash folder",
        "recycler",
        "system volume information",
        "temporary items",
        "thumbs.db",
    }
)
_SYSTEM_STARTS = (".", "@", "#", "$", "~$")
"""Hidden entries (`.DS_Store`, `._1.jpg`, `.ipynb_checkpoints`, unfinished work of `prepare`), folders of
network disks (`@eaDir`, `#recycle`), the recycle bin of Windows, lock files of office programs."""
_SYSTEM_ENDS = (":zone.identifier", ":com.dropbox.attrs")
_LONGEST_ENDING = len(".jpeg")
_TEXT_NAME = re.compile(r"attribution|^(licen[cs]e|readme|copying|copyright|notice|citation|changelog)")
_TEXT_ENDINGS = frozenset({"", ".txt", ".md", ".rst", ".rtf", ".pdf", ".html", ".htm", ".doc", ".docx"})


def is_system_name(name: str) -> bool:
    """Return whether an entry of this name belongs to a system and not to a data set, file or folder."""
    folded = name.casefold()
    return folded.startswith(_SYSTEM_STARTS) or folded in _SYSTEM_NAMES or folded.endswith(_SYSTEM_ENDS)


def is_owners_text(name: str) -> bool:
    """Return whether a file of this name is a licence, a readme or an attribution of the owner."""
    folded = name.casefold()
    return PurePath(folded).suffix in _TEXT_ENDINGS and _TEXT_NAME.search(folded) is not None


@dataclass(frozen=True)
class FolderListing:
    """The entries of one folder, sorted by name."""

    files: dict[str, str]
    """Data files: the name with its ending in lower case, and the name on disk."""
    clashes: tuple[tuple[str, str], ...]
    """Pairs of data files whose names differ only in case."""
    strangers: tuple[str, ...]
    """Files with other endings.  They are not read."""
    folders: tuple[str, ...]
    """Folders that may hold data."""
    system: tuple[str, ...]
    """Entries that a system left behind."""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder; a link that leads nowhere or in a circle is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def list_folder(folder: Path, endings: Collection[str] = ()) -> FolderListing:
    """List one folder.  A folder that does not exist is an empty one.

    Args:
        folder: the folder.
        endings: endings of the data files in lower case, such as `.png`.

    Raises:
        DataError: if the folder cannot be listed.
    """
    data: list[tuple[str, str]] = []
    strangers, folders, system = [], [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                ending = PurePath(entry.name).suffix
                if is_system_name(entry.name):
                    system.append(entry.name)
                elif _is_folder(entry):
                    folders.append(entry.name)
                elif ending.lower() in endings:
                    data.append((entry.name.removesuffix(ending) + ending.lower(), entry.name))
                elif not is_owners_text(entry.name):
                    strangers.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise DataError(f"folder {folder} cannot be listed ({error.strerror})") from None
    data.sort()
    first: dict[str, str] = {}
    clashes = []
    for canonical, name in data:
        other = first.setdefault(canonical.casefold(), name)
        if other != name:
            clashes.append((other, name))
    return FolderListing(
        dict(data), tuple(clashes), tuple(sorted(strangers)), tuple(sorted(folders)), tuple(sorted(system))
    )


def list_files(folder: Path, *endings: str) -> dict[str, str]:
    """List the data files of one folder.

    Args:
        folder: the folder; one that does not exist has no files.
        endings: the endings of data files in lower case.

    Returns:
        The name on disk by the name with its ending in lower case, sorted by the latter.

    Raises:
        DataError: if two names differ only in case, or the folder cannot be listed.
    """
    listing = list_folder(folder, endings)
    for one, two in listing.clashes:
        raise DataError(
            f"{folder / one} and {two} differ only in upper and lower case. Next: keep one of them"
        )
    return listing.files


def find_file(path: Path) -> Path:
    """Return a path as it is on disk: with its ending in another case if only such a file exists.

    A path without a file is returned unchanged, so that errors name what was asked for.
    """
    if not 2 <= len(path.suffix) <= _LONGEST_ENDING or path.exists():
        return path
    cases = product(*((c.lower(), c.upper()) for c in path.suffix[1:]))
    others = (path.with_suffix("." + "".join(case)) for case in dict.fromkeys(cases))
    return next((other for other in others if other.is_file()), path)
