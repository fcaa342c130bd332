"""Folders of the cache that running processes use, so that `fssbench cache --clear` leaves them alone.

A process that uses a folder holds the lock of a file in it, `.in-use/<process>-<random text>.lock`.  The system
releases the lock when the process ends, however it ends.  So a lock file that nobody holds counts for nothing.
A folder that cannot be written has no such files; only its owner can clear it.
"""

from __future__ import annotations

import atexit
import os
import secrets
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

FOLDER = ".in-use"
"""Name of the folder with the lock files."""
_held: dict[tuple[int, Path], FileLock] = {}
"""Locks of this process, by its id (a forked process has its own) and the folder that is used."""


def hold_folder(folder: Path) -> None:
    """Note that this process uses a folder from now on, until it ends.

    Args:
        folder: a folder of the cache.  Nothing happens if it does not exist or cannot be written.
    """
    key = os.getpid(), Path(os.path.realpath(folder))
    if key in _held or not folder.is_dir():
        return
    lock = FileLock(folder / FOLDER / f"{os.getpid()}-{secrets.token_hex(6)}.lock")
    try:
        (folder / FOLDER).mkdir(exist_ok=True)
        lock.acquire(timeout=0)
    except (OSError, Timeout, NotImplementedError):  # some network file systems have no locks
        return
    _held[key] = lock
    atexit.register(_release, lock)


def find_users(folder: Path) -> list[str]:
    """List the ids of other processes that use a folder; lock files of processes that have ended are removed.

    Args:
        folder: a folder of the cache.
    """
    own = {lock.lock_file for (process, _), lock in _held.items() if process == os.getpid()}
    users = []
    for path in sorted((folder / FOLDER).glob("*.lock")):
        if str(path) in own:
            continue
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except (OSError, Timeout, NotImplementedError):
            users.append(path.name.partition("-")[0])
            continue
        with suppress(OSError):
            path.unlink(missing_ok=True)
        lock.release()
    return users


def _release(lock: FileLock) -> None:
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
