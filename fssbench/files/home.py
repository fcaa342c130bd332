"""The home folder of the user, which containers with an arbitrary user id lack: no HOME, and no entry in passwd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fssbench.errors import UsageError


def expand_home(path: str | Path) -> Path:
    """Replace `~` or `~user` at the beginning of a path by the home folder.

    Raises:
        UsageError: if that home folder is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"the home folder in {str(path)!r} is not known on this machine. Next: write the whole path, or set HOME"
        ) from None


def find_platform_folder(find: Callable[[str], str], variable: str) -> Path:
    """Return the folder that the platform gives to fssbench for one purpose.

    Args:
        find: the function of platformdirs for this purpose.
        variable: environment variable that names another folder.

    Raises:
        UsageError: if the user has no home folder, so that the platform names none.
    """
    try:
        return Path(find("fssbench"))
    except RuntimeError:
        raise UsageError(
            f"this user has no home folder (HOME is not set), so fssbench has no folder for its files. Next: set "
            f"{variable} or HOME to a folder that can be written"
        ) from None
