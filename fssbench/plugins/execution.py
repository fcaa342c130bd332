"""Records what this process has executed and read, by an audit hook that `import fssbench` installs.

Python calls audit hooks for each module that it executes and each file that it opens.  The records show whether a
module was edited after its import, and which files a plugin reads.  Files of the standard library and of installed
packages are skipped, because their versions are recorded elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import site
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

CORE_FOLDER = str(Path(__file__).resolve().parents[1]) + os.sep
"""Folder of fssbench's own package; files below it belong to no plugin of another author."""
_INSTALLED_FOLDERS = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def _list_prefixes() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages()}
    folders |= {os.path.realpath(folder) for folder in folders}
    return tuple(sorted(folder.rstrip(os.sep) + os.sep for folder in folders))


_PREFIXES = _list_prefixes()


@cache
def hash_core_files(patterns: tuple[str, ...]) -> str:
    """Hash those files of fssbench's own package that fit patterns; what is computed by them depends on this hash."""
    files = [path for pattern in patterns for path in sorted(Path(CORE_FOLDER).glob(pattern))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def is_installed(path: str) -> bool:
    """Return whether a file belongs to the standard library or to the installed packages."""
    return path.startswith(_PREFIXES) or any(folder in path for folder in _INSTALLED_FOLDERS)


def file_sha256(path: str | Path) -> str | None:
    """Return the hash of a file's bytes; None if it is not a regular file or cannot be read."""
    try:
        if not os.path.isfile(path):  # noqa: PTH113 - a device or pipe must not be opened
            return None
        with open(path, "rb") as file:  # noqa: PTH123 - called for each module
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None


@dataclass
class Observed:
    """The files that a block of code executed and read for the first time, by real path."""

    executed: dict[str, str | None] = field(default_factory=dict)
    """Hash of each module's file when its code began to run."""
    opened: dict[str, None] = field(default_factory=dict)
    """Files opened for reading."""
    _running: dict[str, frozenset[str] | None] = field(default_factory=dict)
    """For each of these files, the modules whose top-level code was running at that time; None in another thread."""
    _thread: int = field(default_factory=threading.get_ident)

    def __bool__(self) -> bool:
        return bool(self.executed or self.opened)

    def during_import_of(self, file: str) -> Observed:
        """Select the files that were executed and read during the import of one module.

        Without this selection, the hash of a method would change if a method that imports it is loaded first.

        Args:
            file: real path of the module.
        """
        chosen = {name for name, files in self._running.items() if files is None or file in files}
        return Observed(
            {name: sha256 for name, sha256 in self.executed.items() if name in chosen or name == file},
            {name: None for name in self.opened if name in chosen},
        )

    def add_execution(self, path: str, sha256: str | None) -> None:
        """Record that the code of a module's file begins to run."""
        self.executed[path] = sha256
        self._running[path] = self._running_modules()

    def add_opening(self, path: str) -> None:
        """Record that a file is opened for reading."""
        if path not in self.opened:
            self.opened[path] = None
            self._running.setdefault(path, self._running_modules())

    def _running_modules(self) -> frozenset[str] | None:
        if threading.get_ident() != self._thread:
            return None
        files: set[str] = set()
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_code.co_name == "<module>" and not frame.f_code.co_filename.startswith("<"):
                files.add(os.path.realpath(frame.f_code.co_filename))
            frame = frame.f_back
        return frozenset(files)


class _Hook:
    """Receives audit events, and records those about code and files outside the installed packages."""

    def __init__(self) -> None:
        self.installed_ns = time.time_ns()
        self.executed: dict[str, str | None] = {}
        self.observers: list[Observed] = []
        self._busy = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "exec":
            if getattr(arguments[0], "co_name", "") == "<module>":
                self._record(self._execution, arguments[0].co_filename)
        elif event == "open" and self.observers and not getattr(_THREAD, "left_out", False):
            path, mode, flags = arguments
            writes = isinstance(mode, str) and any(letter in mode for letter in "wax+")
            writes = writes or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) != 0)
            if isinstance(path, str | bytes | os.PathLike) and not writes:
                self._record(self._opening, os.fsdecode(path))

    def _record(self, keep: Any, path: str) -> None:
        if self._busy or not path or path[0] == "<" or is_installed(path) or path.startswith(CORE_FOLDER):
            return
        self._busy = True  # the next lines open files, which must not be recorded
        try:
            keep(os.path.realpath(path))
        except Exception:
            pass
        finally:
            self._busy = False

    def _execution(self, path: str) -> None:
        sha256 = file_sha256(path)
        self.executed[path] = sha256
        for observer in self.observers:
            observer.add_execution(path, sha256)

    def _opening(self, path: str) -> None:
        if os.path.isfile(path):  # noqa: PTH113
            for observer in self.observers:
                observer.add_opening(path)


_HOOK = _Hook()
_THREAD = threading.local()


def leave_out_this_thread() -> None:
    """Observe nothing that this thread reads: it belongs to fssbench itself, whatever runs meanwhile."""
    _THREAD.left_out = True


def install() -> None:
    """Begin to observe.  Python has no way to end it; a second call does nothing."""
    if not getattr(sys, "_fssbench_observed", False):
        sys._fssbench_observed = True  # type: ignore[attr-defined]
        sys.addaudithook(_HOOK)


@contextmanager
def observe() -> Iterator[Observed]:
    """Observe the files that the block executes and reads, in every thread."""
    observer = Observed()
    _HOOK.observers.append(observer)
    try:
        yield observer
    finally:
        _HOOK.observers.remove(observer)


def is_loaded(path: Path) -> bool:
    """Return whether a file is the source of a loaded module; tracebacks and warnings read such files."""
    return str(path) in _HOOK.executed or any(
        getattr(module, "__file__", None) == str(path) for module in list(sys.modules.values())
    )


def is_generated(path: Path) -> bool:
    """Return whether torch has generated a module, as `torch.compile` does for each machine."""
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return any(part.startswith("torchinductor") for part in path.parts) or (
        bool(folder) and path.is_relative_to(os.path.realpath(str(folder)))
    )


def is_stale(path: Path, sha256: str) -> bool:
    """Return whether the file of a loaded module differs from the executed code.

    Args:
        path: the file of a module that this process has loaded.
        sha256: present hash of the file.
    """
    real = os.path.realpath(path)
    if is_installed(real):
        return False
    if real in _HOOK.executed:
        return _HOOK.executed[real] not in (None, sha256)
    try:  # the module was loaded before fssbench, so a newer file was edited since
        return path.stat().st_mtime_ns > _HOOK.installed_ns
    except OSError:
        return False
