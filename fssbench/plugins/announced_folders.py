"""Names the folders of plugins to child processes, in an environment variable.

A process that Python starts anew, as `multiprocessing` does on some systems, reads the variable on `import fssbench`.
The children of the command `fssbench` import it first.  Those of `python -m fssbench` and of a notebook do not.  The
process can then import the modules of plugin files, and so unpickle their classes and functions.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

VARIABLE = "FSSBENCH_PLUGIN_FOLDERS"
"""Environment variable, as JSON: by package, the folder, and the packages in which plain names are searched."""
MOST_FOLDERS = 50
"""Folders in the variable; the one that was used longest ago is left out first."""


def announce_folder(package: str, folder: str, searched: list[str]) -> None:
    """Name a plugin folder to the child processes that begin from now on."""
    folders = _read()
    folders.pop(package, None)
    folders[package] = [folder, searched]
    os.environ[VARIABLE] = json.dumps(dict([*folders.items()][-MOST_FOLDERS:]))


def read_announced_folders() -> Iterator[tuple[str, str, list[str]]]:
    """Yield package, folder and searched packages of each folder that a parent process announced."""
    for package, described in _read().items():
        match described:
            case [str() as folder, list() as searched]:
                yield package, folder, [str(each) for each in searched]


def _read() -> dict[str, object]:
    try:
        folders = json.loads(os.environ.get(VARIABLE, "{}"))
    except (ValueError, RecursionError):
        return {}
    return folders if isinstance(folders, dict) else {}
