"""Folders of the user's own images, each with the name of the data set that it is.

Three places name them; a later one takes precedence.  The register (`data-folders.json` in the user's folder of
settings) is written by `fssbench data adopt`, so that a folder needs no option from then on.  `FSSBENCH_DATA_FOLDERS`
serves machines without such a folder, such as the nodes of a cluster.  `--data-folder NAME=DIR` holds for one command.
None of them can change a figure without a word: the content of the folder and its description are part of the
identity of every run.

The class that reads such a folder, and the steps of adopting it, are entry points of the group `fssbench.data_folders`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from fssbench.errors import DataError, PluginError, UsageError
from fssbench.files.atomic import replace_file
from fssbench.files.config import config_folder
from fssbench.files.home import expand_home
from fssbench.installed import list_entry_points

GROUP = "fssbench.data_folders"
"""Group of the entry points."""
VARIABLE = "FSSBENCH_DATA_FOLDERS"
"""Environment variable: entries `NAME=DIR`, separated as those of PATH."""
REGISTER = "data-folders.json"
"""File in the folder of settings: the folder of each name."""
ORIGIN = "folder "
"""Beginning of the origin of such a data set."""

Offer = tuple[str, str, Callable[[], Any]]
"""Name, origin and loading function of a data set."""


def offer_data_folders() -> Iterator[Offer]:
    """Yield the data sets that the environment and the register name.

    Raises:
        UsageError: if the environment variable is malformed.
        DataError: if the register cannot be read.
    """
    named = {**read_register(), **_read_variable()}
    for name, folder in named.items():
        yield make_offer(name, folder)


def make_offer(name: str, folder: Path) -> Offer:
    """Make the offer of one folder; its class is made when it is first needed."""
    return name, f"{ORIGIN}{folder}", lambda: make_class(name, folder)


def make_class(name: str | None, folder: Path) -> Any:
    """Make the class that reads a folder of the user's own.

    Args:
        name: the name that the data set must have; None for the one that its description states.
        folder: an absolute path.

    Raises:
        PluginError: if no entry point, or more than one, makes such classes.
        FssbenchError: if the folder cannot be read as a data set.
    """
    return call("make-class", name, folder)


def call(step: str, *arguments: Any, **options: Any) -> Any:
    """Call one of the functions of the entry points: `make-class`, or a step of adopting a folder.

    Raises:
        PluginError: if no entry point of this name, or more than one, exists.
        FssbenchError: if the function raises it.
    """
    points = {point.value: point for point in list_entry_points(GROUP) if point.name == step}
    if len(points) != 1:
        raise PluginError(
            f"exactly one entry point {step!r} of {GROUP} must exist, but there are: "
            f"{', '.join(sorted(points)) or 'none'}"
        )
    return next(iter(points.values())).load()(*arguments, **options)


def split_data_folder(text: str) -> tuple[str | None, Path]:
    """Split `NAME=DIR`; a text that is a folder by itself has no name.

    Raises:
        UsageError: if there is no folder of this name.
    """
    name, equals, place = text.partition("=")
    whole = expand_home(text)
    if not equals or (whole.is_dir() and "/" in name):
        name, place = "", text
    folder = Path(os.path.abspath(expand_home(place)))  # noqa: PTH100 - a link stays a link
    if not place or not folder.is_dir():
        raise UsageError(
            f"--data-folder {text!r} names no folder: {folder if place else 'nothing'} is not there. Next: give "
            "NAME=DIR, where DIR holds images and masks"
        )
    return name or None, folder


def _read_variable() -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for text in os.environ.get(VARIABLE, "").split(os.pathsep):
        if not text.strip():
            continue
        name, equals, place = text.strip().partition("=")
        if not equals or not name or not place:
            raise UsageError(
                f"{VARIABLE} holds {text!r}, but its entries are NAME=DIR, separated by {os.pathsep!r}"
            )
        folders[name] = Path(os.path.abspath(expand_home(place)))  # noqa: PTH100
    return folders


def find_register() -> Path:
    """Return the path of the register, which need not exist."""
    return config_folder() / REGISTER


def read_register() -> dict[str, Path]:
    """Read the register: the folder of each name; empty if there is none.

    Raises:
        DataError: if it is damaged.
    """
    try:
        path = find_register()
    except UsageError:  # without a home folder nothing was ever entered
        return {}
    try:
        stored = json.loads(path.read_bytes())
        return {str(name): Path(folder) for name, folder in stored.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"the register of own data sets {path} cannot be read ({error}). Next: delete it, and adopt "
            "the folders again"
        ) from None


def change_register(name: str, folder: Path | None) -> Path | None:
    """Enter the folder of a name into the register, or remove it.

    Args:
        name: the name of the data set.
        folder: its folder; None removes the name.

    Returns:
        The folder that the name had before, or None.

    Raises:
        DataError: if the register cannot be read or written.
    """
    path = find_register()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            folders = read_register()
            before = folders.pop(name, None)
            if folder is not None:
                folders[name] = folder
            content = {each: str(folders[each]) for each in sorted(folders)}
            replace_file(path, f"{json.dumps(content, indent=1)}\n".encode())
    except OSError as error:
        raise DataError(
            f"the register of own data sets {path} cannot be written ({error.strerror or error}). Next: set "
            f"FSSBENCH_CONFIG to a folder that can be written, or give --data-folder {name}=DIR each time"
        ) from None
    return before
