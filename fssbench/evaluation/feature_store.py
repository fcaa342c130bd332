"""Feature maps on disk: one file per image, verified when it is read, within a limit, shared by runs and processes.

A file is named after a hash of everything that its features depend on (`fssbench.evaluation.feature_names`).  So what
changed is another file, and nothing is ever out of date.  A file appears as a whole, and each map in it has a
checksum.  So a process may be killed at any time, and several may use one folder.

If the folder is full, files of other runs are dropped, those first that were used longest ago.  Files that this process
has read, written or announced stay: a plan larger than the limit would otherwise drop each file just before
its next use.
"""

from __future__ import annotations

import json
import os
import time
import warnings
import zlib
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from fssbench.errors import DataError
from fssbench.files.in_use import hold_folder
from fssbench.files.state_dicts import read_safetensors, write_safetensors

Maps = dict[str, Tensor]
"""Feature maps (1, C, h, w) of an image by tap."""
_SUMS = "crc32"
_ABANDONED = 3600.0
"""Seconds after which a file that is not whole belongs to a process that was killed."""
_RECOUNT = 16
"""Number of own writes after which the folder is measured again, since other processes write there too."""
_REACH = 0.95
"""Share of the limit that is left when files are dropped, so that this is rare."""


class FeatureStore:
    """A folder of feature maps.

    Args:
        folder: where the files are; it is made if it does not exist.
        limit: bytes that the folder may hold.

    Attributes:
        read: number of images whose features came from the folder.
        written: number of files that were stored.

    Raises:
        DataError: if the folder cannot be used.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self.read = 0
        self.written = 0
        self._own: set[str] = set()
        """Names of the files that this process does not drop."""
        self._unmeasured = 0
        """Number of own writes since the folder was measured."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._used = sum(size for _, size, _ in self._list_files())
            self._remove_abandoned()
            hold_folder(folder)
        except OSError as error:
            raise DataError(
                f"feature cache {folder} cannot be used ({error.strerror}). Next: name another --feature-cache"
            ) from None

    def announce(self, names: Iterable[str]) -> None:
        """Name files that will be asked for, so that they are not dropped before."""
        self._own.update(names)

    def holds(self, name: str) -> bool:
        """Return whether there is a file of this name; it may be damaged or lack a tap."""
        return self._path(name).is_file()

    def load(
        self, name: str, item: str, taps: Collection[str] | None = None
    ) -> tuple[Maps, dict[str, str]] | None:
        """Read the maps of a file and the notes that were stored with them.

        Args:
            name: of the file.
            item: the image, for messages.
            taps: maps to read; None for all.

        Returns:
            The maps and notes; None if there is no such file, it lacks a tap, or is damaged, which gives a warning.
        """
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            maps, notes = read_safetensors(path, taps)
            sums = _parse_sums(notes.pop(_SUMS, ""))
            if taps is not None and not set(taps) <= maps.keys():
                return None
            damaged = [
                tap
                for tap, features in maps.items()
                if sums.get(tap) != _compute_checksum(name, tap, features)
            ]
            if damaged:
                raise DataError(f"{path} is damaged")
        except DataError as error:
            if path.is_file():  # else another process has just dropped it
                warnings.warn(f"features of {item!r} are computed again: {error}", stacklevel=2)
            return None
        self._own.add(name)
        with suppress(OSError):
            os.utime(path)
        self.read += 1
        return maps, notes

    def save(self, name: str, item: str, maps: Maps, notes: Mapping[str, str] | None = None) -> None:
        """Store maps, together with those of other taps that the file holds already.

        Nothing is written if there is no room.  If the disk fails, a warning says so once, and no more is written.

        Args:
            name: of the file.
            item: the image, for messages.
            maps: features by tap.
            notes: texts to be stored with them.
        """
        stored = {tap: features.detach().cpu().contiguous() for tap, features in maps.items()}
        if (other := self.load(name, item)) is not None:
            self.read -= 1
            stored = {**other[0], **stored}
        size = sum(features.numel() * features.element_size() for features in stored.values())
        if not self._make_room(size, name):
            return
        sums = json.dumps({tap: _compute_checksum(name, tap, features) for tap, features in stored.items()})
        path = self._path(name)
        try:
            write_safetensors(path, stored, {**(notes or {}), _SUMS: sums}, durable=False)
        except DataError as error:
            self.limit = 0
            warnings.warn(f"the feature cache takes no more: {error}", stacklevel=2)
            return
        self._own.add(name)
        with suppress(OSError):
            self._used += path.stat().st_size
        self._unmeasured += 1
        self.written += 1

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}.safetensors"

    def _make_room(self, size: int, name: str) -> bool:
        """Drop files of other runs until `size` more bytes fit; return whether they do."""
        if size > self.limit:
            return False
        if self._used + size <= self.limit and self._unmeasured < _RECOUNT:
            return True
        files = sorted(self._list_files())
        self._used, self._unmeasured = sum(length for _, length, _ in files), 0
        if self._used + size <= self.limit:
            return True
        for _, length, path in files:
            if self._used + size <= _REACH * self.limit:
                break
            if path.stem not in self._own and path.stem != name:
                with suppress(OSError):  # another process reads it, or has dropped it
                    path.unlink()
                    self._used -= length
        return self._used + size <= self.limit

    def _list_files(self) -> list[tuple[float, int, Path]]:
        """List time of last use, bytes and path of each file."""
        files = []
        for path in self.folder.glob("*/*.safetensors"):
            with suppress(FileNotFoundError):  # another process has just dropped it
                state = path.stat()
                files.append((state.st_mtime, state.st_size, path))
        return files

    def _remove_abandoned(self) -> None:
        """Remove what processes that were killed have left half written."""
        for path in self.folder.glob("*/.*.partial"):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()


def _parse_sums(text: str) -> dict[str, str]:
    try:
        sums = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return sums if isinstance(sums, dict) else {}


def _compute_checksum(name: str, tap: str, features: Tensor) -> str:
    """Compute the checksum of a map with the name of its file, so that a file under another's name is damaged."""
    head = f"{name} {tap} {features.dtype} {tuple(features.shape)}".encode()
    content = features.reshape(-1).view(torch.uint8).numpy().data
    return f"{zlib.crc32(content, zlib.crc32(head)):08x}"
