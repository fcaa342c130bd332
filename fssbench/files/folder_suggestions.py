"""Suggestions of other folders for a data set that is missing: the "did you mean ...?" of errors.

The usual mistakes: an archive is unpacked into a folder with the same name (`FSS-1000/FSS-1000`,
`images/images`), `--data` names the data set instead of the folder above it, or a folder is spelt otherwise.
Suggestions never change what is read; they are computed only if files are missing.
"""

from __future__ import annotations

import re
import shlex
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fssbench.errors import DataError
from fssbench.files.listing import FolderListing, list_folder

_DEPTH = 3
_LIMIT = 1000
"""Folders that are looked into at most, so that a wrong `--data /` ends soon."""
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")

Holds = Callable[[Path], bool]
"""Whether a folder looks like the root of a data set."""


def suggest_data_folder(data: Path, names: Sequence[str], holds: Holds, *, any_name: bool) -> str:
    """Suggest another `--data` for a data set that is not below `data`.

    Args:
        data: the folder that was given.
        names: the folder names of the data set, relative to the data folder.
        holds: whether a folder looks like the root of the data set.
        any_name: whether `holds` can tell the data set from any other folder, whatever its name.

    Returns:
        A sentence that begins with "Did you mean", or "" if there is no suggestion.
    """
    inside = data.absolute()
    for above in list(inside.parents)[:_DEPTH]:
        if any(inside.is_relative_to(above / name) and holds(above / name) for name in names):
            return _ask_for_data(above)
    for folder in _walk_folders(inside):
        if folder != inside and any(holds(folder / name) for name in names):
            return _ask_for_data(folder)
    for folder in _walk_folders(inside):
        if folder != inside and _normalise_name(folder.name) in map(_normalise_name, names) and holds(folder):
            return f"Did you mean {folder}? Its name must be {' or '.join(names)}."
    if not any_name:
        return ""
    if holds(inside):
        return f"Did you mean {inside} itself? Name it {names[0]} and give the folder above it with --data."
    for folder in _walk_folders(inside):
        if folder != inside and holds(folder):
            return f"Did you mean {folder}? Its name must be {' or '.join(names)}, directly below --data."
    return ""


def suggest_inside(
    root: Path, names: Sequence[str], layout_folders: Sequence[str], holds: Holds
) -> list[tuple[Path, str]]:
    """Suggest folders below the root of a data set without files.

    Args:
        root: the folder that was taken for the data set.
        names: the folder names of the data set, relative to the data folder.
        layout_folders: the folders that are read, relative to the root.
        holds: whether a folder looks like the root of the data set.

    Returns:
        Folders, each with a sentence that begins with "Did you mean".
    """
    suggestions: list[tuple[Path, str]] = []
    if not holds(root):
        for folder in _walk_folders(root):
            nested = next((folder / name for name in names if holds(folder / name)), None)
            if nested is not None:
                return [(nested, _ask_for_data(folder))]
            if folder != root and holds(folder):
                return [(folder, f"Did you mean {folder}? Move its content to {root}.")]
        for name in dict.fromkeys([root.name, *names]):  # an empty folder can be known by its name only
            if (root / name).is_dir():
                return [(root / name, _ask_for_data(root))]
    for relative in layout_folders:
        suggestions += _suggest_for(root / relative, frozenset(root / name for name in layout_folders))
    return suggestions


def _suggest_for(folder: Path, read: frozenset[Path]) -> Iterator[tuple[Path, str]]:
    """Suggest a folder of another spelling, or a nested one that is not among those that are read."""
    if not folder.is_dir():
        for name in _list_safely(folder.parent).folders:
            if name != folder.name and _normalise_name(name) == _normalise_name(folder.name):
                meant = folder.parent / name
                yield meant, f"Did you mean {meant}? Its name must be {folder.name}."
        return
    if _list_safely(folder).files:
        return
    for inner in _walk_folders(folder):
        if inner not in read and _list_safely(inner).files:
            yield inner, f"Did you mean {inner}? Its files must be directly in {folder}."
            return


def _ask_for_data(folder: Path) -> str:
    return f"Did you mean `--data {shlex.quote(str(folder))}`?"


def _normalise_name(name: str) -> str:
    """Return the letters and digits of a name in lower case."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _list_safely(folder: Path) -> FolderListing:
    try:
        return list_folder(folder, _PICTURES)
    except DataError:  # a folder that may not be listed holds no suggestion
        return FolderListing({}, (), (), (), ())


def _walk_folders(start: Path) -> Iterator[Path]:
    """Yield a folder and the folders below it, the nearest first, down to a small depth."""
    queue = deque([(start, 0)])
    looked_at = 0
    while queue and looked_at < _LIMIT:
        folder, depth = queue.popleft()
        looked_at += 1
        yield folder
        if depth < _DEPTH:
            queue.extend((folder / name, depth + 1) for name in _list_safely(folder).folders)
